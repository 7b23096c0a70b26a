"""Kernels in two forms: the same results, and the lock let go of where there is enough to do."""

from __future__ import annotations

import threading
import time

import numpy as np

from stream_app.kernels import RELEASED_ROWS, releasing
from stream_app.processor import Processor
from stream_app.rehearsal import REHEARSED
from stream_app.state.windows import TumblingCounts
from topics.events import Click


@releasing(lambda *args: len(args[0]))  # type: ignore[untyped-decorator]
def _walk(rows, steps, out):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        x = rows[i]
        for _ in range(steps):
            x = x * 1.000001 + 1e-9
        out[i] = x


def _plain(rows: np.ndarray, steps: int) -> list[float]:
    out = []
    for x in rows.tolist():
        for _ in range(steps):
            x = x * 1.000001 + 1e-9
        out.append(x)
    return out


def test_both_forms_compute_the_same_and_the_number_of_rows_chooses() -> None:
    for n, used in ((RELEASED_ROWS - 1, _walk.holding), (RELEASED_ROWS, _walk.letting_go)):
        rows, out, calls = np.linspace(1.0, 2.0, n), np.empty(n), []
        before = {form: len(form.overloads) for form in (_walk.holding, _walk.letting_go)}
        _walk(rows, 7, out)
        calls = [form for form, compiled in before.items() if len(form.overloads) > compiled]
        assert calls == [used]
        np.testing.assert_allclose(out, _plain(rows, 7), rtol=1e-12)


def test_other_threads_run_during_a_large_call_and_not_during_a_small_one() -> None:
    """A thread that counts moves on while the kernel works only where the kernel lets go of the lock."""
    ticks, done = [0], threading.Event()

    def count() -> None:
        while not done.is_set():
            ticks[0] += 1

    def during(n: int, steps: int) -> int:
        rows, out = np.ones(n), np.empty(n)
        _walk(rows, 1, out)
        before = ticks[0]
        _walk(rows, steps, out)
        return ticks[0] - before

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    time.sleep(0.05)
    try:
        small = min(during(8, 2_000_000) for _ in range(3))
        large = max(during(RELEASED_ROWS, 2_000_000 * 8 // RELEASED_ROWS) for _ in range(3))
    finally:
        done.set()
        thread.join()
    assert large > 3 * small, (small, large)


async def test_a_rehearsal_runs_the_kernels_of_small_and_of_large_batches() -> None:
    """What is not compiled in it would be by the first large batch, which would hold up the event loop."""
    app = Processor("rehearsal-test", bootstrap="127.0.0.1:1")
    clicks = app.batch_topic("clicks", Click)
    windows = TumblingCounts(60, windows=4)
    table = app.columnar_table("counts", windows, sources=[clicks])
    applied: list[int] = []

    async def agent(batch) -> None:  # type: ignore[no-untyped-def]
        shard = table.shard(batch.partition)
        _rows, fresh = shard.admit(batch.columns.user_id, table.source("clicks"), batch.offsets, batch.columns.ts)
        applied.append(int(fresh.sum()))

    app.process(clicks)(agent)
    await app.rehearse()
    assert applied == list(REHEARSED), "a batch of the rehearsal counts as a replay"

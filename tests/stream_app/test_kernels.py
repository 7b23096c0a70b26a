"""Kernels in two forms: the same results, and the lock let go of where there is enough to do."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

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


@releasing(lambda *args: len(args[0]))  # type: ignore[untyped-decorator]
def _work_and_look(rows, steps, out, flag):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        x = rows[i]
        for _ in range(steps):
            x = x * 1.000001 + 1e-9
        out[i] = x
    return flag[0]


@pytest.mark.parametrize(("n", "steps", "seen"), [(8, 1_000_000, 0.0), (RELEASED_ROWS, 1_000_000, 1.0)])
def test_another_thread_gets_its_turn_during_a_large_call_and_not_during_a_small_one(
    n: int, steps: int, seen: float
) -> None:
    """A thread raises a flag as soon as it has the lock; the kernel looks at it when its work is done."""
    rows, out, flag, go = np.ones(n), np.empty(n), np.zeros(1), threading.Event()
    _work_and_look(rows, 1, out, flag)  # compiled

    def raise_flag() -> None:
        go.wait()
        flag[0] = 1.0

    thread = threading.Thread(target=raise_flag, daemon=True)
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(60.0)  # so that the lock changes hands only where it is let go of
    try:
        thread.start()
        go.set()
        assert _work_and_look(rows, steps, out, flag) == seen
    finally:
        sys.setswitchinterval(interval_s)
        thread.join()


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

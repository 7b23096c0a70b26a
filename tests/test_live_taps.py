"""Taps: nothing while nobody looks, a bounded and even sample while somebody does."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_app.web.taps import Taps
from topics.spans import Spans


def spans(*rows: bytes | None) -> Spans:
    return Spans.of(list(rows))


def tapped(**options: int) -> tuple[SimpleNamespace, Taps]:
    outbox = SimpleNamespace(tap=None)
    return outbox, Taps(outbox, {"a"}, **options)


def test_the_outbox_is_tapped_only_while_somebody_watches() -> None:
    outbox, taps = tapped()
    assert outbox.tap is None
    with taps.watch():
        with taps.watch():
            assert outbox.tap is not None
            assert taps.watchers == 2
        assert outbox.tap is not None
        outbox.tap("a", spans(b"1"))
    assert outbox.tap is None
    assert taps.take("a", 10).rows == []  # nothing is kept alive for nobody


def test_records_are_counted_for_every_topic_and_kept_for_the_wanted_ones() -> None:
    outbox, taps = tapped()
    with taps.watch():
        outbox.tap("a", spans(b"1", b"2"))
        outbox.tap("b", spans(b"3"))
        assert taps.take("a", 10) == taps.take("a", 10).__class__(2, [b"1", b"2"])
        assert taps.take("b", 10).records == 1
        assert taps.take("b", 10).rows == []
        assert taps.take("a", 10).records == 0
        assert taps.totals() == {"a": 2, "b": 1}


@given(st.lists(st.integers(1, 40), max_size=20), st.integers(1, 12))
def test_a_sample_is_in_order_spread_evenly_and_ends_with_the_latest(sizes: list[int], n: int) -> None:
    outbox, taps = tapped()
    with taps.watch():
        count = 0
        for size in sizes:
            outbox.tap("a", spans(*(b"%d" % i for i in range(count, count + size))))
            count += size
        got = [int(row) for row in taps.take("a", n).rows]
    assert len(got) == min(n, count)
    assert got == sorted(set(got))
    if got:
        assert got[-1] == count - 1
        gaps = np.diff([-1, *got])
        assert gaps.max() - gaps.min() <= 1  # no part of the stream is shown more than another


def test_memory_is_bounded_by_the_buffers_that_rows_keep_alive() -> None:
    outbox, taps = tapped(max_bytes=1000, max_batches=5)
    with taps.watch():
        for i in range(50):
            outbox.tap("a", spans(b"%d" % i * 100))
        held = taps._samples["a"].batches
        assert len(held) <= 5
        assert sum(batch.data.nbytes for batch in held) <= 1000
        outbox.tap("a", spans(b"x" * 5000))
        assert [len(batch.data) for batch in held] == [5000]  # one too large is still the latest


def test_null_rows_are_passed_over() -> None:
    outbox, taps = tapped()
    with taps.watch():
        outbox.tap("a", spans(None, b"1", None))
        published = taps.take("a", 10)
    assert (published.records, published.rows) == (3, [b"1"])


def test_a_reader_in_another_thread_loses_no_count_and_sees_rows_once() -> None:
    outbox, taps = tapped()
    seen: list[bytes] = []
    records = 0
    done = threading.Event()

    def read() -> None:
        nonlocal records
        while True:
            last = done.is_set()
            published = taps.take("a", 1000)
            records += published.records
            seen.extend(published.rows)
            if last:
                return

    with taps.watch():
        reader = threading.Thread(target=read)
        reader.start()
        for i in range(20_000):
            outbox.tap("a", spans(b"%d" % i))
        done.set()
        reader.join()
    assert records == 20_000
    assert len(seen) == len(set(seen)) > 0
    assert [int(row) for row in seen] == sorted(int(row) for row in seen)

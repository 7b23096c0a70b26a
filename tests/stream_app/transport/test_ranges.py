"""Offsets to commit, against a plain set of finished offsets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_app.transport.ranges import RangeTracker


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=12), order=st.randoms(use_true_random=False))
def test_nothing_is_committed_beyond_the_first_unfinished_batch(sizes: list[int], order: object) -> None:
    tracker, ends, position = RangeTracker(), [], 10
    for size in sizes:
        assert tracker.delivered(position, position + size)
        position += size
        ends.append(position)
    finished: set[int] = set()
    for end in order.sample(ends, len(ends)):  # type: ignore[attr-defined]
        tracker.finished(end)
        finished.add(end)
        expected = None
        for candidate in ends:
            if candidate not in finished:
                break
            expected = candidate
        assert tracker.committable == expected
    assert tracker.in_flight == 0


def test_a_batch_from_before_a_seek_is_refused_and_its_end_ignored() -> None:
    tracker = RangeTracker()
    assert tracker.delivered(0, 100)
    assert tracker.delivered(100, 200)
    tracker.reset(0)
    assert not tracker.delivered(200, 300)
    assert tracker.delivered(0, 100)
    assert not tracker.finished(200)
    assert tracker.committable is None
    assert tracker.finished(100)
    assert tracker.committable == 100


def test_after_a_reset_without_a_position_any_batch_may_come_first() -> None:
    tracker = RangeTracker()
    tracker.reset(None)
    assert tracker.delivered(17, 20)
    assert not tracker.delivered(21, 30)

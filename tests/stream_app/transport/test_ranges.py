"""Offsets to commit, against a plain set of finished offsets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_app.transport.ranges import RangeTracker


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=12), order=st.randoms(use_true_random=False))
def test_nothing_is_committed_beyond_the_first_unfinished_batch(sizes: list[int], order: object) -> None:
    tracker, ends, position = RangeTracker(10), [], 10
    for size in sizes:
        assert tracker.delivered(position, position + size) == 0
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


def test_a_gap_is_told_and_gone_over() -> None:
    tracker = RangeTracker(100)
    assert tracker.delivered(150, 200) == 50
    assert tracker.finished(200)
    assert tracker.committable == 200
    assert tracker.delivered(0, 10) == -200


def test_without_a_position_any_batch_may_come_first() -> None:
    tracker = RangeTracker()
    assert tracker.delivered(17, 20) == 0
    assert tracker.delivered(21, 30) == 1


def test_the_end_of_an_unknown_batch_is_ignored() -> None:
    tracker = RangeTracker(0)
    tracker.delivered(0, 100)
    assert not tracker.finished(200)
    assert tracker.committable is None

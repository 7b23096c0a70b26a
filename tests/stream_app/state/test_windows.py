"""Windows beside plain Python: out of order, gaps, jumps, times before 1970 and times that are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.errors import StateError
from stream_app.state import Columns, DecayedSum, Layout, Shard, SlidingCounts, TumblingCounts
from topics.spans import Spans

WIDTHS = st.sampled_from([0.1, 1.0, 7.0, 300.0])
PARTS = st.integers(1, 5)
TIMES = st.one_of(
    st.integers(-40, 40).map(float),
    st.floats(-2000, 2000, width=32),
    st.sampled_from([1.7e9, 1.7e9 + 0.5, -1e12, 1e300, math.nan, math.inf, -math.inf]),
)
KEYS = st.sampled_from([b"a", b"b", None])
EVENTS = st.lists(st.tuples(KEYS, TIMES, st.integers(0, 9)), max_size=40)


class Buckets:
    """The oracle: the newest bucket and the sums of the last n."""

    def __init__(self, width: float, n: int) -> None:
        self.width, self.n = width, n
        self.newest: int | None = None
        self.sums: dict[int, int] = {}

    def bucket(self, ts: float) -> int | None:
        if not math.isfinite(ts) or abs(ts / self.width) >= 2**53:
            return None
        return math.floor(ts / self.width)

    def add(self, ts: float, weight: int) -> bool:
        bucket = self.bucket(ts)
        if bucket is None or (self.newest is not None and bucket <= self.newest - self.n):
            return False
        self.newest = bucket if self.newest is None else max(self.newest, bucket)
        self.sums[bucket] = self.sums.get(bucket, 0) + weight
        self.sums = {b: s for b, s in self.sums.items() if b > self.newest - self.n}
        return True

    def total(self, ts: float, back: int) -> int:
        bucket = self.bucket(ts)
        return 0 if bucket is None else sum(s for b, s in self.sums.items() if bucket - back < b <= bucket)


def _shard(feature: Any) -> Shard:
    return Shard(Layout(Columns(feature), ("clicks",)), reserve_bytes=0)


def _split(shard: Shard, events: list[tuple[bytes | None, float, int]], cut: int) -> list[Any]:
    """The events as two batches: rows, times, weights."""
    batches = []
    for part in (events[:cut], events[cut:]):
        rows = shard.locate(Spans.of([key for key, _, _ in part]))
        batches.append((rows, np.array([ts for _, ts, _ in part]), np.array([w for _, _, w in part])))
    return batches


@settings(max_examples=150, deadline=None)
@given(WIDTHS, PARTS, EVENTS, st.integers(0, 40), st.lists(TIMES, max_size=10))
def test_tumbling_counts(
    width: float, n: int, events: list[tuple[bytes | None, float, int]], cut: int, asked: list[float]
) -> None:
    feature = TumblingCounts(width, windows=n)
    shard, oracle = _shard(feature), {b"a": Buckets(width, n), b"b": Buckets(width, n)}
    found = [feature.add(shard, *batch) for batch in _split(shard, events, cut)]
    counts, starts, late = (np.concatenate(parts).tolist() for parts in zip(*found, strict=True))
    for i, (key, ts, weight) in enumerate(events):
        added = key is not None and oracle[key].add(ts, weight)
        assert late[i] == (not added)
        assert counts[i] == (oracle[key].total(ts, 1) if added and key else 0)
        if added and key:
            assert starts[i] == oracle[key].bucket(ts) * width  # type: ignore[operator]
    for key, buckets in oracle.items():
        rows = np.repeat(shard.find(Spans.of([key])), len(asked))
        assert feature.value(shard, rows, np.array(asked)).tolist() == [
            buckets.total(ts, 1) if rows[0] >= 0 else 0 for ts in asked
        ]


@settings(max_examples=150, deadline=None)
@given(WIDTHS, PARTS, EVENTS, st.integers(0, 40), st.lists(TIMES, max_size=10))
def test_sliding_sums(
    width: float, n: int, events: list[tuple[bytes | None, float, int]], cut: int, asked: list[float]
) -> None:
    feature = SlidingCounts(width * n, buckets=n, dtype=np.float32)
    shard = _shard(feature)
    oracle = {b"a": Buckets(feature.bucket_s, n), b"b": Buckets(feature.bucket_s, n)}
    found = [feature.add(shard, *batch) for batch in _split(shard, events, cut)]
    sums, _, late = (np.concatenate(parts).tolist() for parts in zip(*found, strict=True))
    for i, (key, ts, weight) in enumerate(events):
        added = key is not None and oracle[key].add(ts, weight)
        assert late[i] == (not added)
        assert sums[i] == (oracle[key].total(ts, n) if added and key else 0)
    for key, buckets in oracle.items():
        rows = np.repeat(shard.find(Spans.of([key])), len(asked))
        assert feature.value(shard, rows, np.array(asked)).tolist() == [
            buckets.total(ts, n) if rows[0] >= 0 else 0 for ts in asked
        ]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([0.5, 60.0]),
    st.lists(st.tuples(KEYS, st.floats(-500, 500, width=32) | st.just(math.nan), st.integers(-5, 5)), max_size=30),
    st.floats(-600, 600, width=32),
)
def test_decayed_sums_do_not_depend_on_the_order(
    half_life: float, events: list[tuple[bytes | None, float, int]], at: float
) -> None:
    feature = DecayedSum(half_life)
    shard = _shard(feature)
    for rows, ts, weights in _split(shard, events, len(events) // 2):
        feature.add(shard, rows, ts, weights)
    for key in (b"a", b"b"):
        mine = [(ts, w) for k, ts, w in events if k == key and not math.isnan(ts)]
        if mine:
            then = max(at, *(ts for ts, _ in mine))
            expected = math.fsum(w * 2.0 ** ((ts - then) / half_life) for ts, w in mine)
            value = feature.value(shard, shard.find(Spans.of([key])), np.array([at]))[0]
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_window_that_leaves_the_ring_is_counted_afresh_when_its_slot_is_used_again() -> None:
    feature = TumblingCounts(10, windows=2)
    shard = _shard(feature)
    rows = shard.locate(Spans.of([b"a"] * 5))
    counts, starts, late = feature.add(shard, rows, np.array([5.0, 15.0, 25.0, 15.0, 5.0]))
    assert counts.tolist() == [1, 1, 1, 2, 0]
    assert starts.tolist() == [0, 10, 20, 10, 0]
    assert late.tolist() == [False] * 4 + [True]
    assert feature.read(shard, 0) == {10.0: 2, 20.0: 1}
    assert feature.last(shard, rows[:1], np.array([29.0])).tolist() == [[2, 1]]


def test_weights_may_be_amounts() -> None:
    feature = TumblingCounts(60, windows=2, dtype=np.float64, name="spent")
    shard = _shard(feature)
    rows = shard.locate(Spans.of([b"a", b"a"]))
    assert feature.add(shard, rows, np.array([1.0, 2.0]), np.array([2.5, 0.25])).counts.tolist() == [2.5, 2.75]


def test_whole_seconds_may_come_as_integers() -> None:
    feature = SlidingCounts(60, buckets=6)
    shard = _shard(feature)
    rows = shard.locate(Spans.of([b"a", b"a"]))
    assert feature.add(shard, rows, np.array([10, 20])).counts.tolist() == [1, 2]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(StateError, match="width"):
        TumblingCounts(0, windows=3)
    with pytest.raises(StateError, match="parts"):
        SlidingCounts(60, buckets=0)
    feature = TumblingCounts(60, windows=2)
    shard = _shard(feature)
    with pytest.raises(StateError, match="2 weights for 1 events"):
        feature.add(shard, shard.locate(Spans.of([b"a"])), np.array([1.0]), np.array([1, 2]))

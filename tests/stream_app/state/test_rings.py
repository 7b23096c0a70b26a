from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.errors import StateError
from stream_app.state import Columns, Layout, Ring, Shard
from topics.spans import Spans

BATCHES = st.lists(
    st.lists(st.tuples(st.sampled_from([b"a", b"b", None]), st.integers(0, 99)), max_size=15), max_size=8
)


def _shard(*rings: Ring) -> Shard:
    return Shard(Layout(Columns(*rings), ("clicks",)), reserve_bytes=0)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 6), st.integers(0, 9), BATCHES)
def test_a_ring_is_the_tail_of_a_list(n: int, k: int, batches: list[list[tuple[bytes | None, int]]]) -> None:
    ring = Ring(n, item=np.int32, ts=np.float64)
    shard, oracle = _shard(ring), dict[bytes | None, list[int]]()
    for batch in batches:
        rows, items = shard.locate(Spans.of([key for key, _ in batch])), np.array([i for _, i in batch], np.int64)
        ring.push(shard, rows, item=items, ts=items + 0.5)
        for key, item in batch:
            oracle.setdefault(key, []).append(item)
    keys: list[bytes | None] = [b"a", b"b", None]
    last, lengths = ring.last(shard, shard.find(Spans.of(keys)), k)
    for i, key in enumerate(keys):
        expected = [] if key is None else oracle.get(key, [])[::-1][: min(n, k)]
        assert lengths[i] == len(expected)
        assert last["item"][i].tolist() == expected + [-1] * (k - len(expected))
        assert last["ts"][i].tolist() == [item + 0.5 for item in expected] + [-1] * (k - len(expected))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(0, 9), BATCHES)
def test_what_stood_there_before_each_event(n: int, k: int, batches: list[list[tuple[bytes | None, int]]]) -> None:
    ring = Ring(n, item=np.int32, ts=np.float64)
    shard, oracle = _shard(ring), dict[bytes, list[int]]()
    for batch in batches:
        rows, items = shard.locate(Spans.of([key for key, _ in batch])), np.array([i for _, i in batch], np.int64)
        before = ring.push_after(shard, rows, "item", k, item=items, ts=items + 0.5)
        for found, (key, item) in zip(before.tolist(), batch, strict=True):
            seen = [] if key is None else oracle.setdefault(key, [])
            expected = seen[::-1][: min(n, k)]
            assert found == expected + [-1] * (k - len(expected))
            seen.append(item)
    for key, seen in oracle.items():
        row = int(shard.find(Spans.of([key]))[0])
        assert ring.read(shard, row) == [{"item": item, "ts": item + 0.5} for item in seen[::-1][:n]]


def test_two_rings_lie_beside_each_other() -> None:
    viewed, bought = Ring(2, item=np.int32, name="viewed"), Ring(3, item=np.int32, name="bought")
    shard = _shard(viewed, bought)
    rows = shard.locate(Spans.of([b"ann"]))
    viewed.push(shard, rows, item=7)
    bought.push(shard, rows, item=8)
    assert viewed.read(shard, 0) == [{"item": 7}]
    assert bought.read(shard, 0) == [{"item": 8}]


def test_a_ring_goes_round_many_times_in_one_batch() -> None:
    ring = Ring(3, item=np.int64)
    shard = _shard(ring)
    for _ in range(5):
        ring.push(shard, shard.locate(Spans.of([b"ann"] * 1000)), item=np.arange(1000))
    assert ring.last(shard, np.array([0]))[0]["item"].tolist() == [[999, 998, 997]]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(StateError, match="padding"):
        Ring(5, item=np.uint32)
    with pytest.raises(StateError, match="at least one field"):
        Ring(5)
    ring = Ring(5, item=np.int32, ts=np.float64)
    shard = _shard(ring)
    with pytest.raises(StateError, match=r"has \['item', 'ts'\], was given \['item'\]"):
        ring.push(shard, shard.locate(Spans.of([b"ann"])), item=1)

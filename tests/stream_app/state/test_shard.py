from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stream_app.errors import StateError
from stream_app.state import Column, Columns, Layout, Shard
from topics.spans import Spans

LAYOUT = Layout(Columns(n=Column(np.int64), hidden=Column(np.float32, (2,))), ("clicks", "purchases"))


@pytest.fixture
def shard() -> Shard:
    return Shard(LAYOUT, "users", 3)


def _keys(*keys: str) -> Spans:
    return Spans.of([key.encode() for key in keys])


def _changelog(shard: Shard) -> dict[bytes | None, bytes | None]:
    keys, values = shard.drain_dirty()
    return dict(zip(keys, values, strict=True))


def test_an_event_is_fresh_once_per_source(shard: Shard) -> None:
    rows = shard.locate(_keys("ann", "bob", "ann"))
    offsets, ts = np.array([5, 6, 7]), np.array([1.0, 2.0, 3.0])
    assert shard.fresh(rows, 0, offsets).all()
    shard.advance(rows, 0, offsets, ts)
    assert shard.fresh(rows, 0, offsets).tolist() == [False, False, False]
    assert shard.fresh(rows, 0, np.array([6, 7, 8])).tolist() == [False, True, True]
    assert shard.fresh(rows, 1, np.array([0, 0, 0])).all()
    assert shard.column("_ts")[rows].tolist() == [3.0, 2.0, 3.0]


def test_marks_and_times_never_go_back(shard: Shard) -> None:
    rows = shard.locate(_keys("ann"))
    shard.advance(rows, 0, np.array([9]), np.array([9.0]))
    shard.advance(rows, 0, np.array([4]), np.array([4.0]))
    shard.advance(rows, 0, np.array([10]), np.array([np.nan]))
    assert shard.column("_mark")[rows].tolist() == [[10, -1]]
    assert shard.column("_ts")[rows].tolist() == [9.0]


def test_null_keys_have_no_row_and_change_nothing(shard: Shard) -> None:
    rows = shard.locate(Spans.of([None, b"ann"]))
    assert rows.tolist() == [-1, 0]
    assert shard.fresh(rows, 0, np.array([1, 1])).tolist() == [False, True]
    shard.advance(rows, 0, np.array([7, 1]), np.array([7.0, 1.0]))
    assert shard.column("_mark")[0].tolist() == [1, -1]
    assert list(_changelog(shard)) == [b"ann"]


def test_admitting_a_replay_changes_nothing(shard: Shard) -> None:
    keys, offsets, ts = _keys("ann", "bob", "ann"), np.array([5, 6, 7]), np.array([1.0, 2.0, 3.0])
    rows, fresh = shard.admit(keys, 0, offsets, ts)
    assert (rows.tolist(), fresh.all()) == ([0, 1, 0], True)
    _changelog(shard)
    rows, fresh = shard.admit(keys, 0, np.array([6, 7, 8]), ts)
    assert (rows.tolist(), fresh.tolist()) == ([0, 1, 0], [False, True, True])
    assert shard.column("_mark")[:2, 0].tolist() == [8, 7]
    _changelog(shard)
    assert not shard.admit(keys, 0, offsets, ts)[1].any()
    assert _changelog(shard) == {}


def test_column_views_stay_good_while_the_shard_grows(shard: Shard) -> None:
    n = shard.column("n")
    rows = shard.locate(_keys(*(str(i) for i in range(50_000))))
    n[rows] = rows
    assert (shard.column("n")[rows] == np.arange(50_000)).all()


def test_without_address_space_the_rows_are_moved_when_they_must_be() -> None:
    shard = Shard(LAYOUT, reserve_bytes=0)
    for start in range(0, 100_000, 10_000):
        rows = shard.locate(_keys(*(str(i) for i in range(start, start + 10_000))))
        shard.column("n")[rows] = rows + 1
    assert (shard.column("n")[:100_000] == np.arange(1, 100_001)).all()


def test_each_changed_row_is_drained_once(shard: Shard) -> None:
    for value in range(3):
        rows = shard.locate(_keys("ann", "bob", "ann"))
        shard.touch(rows)
        shard.column("n")[rows] = value
    assert shard.dirty == 2
    first = _changelog(shard)
    assert sorted(key for key in first if key) == [b"ann", b"bob"]
    assert shard.dirty == 0
    shard.touch(shard.find(_keys("bob")))
    assert list(_changelog(shard)) == [b"bob"]


def test_what_was_drained_does_not_change_with_the_row(shard: Shard) -> None:
    rows = shard.locate(_keys("ann"))
    keys, values = shard.drain_dirty()
    before = values[0]
    shard.touch(rows)
    shard.column("n")[rows] = 99
    assert (keys[0], values[0]) == (b"ann", before)


def test_a_rollback_restores_every_byte_and_removes_what_was_inserted(shard: Shard) -> None:
    ann = shard.locate(_keys("ann"))
    shard.column("n")[ann] = 5
    _changelog(shard)
    shard.savepoint()
    rows = shard.locate(_keys("ann", "bob"))
    shard.advance(rows, 1, np.array([3, 4]), np.array([1.0, 2.0]))
    shard.column("n")[rows] = 6
    shard.rollback()
    assert len(shard) == 1
    assert shard.find(_keys("ann", "bob")).tolist() == [0, -1]
    assert shard.column("n")[ann] == 5
    assert shard.fresh(ann, 1, np.array([0])).all()
    assert shard.dirty == 0
    again = shard.locate(_keys("carl"))
    assert shard.column("n")[again] == 0


def test_a_row_that_was_dirty_before_a_rollback_still_is(shard: Shard) -> None:
    rows = shard.locate(_keys("ann"))
    shard.savepoint()
    shard.touch(rows)
    shard.rollback()
    assert list(_changelog(shard)) == [b"ann"]


def test_a_released_savepoint_cannot_be_undone_and_the_next_one_saves_anew(shard: Shard) -> None:
    rows = shard.locate(_keys("ann"))
    for value in (1, 2):
        shard.savepoint()
        shard.touch(rows)
        shard.column("n")[rows] = value
        shard.release()
    shard.savepoint()
    shard.touch(rows)
    shard.column("n")[rows] = 3
    shard.rollback()
    assert shard.column("n")[rows] == 2
    with pytest.raises(StateError, match=r"'users', partition 3: rollback\(\) without savepoint"):
        shard.rollback()


@pytest.mark.parametrize(
    "operation",
    [
        lambda shard: shard.savepoint(),
        lambda shard: shard.drain_dirty(),
        lambda shard: shard.restore_dirty(Spans.of([]), Spans.of([])),
        lambda shard: shard.apply(Spans.of([]), Spans.of([])),
        lambda shard: shard.evict(0.0),
    ],
    ids=["savepoint", "drain_dirty", "restore_dirty", "apply", "evict"],
)
def test_inside_a_savepoint_there_is_no(shard: Shard, operation: Callable[[Shard], object]) -> None:
    shard.savepoint()
    with pytest.raises(StateError, match="inside a savepoint"):
        operation(shard)


def test_evicted_rows_leave_tombstones_and_their_rows_are_used_again(shard: Shard) -> None:
    rows = shard.locate(_keys("ann", "bob", "carl"))
    shard.advance(rows, 0, np.arange(3), np.array([10.0, 20.0, 30.0]))
    shard.column("n")[rows] = 7
    _changelog(shard)
    assert shard.evict(20.0) == 1
    assert _changelog(shard) == {b"ann": None}
    again = shard.locate(_keys("dora"))
    assert again.tolist() == [0]
    assert shard.column("n")[again] == 0


def test_a_key_that_comes_back_before_the_drain_has_no_tombstone(shard: Shard) -> None:
    shard.locate(_keys("ann"))
    _changelog(shard)
    assert shard.evict(0.0) == 1
    shard.locate(_keys("ann"))
    assert [value is None for value in _changelog(shard).values()] == [False]


def test_eviction_may_look_at_a_few_rows_at_a_time(shard: Shard) -> None:
    rows = shard.locate(_keys(*(str(i) for i in range(10))))
    shard.advance(rows, 0, np.zeros(10, np.int64), np.where(rows % 2, 100.0, 0.0))
    assert [shard.evict(50.0, scan=4) for _ in range(4)] == [2, 2, 1, 0]
    assert len(shard) == 5


def test_what_could_not_be_written_is_drained_again(shard: Shard) -> None:
    shard.advance(shard.locate(_keys("ann", "bob")), 0, np.array([1, 2]), np.array([1.0, 50.0]))
    _changelog(shard)
    shard.touch(shard.find(_keys("bob")))
    shard.evict(10.0)
    keys, values = shard.drain_dirty()
    shard.restore_dirty(keys, values)
    again = _changelog(shard)
    assert again == dict(zip(keys, values, strict=True))
    assert again[b"ann"] is None


def test_applying_takes_the_last_value_of_a_key_and_null_removes_it(shard: Shard) -> None:
    other = Shard(LAYOUT)
    values = []
    for n in range(3):
        rows = other.locate(_keys("ann"))
        other.touch(rows)
        other.column("n")[rows] = n
        values.append(other.drain_dirty()[1][0])
    shard.apply(_keys("ann", "bob", "ann", "carl", "bob"), Spans.of([values[0], values[1], values[2], None, None]))
    assert len(shard) == 1
    assert shard.column("n")[shard.find(_keys("ann"))] == 2
    shard.apply(_keys("ann", "ann"), Spans.of([None, values[1]]))
    assert shard.column("n")[shard.find(_keys("ann"))] == 1
    shard.apply(_keys("ann"), Spans.of([None]))
    assert len(shard) == 0


def test_what_the_changelog_says_is_not_written_back_to_it(shard: Shard) -> None:
    shard.locate(_keys("ann"))
    other = Shard(LAYOUT)
    other.locate(_keys("ann", "bob"))
    shard.apply(*other.drain_dirty())
    assert _changelog(shard) == {}


@pytest.mark.parametrize("value", [b"", b"\0" * 4, b"\0" * (4 + LAYOUT.row_bytes), b"\0" * 500])
def test_values_of_other_columns_are_refused_before_anything_changes(shard: Shard, value: bytes) -> None:
    other = Shard(LAYOUT)
    other.locate(_keys("ann"))
    right = other.drain_dirty()[1][0]
    with pytest.raises(StateError, match=r"changelog of table 'users' \(partition 3\).*delete its changelog topic"):
        shard.apply(_keys("ann", "bob"), Spans.of([right, value]))
    assert len(shard) == 0


def test_live_rows_are_those_that_hold_a_key(shard: Shard) -> None:
    rows = shard.locate(_keys("ann", "bob", "carl"))
    shard.advance(rows, 0, np.arange(3), np.array([10.0, 20.0, 30.0]))
    assert shard.live_rows().tolist() == [0, 1, 2]
    shard.evict(20.0)
    assert shard.live_rows().tolist() == [1, 2]


def test_memory_is_that_of_the_rows_in_use(shard: Shard) -> None:
    shard.locate(_keys(*(str(i) for i in range(1000))))
    assert 1000 * LAYOUT.row_bytes < shard.nbytes < 1000 * (LAYOUT.row_bytes + 100)

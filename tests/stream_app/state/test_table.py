"""The table beside a real Faust app without a broker: what recovery and rebalances do to its shards."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import faust
import numpy as np
import pytest
from faust.types import TP
from numpy.typing import NDArray

from stream_app.errors import StateError
from stream_app.state import Column, Columns, Ring, Shard, Table, TumblingCounts
from stream_app.state.stamps import stamp_headers
from topics.spans import Spans

from .model import LAYOUT

WINDOWS = TumblingCounts(300, windows=4)
RECENT = Ring(3, item=np.int32)
COLUMNS = Columns(WINDOWS, RECENT, hidden=Column(np.float32, (2,)))
CHANGELOG = "test-users-changelog"


@dataclass
class Records:
    """What a changelog message holds: the part of a record batch that a table reads."""

    partition: int
    offsets: NDArray[np.int64]
    keys: Spans
    values: Spans
    next_offset: int
    topic: str = CHANGELOG
    number: int = 0
    completed: int = 0
    fetch_offset: int = 0

    @property
    def header_spans(self) -> Spans:
        return stamp_headers(self.number, self.completed, len(self.keys))


class App(faust.App):  # type: ignore[misc]
    crashed_with: BaseException | None = None

    async def crash(self, reason: BaseException) -> None:
        self.crashed_with = reason


@pytest.fixture
def app() -> App:
    return App("test", broker="kafka://nowhere:9092", store="memory://", autodiscover=False)


@pytest.fixture
def users(app: App) -> Table:
    return _table(app)


def _table(app: App, **options: Any) -> Table:
    settings: dict[str, Any] = {"columns": COLUMNS, "sources": ("clicks", "purchases"), "partitions": 4} | options
    table = Table(app, "users", **settings)
    app.tables.add(table)
    return table


def _click(table: Table, partition: int, keys: list[bytes], first_offset: int = 0) -> Shard:
    shard = table.shard(partition)
    rows, ts = shard.locate(Spans.of(keys)), 1000.0 + np.arange(len(keys))
    shard.advance(rows, table.source("clicks"), first_offset + np.arange(len(keys)), ts)
    WINDOWS.add(shard, rows, ts)
    RECENT.push(shard, rows, item=np.arange(len(keys)))
    return shard


def _changelog(shard: Shard, first_offset: int = 0) -> Records:
    keys, values = shard.drain_dirty()
    offsets = first_offset + np.arange(len(keys))
    return Records(shard.partition, offsets, keys, values, first_offset + len(keys))


def _event(records: Records) -> Any:
    return SimpleNamespace(value=records)


async def _assign(table: Table, *partitions: int) -> None:
    assigned = {TP(CHANGELOG, partition) for partition in partitions} | {TP("clicks", p) for p in partitions}
    await table.on_rebalance(assigned, set(), set())


def test_it_is_one_of_fausts_collections(app: App, users: Table) -> None:
    assert users.changelog_topic_name == CHANGELOG
    assert app.tables["users"] is users
    assert users.changelog_topic.compacting
    assert users.changelog_topic.partitions == 4
    assert users.recovery_buffer_size == 2
    assert bool(users)
    assert len(users) == 0


async def test_recovery_rebuilds_what_was_drained(app: App, users: Table) -> None:
    shard = _click(users, 2, [b"ann", b"bob", b"ann"])
    before, records = users.get("ann"), _changelog(shard)
    users.drop(2)
    assert users.get("ann") is None
    await _assign(users, 2)
    users.apply_changelog_batch([_event(records)])
    assert users.get("ann") == before
    assert users.persisted_offset(TP(CHANGELOG, 2)) == 1
    assert users.dirty_shards() == []
    assert users.recovered_rows == 2


async def test_get_shows_a_row_decoded(users: Table) -> None:
    _click(users, 1, [b"ann", b"ann"])
    assert users.get(b"ann") == {
        "tumbling": {900.0: 2},
        "recent": [{"item": 1}, {"item": 0}],
        "hidden": [0.0, 0.0],
        "last_event_ts": 1001.0,
    }


async def test_records_that_are_held_already_are_not_applied_again(users: Table) -> None:
    await _assign(users, 0)
    old = _changelog(_click(users, 0, [b"ann"]))
    new = _changelog(_click(users, 0, [b"ann"], first_offset=1), first_offset=1)
    users.drop(0)
    users.apply_changelog_batch([_event(new)])
    now = users.get("ann")
    users.apply_changelog_batch([_event(old)])
    assert users.get("ann") == now
    assert users.persisted_offset(TP(CHANGELOG, 0)) == 1


async def test_a_batch_of_nothing_but_control_records_moves_the_offset(users: Table) -> None:
    await _assign(users, 0)
    none = Spans.of([])
    users.apply_changelog_batch([_event(Records(0, np.empty(0, np.int64), none, none, 7))])
    assert users.persisted_offset(TP(CHANGELOG, 0)) == 6


async def test_a_shard_that_is_revoked_is_dropped_with_its_offset_and_a_standby_is_kept(users: Table) -> None:
    await _assign(users, 0, 1)
    for partition in (0, 1):
        _changelog(_click(users, partition, [b"ann"]))
        users.set_persisted(partition, 5)
    await _assign(users, 1)
    assert list(users.shards) == [1]
    # -1, not None: with None Faust would go on from the offset it remembers and find nothing to recover.
    assert users.persisted_offset(TP(CHANGELOG, 0)) == -1
    assert await users.need_active_standby_for(TP(CHANGELOG, 0))
    assert not await users.need_active_standby_for(TP(CHANGELOG, 1))


async def test_changes_that_never_reached_the_changelog_are_read_back_at_a_rebalance(users: Table) -> None:
    await _assign(users, 0)
    written = _changelog(_click(users, 0, [b"ann"]))
    users.set_persisted(0, 0)
    then = users.get("ann")
    _click(users, 0, [b"ann", b"bob"], first_offset=1)
    await _assign(users, 0)
    assert users.persisted_offset(TP(CHANGELOG, 0)) == -1
    users.apply_changelog_batch([_event(written)])
    assert users.get("ann") == then
    assert users.get("bob") is None


async def test_an_acknowledgement_that_comes_after_the_shard_was_dropped_does_not_count(users: Table) -> None:
    users.set_persisted(3, 9)
    assert users.persisted_offset(TP(CHANGELOG, 3)) == -1


async def test_what_is_not_for_this_table_is_not_applied(users: Table) -> None:
    records = _changelog(_click(users, 0, [b"ann"]))
    users.drop(0)
    await _assign(users, 1)
    users.apply_changelog_batch([_event(records)])
    records.partition, records.topic = 1, "test-others-changelog"
    users.apply_changelog_batch([_event(records)])
    assert users.rows == 0


async def test_a_changelog_of_other_columns_crashes_the_app_and_says_what_to_do(app: App, users: Table) -> None:
    await _assign(users, 0)
    other = Shard(LAYOUT)
    other.locate(Spans.of([b"ann"]))
    with pytest.raises(StateError, match="cannot be recovered"):
        users.apply_changelog_batch([_event(_changelog(other))])
    await asyncio.sleep(0)
    assert isinstance(app.crashed_with, StateError)
    assert re.search(r"table 'users'.*partition 0.*other columns.*new name", str(app.crashed_with))
    with pytest.raises(StateError, match="cannot be recovered"):
        users.apply_changelog_batch([])  # whatever else Faust tries: there is no going on
    assert users.rows == 0


async def test_damaged_input_crashes_the_app_too(app: App, users: Table) -> None:
    await _assign(users, 0)
    with pytest.raises(StateError, match="cannot be recovered"):
        users.apply_changelog_batch([_event(None)])  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert isinstance(app.crashed_with, AttributeError)


@pytest.mark.parametrize(
    "other",
    [
        {"columns": Columns(TumblingCounts(600, windows=4), RECENT, hidden=Column(np.float32, (2,)))},
        {"columns": Columns(WINDOWS, RECENT, hidden=Column(np.float32, (3,)))},
        {"sources": ("purchases", "clicks")},
    ],
)
def test_the_schema_id_tells_declarations_apart_that_bytes_cannot(users: Table, other: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"columns": COLUMNS, "sources": ("clicks", "purchases")} | other
    changed = Table(users.app, "users", **settings)
    assert changed.layout.schema_id != users.layout.schema_id
    assert Table(users.app, "users", columns=COLUMNS, sources=("clicks", "purchases")).layout.schema_id == (
        users.layout.schema_id
    )


async def test_rows_are_evicted_by_the_watermark_and_their_retention(app: App) -> None:
    users = _table(app, retention_s=60.0)
    _click(users, 0, [b"ann", b"bob"])  # at 1000 and 1001 seconds
    assert users.evict(0, float("-inf")) == 0
    assert users.evict(0, 1060.0) == 0
    assert users.evict(0, 1060.5) == 1
    assert users.get("ann") is None
    assert users.evict(7, 9e9) == 0
    forever = Table(app, "forever", columns=WINDOWS, sources=["clicks"])
    forever.shard(0).locate(Spans.of([b"ann"]))
    assert forever.evict(0, 9e9) == 0


def test_wrong_use_says_what_to_do(app: App, users: Table) -> None:
    with pytest.raises(StateError, match=r"locate"):
        users.data  # noqa: B018
    with pytest.raises(StateError, match="not among its sources"):
        users.source("trades")
    with pytest.raises(StateError, match="sources"):
        Table(app, "none", columns=WINDOWS, sources=[])


def test_a_clone_is_declared_alike(users: Table) -> None:
    clone = users.clone()
    assert clone.layout.schema_id == users.layout.schema_id
    assert clone.partitions == 4


async def test_starting_declares_the_changelog_and_opens_no_store(
    users: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = []

    async def declare() -> None:
        declared.append(users.name)

    monkeypatch.setattr(users.changelog_topic, "maybe_declare", declare)
    await users.on_start()
    assert declared == ["users"]


async def test_recovery_callbacks_are_called(users: Table) -> None:
    called = []

    async def recovered() -> None:
        called.append(True)

    users.on_recover(recovered)
    await users.on_recovery_completed(set(), set())
    assert called == [True]


def test_rows_of_a_replaced_owner_are_passed_over(app: App) -> None:
    old, new, users = (Table(app, "users", columns=COLUMNS, sources=("clicks", "purchases")) for _ in range(3))
    users._assigned = {1}
    behind = _changelog(_click(old, 1, [b"ann"]))
    ahead = _changelog(_click(new, 1, [b"ann", b"ann"]))
    behind.number, ahead.number, ahead.completed = 4, 5, 5
    behind.offsets, behind.next_offset = behind.offsets + 1, behind.next_offset + 1
    users.apply_changelog_batch([SimpleNamespace(value=ahead), SimpleNamespace(value=behind)])
    assert int(users.shard(1).column("_mark")[users.shard(1).find(Spans.of([b"ann"]))[0]][0]) == 1
    assert users.persisted_offset(TP(CHANGELOG, 1)) == 1
    assert users.highest_number == 5


def _numbered(records: Records, number: int, completed: int) -> Records:
    records.number, records.completed = number, completed
    records.fetch_offset = int(records.offsets[0])
    return records


async def test_rows_of_a_checkpoint_that_was_not_completed_are_passed_over(users: Table) -> None:
    """Of whichever table has some: state is that of the committed offsets."""
    await _assign(users, 0)
    first = _numbered(_changelog(_click(users, 0, [b"ann"])), 7, 0)
    then = users.get("ann")
    broken = _numbered(_changelog(_click(users, 0, [b"ann", b"bob"], 1), 1), 8, 7)
    users.drop(0)
    users.apply_changelog_batch([_event(first), _event(broken)])
    assert users.persisted_offset(TP(CHANGELOG, 0)) == 2
    assert users.settle(0, 7) == 2
    assert users.get("ann") == then
    assert users.get("bob") is None
    # They are written as they are, since later rows must follow what does not count: bob's is a tombstone.
    keys, values = users.shard(0).drain_dirty()
    assert keys.tolist() == [b"ann", b"bob"]
    assert values[1] is None
    again = _numbered(Records(0, np.array([3, 4]), keys, values, 5), 9, 7)
    users.drop(0)
    users.apply_changelog_batch([_event(first), _event(broken), _event(again)])
    assert users.settle(0, 9) == 0
    assert users.get("ann") == then
    assert users.get("bob") is None


async def test_rows_of_the_last_checkpoint_count_if_it_was_completed(users: Table) -> None:
    await _assign(users, 0)
    last = _numbered(_changelog(_click(users, 0, [b"ann", b"bob"])), 7, 0)
    now = users.get("ann")
    users.drop(0)
    users.apply_changelog_batch([_event(last)])
    assert users.settle(0, 7) == 0
    assert users.get("ann") == now
    assert users.dirty_shards() == []


async def test_two_checkpoints_in_a_row_that_were_not_completed_are_both_passed_over(users: Table) -> None:
    """The second by a worker that took up after the first, and died as well."""
    await _assign(users, 0)
    first = _numbered(_changelog(_click(users, 0, [b"ann"])), 7, 0)
    then = users.get("ann")
    broken = _numbered(_changelog(_click(users, 0, [b"ann"], 1), 1), 8, 7)
    users.drop(0)
    users.apply_changelog_batch([_event(first), _event(broken)])
    assert users.settle(0, 7) == 1
    again = _numbered(_changelog(_click(users, 0, [b"bob"], 1), 2), 9, 7)
    users.drop(0)
    users.apply_changelog_batch([_event(first), _event(broken), _event(again)])
    assert users.settle(0, 7) == 3
    assert users.get("ann") == then
    assert users.get("bob") is None


async def test_what_is_missing_in_front_of_a_batch_is_read_first(users: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust empties its queues when the flow is resumed; a standby would go on behind what was in them."""
    await _assign(users, 0)
    sought: list[tuple[TP, int]] = []

    class Consumer:
        async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
            return dict.fromkeys(tps, 0)

        async def seek(self, tp: TP, offset: int) -> None:
            sought.append((tp, offset))

    monkeypatch.setattr(type(users.app), "consumer", Consumer())
    tp, seen = TP(CHANGELOG, 0), users.app.tables.recovery.standby_offsets
    first = _changelog(_click(users, 0, [b"ann"]))
    later = _changelog(_click(users, 0, [b"bob"], first_offset=1), first_offset=1)
    later.fetch_offset = 1
    users.drop(0)
    seen[tp] = 1
    users.apply_changelog_batch([_event(later)])
    await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    assert users.get("bob") is None
    assert sought == [(tp, 0)]
    assert seen[tp] == -1, "or Faust passes over what comes again"
    users.apply_changelog_batch([_event(first), _event(later)])
    assert users.get("ann") is not None
    assert users.get("bob") is not None


async def test_what_the_broker_has_deleted_is_not_waited_for(users: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    await _assign(users, 0)

    class Consumer:
        async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
            return dict.fromkeys(tps, 1)

        async def seek(self, tp: TP, offset: int) -> None:
            assert offset == 1

    monkeypatch.setattr(type(users.app), "consumer", Consumer())
    later = _changelog(_click(users, 0, [b"bob"], first_offset=1), first_offset=1)
    later.fetch_offset = 1
    users.drop(0)
    users.apply_changelog_batch([_event(later)])
    await asyncio.sleep(0.01)
    users.apply_changelog_batch([_event(later)])
    assert users.get("bob") is not None

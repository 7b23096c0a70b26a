"""What a worker that dies in the middle of a checkpoint leaves in the changelogs, and what a recovery makes of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import faust
import numpy as np
import pytest
from faust.types import TP

from stream_app.batch import BatchTopic
from stream_app.checkpoint import Checkpoint
from stream_app.event_time import EventTime
from stream_app.state import Column, Columns, Table
from topics.events import Click
from topics.spans import Spans

CLICKS = BatchTopic("clicks", Click, 4)


@dataclass
class Broker:
    """What survives: changelogs, and offsets with what is beside them."""

    logs: dict[str, list[tuple[bytes, bytes | None, bytes]]] = field(default_factory=lambda: defaultdict(list))
    committed: dict[TP, tuple[int, str]] = field(default_factory=dict)


class Worker:
    """Two tables over one topic, with a checkpoint of their own; `rows_left`: so many rows reach the broker."""

    def __init__(self, broker: Broker, generation: int) -> None:
        self.broker = broker
        self.rows_left = 1_000_000
        self.refuses = False
        app: Any = faust.App("test", broker="kafka://nowhere:9092", store="memory://", autodiscover=False)
        self.tables = [
            Table(app, name, columns=Columns(n=Column(np.int64)), sources=("clicks",), partitions=4)
            for name in ("first", "second")
        ]
        self.app = SimpleNamespace(
            in_transaction=False, columnar_tables=self.tables, consumer_generation_id=generation, outbox=self,
            event_time=EventTime(), batch_topics={"clicks": CLICKS}, consumed=["clicks"], crash=self.crash,
            tables=SimpleNamespace(recovery=SimpleNamespace(actives_for_table={
                table: {TP(table.changelog_topic_name, 0)} for table in self.tables
            })),
        )  # fmt: skip
        self.metadata: dict[TP, str] = {}
        self.refused = 0
        self.offset = 0
        self.checkpoint = Checkpoint(self.app)

    async def crash(self, error: BaseException) -> None:
        raise error

    # -- the outbox

    async def send(self, topic: str, partition: int, keys: Spans, values: Spans, *, headers: Spans, **_: Any) -> None:
        for key, value, header in zip(keys.tolist(), values.tolist(), headers.tolist(), strict=True):
            if self.rows_left > 0:
                self.broker.logs[topic].append((key or b"", value, header or b""))
            self.rows_left -= 1

    async def flush(self) -> None:
        if self.rows_left < 0:
            raise ConnectionAbortedError("dead")

    # -- the consumer

    def committable(self) -> dict[TP, int]:
        return {TP("clicks", 0): self.offset}

    async def still_owner(self) -> bool:
        return True

    async def commit_now(self, offsets: dict[TP, int], start_new_transaction: bool) -> bool:
        if self.refuses:
            return False
        self.broker.committed |= {tp: (offset, self.metadata[tp]) for tp, offset in offsets.items()}
        return True

    async def committed_metadata(self, tps: list[TP]) -> dict[TP, str]:
        return {tp: self.broker.committed[tp][1] for tp in tps if tp in self.broker.committed}

    # -- what it does

    def click(self, *keys: bytes) -> None:
        """Count clicks in both tables."""
        for table in self.tables:
            shard = table.shard(0)
            offsets = self.offset + np.arange(len(keys))
            rows, fresh = shard.admit(Spans.of(keys), 0, offsets, np.full(len(keys), 1000.0))
            np.add.at(shard.column("n"), rows[fresh], 1)
        self.offset += len(keys)

    async def commit(self) -> bool:
        return await self.checkpoint.run(self, {}, False)

    def counts(self) -> list[dict[bytes, int]]:
        found = []
        for table in self.tables:
            shard = table.shard(0)
            rows = shard.live_rows()
            found.append(dict(zip(shard.index.keys(rows).tolist(), shard.column("n")[rows].tolist(), strict=True)))
        return found

    async def recover(self) -> Worker:
        for table in self.tables:
            table._assigned = {0}
            for offset, (key, value, header) in enumerate(self.broker.logs[table.changelog_topic_name]):
                records = SimpleNamespace(
                    topic=table.changelog_topic_name, partition=0, offsets=np.array([offset]), keys=Spans.of([key]),
                    values=Spans.of([value]), header_spans=Spans.of([header]), fetch_offset=offset,
                    next_offset=offset + 1,
                )  # fmt: skip
                table.apply_changelog_batch([SimpleNamespace(value=records)])
        await self.checkpoint.numbers.settle(self)
        self.offset = self.broker.committed.get(TP("clicks", 0), (0, ""))[0]
        return self


KEYS = (b"ann", b"bob", b"cat", b"ann")


@pytest.mark.parametrize("rows_left", range(7))
async def test_state_is_that_of_the_offsets_wherever_a_checkpoint_breaks_off(rows_left: int) -> None:
    """Of six rows, three of each table, so many reach the broker: and those of a second worker, that dies as well."""
    broker = Broker()
    worker = Worker(broker, 1)
    worker.click(b"ann", b"dan")
    assert await worker.commit()
    for generation in (2, 3):
        worker.click(*KEYS)
        worker.rows_left = rows_left
        if rows_left == 6:
            worker.refuses = True
            assert not await worker.commit()
        else:
            with pytest.raises(ConnectionAbortedError):
                await worker.commit()
        worker = await Worker(broker, generation).recover()
        assert worker.counts() == [{b"ann": 1, b"dan": 1}] * 2
        assert worker.offset == 2
    worker.click(*KEYS)
    assert await worker.commit()
    worker = await Worker(broker, 4).recover()
    assert worker.counts() == [{b"ann": 3, b"bob": 1, b"cat": 1, b"dan": 1}] * 2
    assert worker.offset == 6


async def test_the_first_checkpoint_of_all_counts_only_if_it_was_completed() -> None:
    broker = Broker()
    worker = Worker(broker, 1)
    worker.click(*KEYS)
    worker.rows_left = 4
    with pytest.raises(ConnectionAbortedError):
        await worker.commit()
    worker = await Worker(broker, 2).recover()
    assert worker.counts() == [{}, {}]
    worker.click(*KEYS)
    assert await worker.commit()
    assert (await Worker(broker, 3).recover()).counts() == [{b"ann": 2, b"bob": 1, b"cat": 1}] * 2


async def test_a_commit_that_is_refused_leaves_its_rows_unsaved() -> None:
    """They are read back, or written with the next checkpoint."""
    worker = Worker(Broker(), 1)
    worker.click(*KEYS)
    worker.refuses = True
    assert not await worker.commit()
    assert [len(table.dirty_shards()) for table in worker.tables] == [1, 1]
    worker.refuses = False
    worker.click(b"bob")
    assert await worker.commit()
    assert (await Worker(worker.broker, 2).recover()).counts() == [{b"ann": 2, b"bob": 2, b"cat": 1}] * 2


async def test_offsets_that_were_set_by_hand_leave_state_as_it_is() -> None:
    broker = Broker()
    worker = Worker(broker, 1)
    worker.click(b"ann", b"bob")
    assert await worker.commit()
    broker.committed[TP("clicks", 0)] = (1, "")  # as with a broker that keeps nothing beside offsets
    worker = await Worker(broker, 2).recover()
    assert worker.counts() == [{b"ann": 1, b"bob": 1}] * 2


async def test_state_outlives_the_group() -> None:
    """The broker forgets offsets of a group that was away for a week."""
    broker = Broker()
    worker = Worker(broker, 1)
    for key in (b"ann", b"bob"):
        worker.click(key)
        assert await worker.commit()
    broker.committed.clear()
    assert (await Worker(broker, 1).recover()).counts() == [{b"ann": 1, b"bob": 1}] * 2


async def test_all_tables_of_a_partition_are_read_back_where_one_has_unsaved_changes() -> None:
    """What agents keep in memory beside one shard goes with the others."""
    worker = Worker(Broker(), 1)
    worker.click(*KEYS)
    assert await worker.commit()
    first, second = worker.tables
    kept = second.shard(1)
    shard = first.shard(0)
    shard.touch(shard.find(Spans.of([b"ann"])))
    worker.checkpoint.numbers.drop_unsaved()
    assert 0 not in first.shards
    assert 0 not in second.shards
    assert second.shards[1] is kept

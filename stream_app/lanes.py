"""Lanes: batches that share state run one after another, lanes beside each other, all bounded.

A topic names its lane, and each partition number has one of its own of every name: the state of a partition's keys is
changed by one batch at a time, while another lane's agents wait for a model or a process.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiokafka.errors import KafkaError
from faust.types import TP

from stream_app.batch import Batch, BatchTopic, Outgoing
from stream_app.checkpoint import Checkpoint
from stream_app.complaints import Complaints
from stream_app.preflight import DEFAULT_RECORD_BYTES
from stream_app.setting_aside import FRAME_BYTES, dead_letters_of
from stream_app.transport.records import RecordBatch
from topics.errors import Reason, RecordError

__all__ = ["Handler", "Lanes"]

logger = logging.getLogger(__name__)

#: What an agent is: takes a batch, changes state, sends.
Handler = Callable[[Batch], Awaitable[None]]

#: Batches that wait in a lane while one is processed; more would only add memory.
DEPTH = 8

#: Batches that wait are processed as one up to so many records and bytes of each buffer: a batch costs much the same
#: whether it holds five records or fifty, so the busier a lane is, the less a record costs.
JOINED_RECORDS, JOINED_BYTES = 256, 64 << 10


@dataclass(slots=True)
class _Work:
    tp: TP
    topic: BatchTopic
    records: RecordBatch
    handlers: list[tuple[str, Handler]]


class _Lane:
    """What waits for one partition number in one lane, first come first served, at most DEPTH batches."""

    def __init__(self) -> None:
        self._waiting: deque[_Work] = deque()
        self._room = asyncio.Semaphore(DEPTH)
        self._filled = asyncio.Event()

    async def put(self, work: _Work) -> None:
        """Add a batch at the end; waits while the lane is full."""
        await self._room.acquire()
        self._waiting.append(work)
        self._filled.set()

    @property
    def full(self) -> bool:
        """Whether `put` would wait."""
        return self._room.locked()

    async def take(self) -> list[_Work]:
        """The first batch and the small ones after it that can be processed with it."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        taken = [self._pop()]
        head = taken[0].records
        records, size = len(head), len(head.values.data)
        while self._waiting:
            work = self._waiting[0]
            records += len(work.records)
            size += len(work.records.values.data)
            if records > JOINED_RECORDS or size > JOINED_BYTES or not _follows(taken[-1], work):
                break
            taken.append(self._pop())
        return taken

    def clear(self) -> None:
        """Drop what waits."""
        while self._waiting:
            self._pop()

    def _pop(self) -> _Work:
        self._room.release()
        return self._waiting.popleft()


def _follows(before: _Work, after: _Work) -> bool:
    """Whether two batches are neighbours in a partition, read after the same seek."""
    return (
        after.tp == before.tp
        and after.records.seek == before.records.seek
        and after.records.fetch_offset == before.records.next_offset
    )


class Lanes:
    """Runs the agents over batches; a batch is atomic, and a record that breaks it goes to the dead letters alone."""

    def __init__(self, app: Any, checkpoint: Checkpoint) -> None:
        self._app = app
        self._gate = checkpoint.gate
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._paused = False
        self._complaints = Complaints(logger)
        checkpoint.drainers.append(self.drain)

    async def put(self, tp: TP, topic: BatchTopic, records: RecordBatch, handlers: list[tuple[str, Handler]]) -> None:
        """Queue a batch in its topic's lane of its partition; waits while the lane is full."""
        consumer = self._app.consumer
        if not consumer.begin_batch(tp, records) or self._paused:
            return
        key = topic.lane, tp.partition
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
            self._tasks[key] = asyncio.get_running_loop().create_task(self._run(lane))
        await lane.put(_Work(tp, topic, records, handlers))

    def full(self, topic: BatchTopic, partition: int) -> bool:
        """Whether `put` would wait for room in the lane of a partition of `topic`."""
        lane = self._lanes.get((topic.lane, partition))
        return lane is not None and lane.full

    async def drain(self) -> None:
        """Drop what waits (it is delivered again after the rebalance); `resume` lets batches in again."""
        self._paused = True
        for lane in self._lanes.values():
            lane.clear()

    def resume(self) -> None:
        """Positions have been set: batches may come."""
        self._paused = False

    async def close(self) -> None:
        """End the lanes."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._lanes.clear()
        self._tasks.clear()

    async def _run(self, lane: _Lane) -> None:
        while True:
            works = await lane.take()
            try:
                await self._process(works)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                logger.exception("cannot go on with %s:%s", *works[0].tp)
                await self._app.crash(error)

    async def _process(self, works: list[_Work]) -> None:
        """Process batches that follow each other as one; each is done with by itself in the consumer's books."""
        consumer, work = self._app.consumer, works[0]
        async with self._gate.batch():
            if self._paused or not consumer.is_current(work.tp, work.records):
                return
            filled = [each.records for each in works if len(each.records)]
            if filled:
                records = filled[0] if len(filled) == 1 else RecordBatch.joined(filled)
                await self._handle(_Work(work.tp, work.topic, records, work.handlers))
            for each in works:
                consumer.finish_batch(each.tp, each.records)

    async def _handle(self, work: _Work) -> None:
        app, records = self._app, work.records
        columns = work.topic.decode(records.values)
        errors = [(error.row, error, "decode") for error in columns.errors]
        if work.topic.lateness_s is not None or work.topic.max_ahead_s is not None:
            errors += app.event_time.check(work.tp, work.topic, records, columns)
        app.metrics.batch_read(work.tp, records, errors)
        if errors:
            await self._set_aside(records, errors)
            bad = np.zeros(len(records), np.bool_)
            bad[[row for row, _, _ in errors]] = True
            good = columns.ok & ~bad
        else:
            good = columns.ok
        if not good.all():
            rows = np.flatnonzero(good)
            records, columns = records.take(rows), columns.take(rows)
        step = work.topic.max_records or len(records)
        for begin in range(0, len(records), max(step, 1)):
            batch = Batch(work.topic, records, columns)
            if step < len(records):
                batch = batch.take(np.arange(begin, min(begin + step, len(records))))
            for name, handler in work.handlers:
                await self._attempt(name, handler, batch.fresh_copy())

    async def _attempt(self, name: str, handler: Handler, batch: Batch) -> None:
        """Run the agent over the batch; if it raises, take back what it changed and find the record it is."""
        shards = self._app.shards(batch.partition, batch.topic.lane)
        for shard in shards:
            shard.savepoint()
        try:
            await handler(batch)
            self._check_sizes(batch)
        except (asyncio.CancelledError, MemoryError, KafkaError):
            for shard in shards:
                shard.rollback()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the record it came of is set aside
            for shard in shards:
                shard.rollback()
            if len(batch) == 1:
                self._complaints.failed(name, batch.source(0), error)
                reason = RecordError(0, Reason.FAILED, f"{type(error).__name__}: {error}")
                await self._set_aside(batch.records, [(0, reason, name)])
                self._app.metrics.dead_letter(batch.topic.name, Reason.FAILED, 1)
                return
            half = len(batch) // 2
            await self._attempt(name, handler, batch.take(np.arange(half)))
            await self._attempt(name, handler, batch.take(np.arange(half, len(batch))))
            return
        for shard in shards:
            shard.release()
        for records, rejected in batch.rejected:
            await self._set_aside(records, [(rejected.row, rejected, name)])
            self._app.metrics.dead_letter(batch.topic.name, rejected.reason, 1)
        for outgoing in batch.outgoing:
            await self._send(batch, outgoing)

    def _check_sizes(self, batch: Batch) -> None:
        """A record that the broker would refuse would stop the stream: it is the failure of the record it came of."""
        for out in batch.outgoing:
            limit = self._app.max_message_bytes.get(out.topic, DEFAULT_RECORD_BYTES) - FRAME_BYTES
            sizes = out.values.end - out.values.start
            if out.keys is not None:
                sizes = sizes + (out.keys.end - out.keys.start)
            if len(sizes) and (largest := int(sizes.max())) > limit:
                raise ValueError(f"a record of {largest:,} bytes for topic {out.topic}, which takes {limit:,}")

    async def _send(self, batch: Batch, out: Outgoing) -> None:
        outbox = self._app.outbox
        if isinstance(out.partition, int):
            await outbox.send(
                out.topic, out.partition, out.keys, out.values, out.timestamps_ms, out.headers, source=batch.tp
            )
            return
        for partition in np.unique(out.partition).tolist():
            rows = np.flatnonzero(out.partition == partition)
            await outbox.send(
                out.topic,
                partition,
                out.keys.take(rows) if out.keys is not None else None,
                out.values.take(rows),
                out.timestamps_ms[rows] if out.timestamps_ms is not None else None,
                out.headers.take(rows) if out.headers is not None else None,
                source=batch.tp,
            )

    async def _set_aside(self, records: RecordBatch, errors: list[tuple[int, RecordError, str]]) -> None:
        """Bad and late records to their topics, untouched, with what is wrong in the headers."""
        app = self._app
        for topic, late in ((app.late_events, True), (app.dead_letters, False)):
            part = [entry for entry in errors if (entry[1].reason is Reason.LATE) == late]
            if not part:
                continue
            rows = np.array([row for row, _, _ in part])
            limit = app.max_message_bytes.get(topic.name, DEFAULT_RECORD_BYTES)
            letters = dead_letters_of(records.take(rows), [(error, stage) for _, error, stage in part], limit)
            await app.outbox.send(
                topic.name, records.partition % topic.partitions, letters.keys, letters.values,
                records.timestamps_ms[rows], letters.headers, source=TP(records.topic, records.partition),
            )  # fmt: skip

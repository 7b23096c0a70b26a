"""One lane a partition: batches that share state run one after another, lanes beside each other, all bounded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiokafka.errors import KafkaError
from faust.types import TP

from stream_app.batch import Batch, BatchTopic, Outgoing
from stream_app.checkpoint import Checkpoint
from stream_app.preflight import DEFAULT_RECORD_BYTES
from stream_app.setting_aside import FRAME_BYTES, dead_letters_of
from stream_app.transport.records import RecordBatch
from topics.errors import Reason, RecordError

__all__ = ["Handler", "Lanes"]

logger = logging.getLogger(__name__)

#: What an agent is: takes a batch, changes state, sends.
Handler = Callable[[Batch], Awaitable[None]]

#: Batches that wait in a lane while one is processed; more would only add latency and memory.
DEPTH = 2


@dataclass(slots=True)
class _Work:
    tp: TP
    topic: BatchTopic
    records: RecordBatch
    handlers: list[tuple[str, Handler]]


class Lanes:
    """Runs the agents over batches; a batch is atomic, and a record that breaks it goes to the dead letters alone."""

    def __init__(self, app: Any, checkpoint: Checkpoint) -> None:
        self._app = app
        self._gate = checkpoint.gate
        self._queues: dict[int, asyncio.Queue[_Work]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._paused = False
        checkpoint.drainers.append(self.drain)

    async def put(self, tp: TP, topic: BatchTopic, records: RecordBatch, handlers: list[tuple[str, Handler]]) -> None:
        """Queue a batch in the lane of its partition; waits while the lane is full."""
        consumer = self._app.consumer
        if not consumer.begin_batch(tp, records) or self._paused:
            return
        queue = self._queues.get(tp.partition)
        if queue is None:
            queue = self._queues[tp.partition] = asyncio.Queue(DEPTH)
            self._tasks[tp.partition] = asyncio.get_running_loop().create_task(self._run(queue))
        await queue.put(_Work(tp, topic, records, handlers))

    async def drain(self) -> None:
        """Drop what waits (it is delivered again after the rebalance); `resume` lets batches in again."""
        self._paused = True
        for queue in self._queues.values():
            while not queue.empty():
                queue.get_nowait()

    def resume(self) -> None:
        """Positions have been set: batches may come."""
        self._paused = False

    async def close(self) -> None:
        """End the lanes."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._queues.clear()
        self._tasks.clear()

    async def _run(self, queue: asyncio.Queue[_Work]) -> None:
        while True:
            work = await queue.get()
            try:
                await self._process(work)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                logger.exception("cannot go on with %s:%s", *work.tp)
                await self._app.crash(error)

    async def _process(self, work: _Work) -> None:
        consumer = self._app.consumer
        async with self._gate.batch():
            if self._paused or not consumer.is_current(work.tp, work.records):
                return
            if len(work.records):
                await self._handle(work)
            consumer.finish_batch(work.tp, work.records)

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
        shards = self._app.shards(batch.partition)
        for shard in shards:
            shard.savepoint()
        try:
            await handler(batch)
            self._check_sizes(batch)
        except (asyncio.CancelledError, MemoryError, KafkaError):
            for shard in shards:
                shard.rollback()
            raise
        except Exception as error:
            for shard in shards:
                shard.rollback()
            if len(batch) == 1:
                logger.exception("agent %s cannot process %s", name, batch.source(0))
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

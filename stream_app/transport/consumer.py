"""Faust's consumer, handing over whole record batches for the topics that ask for them, and committing by checkpoint.

Stock topics of the same app go on message by message, with Faust's own acknowledgements.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

from aiokafka import TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service

from stream_app.transport.ranges import RangeTracker
from stream_app.transport.records import RecordBatch
from stream_app.transport.thread import ConsumerThread, Polled, Sought

__all__ = ["Consumer"]

logger = logging.getLogger(__name__)

#: Seconds between two looks while every partition is paused.
_PAUSED_S = 0.02

#: Seconds without a record after which a changelog that was read to its end holds no more.
_STILL_S = 1.0


class _ReadOffsets(defaultdict[TP, "int | None"]):
    """Faust drops messages below the last one read and fills the gaps between them, one offset a message.

    Batches carry their own range and are checked for order by their `RangeTracker`; for them Faust is told nothing.
    """

    def __init__(self, consumer: Consumer) -> None:
        super().__init__(lambda: None)
        self._consumer = consumer

    def __getitem__(self, tp: TP) -> int | None:
        return None if self._consumer.is_batch_topic(tp.topic) else super().__getitem__(tp)


class Consumer(driver.Consumer):
    """A consumer of batches and messages; `app` is a `stream_app.processor.Processor`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.ranges: dict[TP, RangeTracker] = {}
        #: What is committed beside an offset: the number of the checkpoint, and the newest event time up to it.
        self.metadata: dict[TP, str] = {}
        self._seek_number = 0
        self._released = asyncio.Event()
        super().__init__(*args, **kwargs)
        self._read_offset = _ReadOffsets(self)
        self._to_conductor: Any = self.callback  # type: ignore[has-type]
        self.callback = self._deliver

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def is_batch_topic(self, topic: str) -> bool:
        """Whether records of `topic` are handed over as batches."""
        return topic in getattr(self.app, "batch_topic_names", ())

    # -- delivery

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        if not isinstance(record, RecordBatch):
            return super()._to_message(tp, record)
        newest_ms = int(record.timestamps_ms[-1]) if len(record) else 0
        return ConsumerMessage(
            tp.topic, tp.partition, record.next_offset - 1, newest_ms / 1000.0, 0, None, None, record, None,
            0, 0, tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    def track_message(self, message: Any) -> None:
        if not isinstance(message.value, RecordBatch):
            super().track_message(message)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """What the next poll brings. What comes while a rebalance is on is dropped: the seek that ends it brings it
        again. (Faust's own seeks there and then, which would take positions back in the middle of a checkpoint.)"""
        if self.flow_active and not self.app.client_only and not self._get_active_partitions():
            # Faust sleeps a second here, and the first records after a rebalance wait for it.
            await asyncio.sleep(_PAUSED_S)
            return
        records, active = await self._wait_next_records(timeout)
        await self._released.wait()
        generation = self.app.consumer_generation_id
        void = isinstance(records, Polled) and records.seek < self._thread.sought.number
        for tp, record in self.scheduler.iterate(records or {}):
            if self.should_stop or not self.flow_active or self.app.consumer_generation_id != generation:
                return
            if void and not isinstance(record, RecordBatch) and not self._is_changelog_tp(tp):
                continue
            if active is None or tp in active or tp in self._buffered_partitions:
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                if self._goes_to_app(tp, record) and not self.app.lanes.full(
                    self.app.batch_topics[tp.topic], tp.partition
                ):
                    # Faust's loop makes four tasks for each message, to wait for room and for an end of the flow.
                    await self.app.deliver(tp, record)
                else:
                    yield tp, self._to_message(tp, record)

    async def _deliver(self, message: ConsumerMessage) -> None:
        """Batches of input go straight to the app; the rest through Faust's queues, which lose all they hold when the
        flow is resumed after a rebalance."""
        if self._goes_to_app(message.tp, message.value):
            await self.app.deliver(message.tp, message.value)
        else:
            await self._to_conductor(message)

    def _goes_to_app(self, tp: TP, record: Any) -> bool:
        return isinstance(record, RecordBatch) and not self._is_changelog_tp(tp)

    def resume_flow(self) -> None:
        """Called by Faust's recovery before it reads changelogs, and when all is ready."""
        super().resume_flow()
        self._released.set()

    def begin_batch(self, tp: TP, batch: RecordBatch) -> bool:
        """Take `batch` into the books; False for one read before a seek, which comes again in its place."""
        if batch.seek > self._seek_number:
            self._take_up(self._thread.sought)
        tracker = self.ranges.get(tp)
        if tracker is None or batch.seek != tracker.generation:
            return False
        gap = tracker.delivered(batch.fetch_offset, batch.next_offset)
        if gap > 0:
            logger.warning(
                "%s:%s: offsets %s to %s are gone, the broker has deleted them (retention); going on after them",
                *tp, batch.fetch_offset - gap, batch.fetch_offset - 1,
            )  # fmt: skip
        elif gap < 0:
            logger.warning(
                "%s:%s ends before offset %s, where this group was: was the topic made anew? Rows that know higher "
                "offsets take no events until these come; use another application id to begin afresh",
                *tp, batch.fetch_offset - gap,
            )  # fmt: skip
        return True

    def finish_batch(self, tp: TP, batch: RecordBatch) -> None:
        """`batch` and its outputs are done; its offsets may be committed once all before them are."""
        if self.is_current(tp, batch):
            self.ranges[tp].finished(batch.next_offset)

    def is_current(self, tp: TP, batch: RecordBatch) -> bool:
        """Whether no seek or revocation has made `batch` void."""
        tracker = self.ranges.get(tp)
        return tracker is not None and tracker.generation == batch.seek

    async def perform_seek(self) -> None:
        """To the committed offsets: what was in flight is delivered again from there. Nothing is delivered until
        the flow is resumed, since Faust empties its queues then."""
        self._released.clear()
        await super().perform_seek()
        self._take_up(self._thread.sought)

    def _take_up(self, sought: Sought) -> None:
        """Begin the books anew at the offsets of a seek."""
        if sought.number <= self._seek_number:
            return
        self._seek_number = sought.number
        self.ranges = {
            tp: RangeTracker(offset, sought.number)
            for tp, offset in sought.offsets.items()
            if self.is_batch_topic(tp.topic)
        }
        on_seek = getattr(self.app, "on_positions_set", None)
        if on_seek is not None:
            on_seek({tp: text for tp, text in sought.metadata.items() if tp in self.ranges})

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self.ranges.pop(tp, None)

    # -- commit

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        yield from super()._filter_tps_with_pending_acks(topics)
        for tp in list(self.ranges):
            if topics is None or tp in topics or tp.topic in topics:
                yield tp

    def _new_offset(self, tp: TP) -> int | None:
        tracker = self.ranges.get(tp)
        return tracker.committable if tracker is not None else super()._new_offset(tp)

    def committable(self) -> dict[TP, int]:
        """The batch offsets that could be committed now and are not yet."""
        offsets = {}
        for tp, tracker in self.ranges.items():
            if tracker.committable is not None and self._should_commit(tp, tracker.committable):
                offsets[tp] = tracker.committable
        return offsets

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        checkpoint = getattr(self.app, "checkpoint", None)
        if checkpoint is None:
            return await self.commit_now(dict(offsets), start_new_transaction)
        done: bool = await checkpoint.run(self, dict(offsets), start_new_transaction)
        return done

    async def commit_now(self, offsets: dict[TP, int], start_new_transaction: bool) -> bool:
        """The commit itself, as Faust does it: flush what stock topics sent, then offsets (or the transaction)."""
        done: bool = await super()._commit_offsets(offsets, start_new_transaction)
        return done

    async def committed_metadata(self, tps: Iterable[TP]) -> dict[TP, str]:
        """What is committed beside the offsets of partitions; nothing for one without a committed offset."""
        found: dict[TP, str] = await self._thread.committed_metadata(tps)
        return found

    async def wait_empty(self) -> None:
        """Before partitions are given up: queued batches are dropped, running ones finish, and what is done is kept."""
        checkpoint = getattr(self.app, "checkpoint", None)
        if checkpoint is not None:
            await checkpoint.drain()
        stock: Iterable[Any] = [m for m in self._unacked_messages if not isinstance(m.value, RecordBatch)]
        self._unacked_messages.clear()
        self._unacked_messages.update(stock)
        if self._unacked_messages:
            await super().wait_empty()
        else:
            await self.commit_and_end_transactions()

    async def commit_and_end_transactions(self) -> None:
        """The last checkpoint before partitions are given up.

        Faust's `commit` does nothing but wait while another one runs: that one was cut before the last batches ended.
        """
        while self._commit_fut is not None:
            await self.maybe_wait_for_commit_to_finish()
        await super().commit_and_end_transactions()

    @Service.task
    async def _pass_over_control_records(self) -> None:
        """End the recovery of ordinary tables whose changelog ends in the marker of a transaction.

        Faust waits for the record at the end, which never comes, and gives up after two pauses of five seconds.
        (Columnar tables need no help: a batch tells where it ends.)
        """
        seen: dict[TP, int] | None = None
        since = 0.0
        while self.in_transaction and not self.should_stop:
            await self.sleep(0.25)
            recovery = self.app.tables.recovery
            if not self.app.in_recovery or not recovery.need_recovery():
                seen = None
                continue
            offsets = dict(recovery.active_offsets)
            if offsets != seen or not self.app.tables.changelog_queue.empty():
                seen, since = offsets, time.monotonic()
            elif time.monotonic() - since > _STILL_S:
                for tp, last in list(recovery.active_highwaters.items()):
                    behind = last is not None and offsets.get(tp) is not None and offsets[tp] < last
                    if behind and (await self.position(tp) or 0) > last:
                        recovery.active_offsets[tp] = last
                if self.app.in_recovery and not recovery.need_recovery():
                    recovery.flush_buffers()
                    recovery._set_recovery_ended()
                    recovery.signal_recovery_end.set()

    async def leave_group(self) -> None:
        """Leave without committing."""
        thread = self._thread
        coordinator = thread._ensure_consumer()._coordinator
        leaving = asyncio.run_coroutine_threadsafe(coordinator._maybe_leave_group(), thread.thread_loop)
        await asyncio.wrap_future(leaving)

    async def still_owner(self) -> bool:
        """Whether rows may be written: waits out a broker that is away, False once the group has given us up."""
        while not self._thread.lease.valid:
            if self.app.rebalancing or self.should_stop:
                return False
            await asyncio.sleep(0.05)
        return True

    def lag(self, tp: TP) -> int | None:
        """Records between the committed position and the end of the partition, where both are known."""
        end = self.highwater(TopicPartition(tp.topic, tp.partition))
        done = self._committed_offset[tp]
        return None if end is None or done is None else max(0, end - done)

"""Faust's consumer, handing over whole record batches for the topics that ask for them, and committing by checkpoint.

Stock topics of the same app go on message by message, with Faust's own acknowledgements.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service

from stream_app.transport.fetching import hand_over_batches
from stream_app.transport.lease import Lease
from stream_app.transport.ranges import RangeTracker
from stream_app.transport.records import RecordBatch

__all__ = ["Consumer", "ConsumerThread"]

logger = logging.getLogger(__name__)

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


class Sought(NamedTuple):
    """A seek to the committed offsets: batches read after it carry its number."""

    number: int
    offsets: dict[TP, int | None]  # None: nothing committed, read from where the reset policy says
    metadata: dict[TP, str]


class Polled(dict[TP, list[Any]]):
    """What a poll brought, and the number of the seek it was read after."""

    def __init__(self, records: Mapping[TP, list[Any]], seek: int) -> None:
        super().__init__(records)
        self.seek = seek


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to the broker."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sought = Sought(0, {}, {})
        self.lease = Lease(self.app.conf.broker_session_timeout)

    async def on_start(self) -> None:
        await super().on_start()
        consumer = self._ensure_consumer()
        pace_s = getattr(self.app, "fetch_pace_s", 0.0)
        hand_over_batches(consumer, self.consumer.is_batch_topic, lambda: self.sought.number, pace_s)
        self._renew_lease_by_heartbeats(consumer._coordinator)
        consumer._coordinator._coordination_task.add_done_callback(self._on_coordination_ended)

    async def on_thread_stop(self) -> None:
        try:
            await super().on_thread_stop()
        except asyncio.CancelledError:
            # aiokafka cancels its fetches and trips over one that waits for a broker that is away.
            await self._ensure_consumer()._client.close()

    def _on_coordination_ended(self, task: asyncio.Task[None]) -> None:
        """The group does not take this worker (a wrong session timeout, no authorization): aiokafka only logs it."""
        if not task.cancelled() and (error := task.exception()) is not None and not self.should_stop:
            self._failing = self.thread_loop.create_task(self.crash(error.__cause__ or error))

    async def _fetch_records(self, *args: Any, **options: Any) -> Polled:
        # Without a pause after the records were taken: the number is that of their positions.
        return Polled(await super()._fetch_records(*args, **options), self.sought.number)

    def _renew_lease_by_heartbeats(self, coordinator: Any) -> None:
        heartbeat = coordinator._do_heartbeat

        async def heartbeat_and_renew() -> bool:
            asked_at, member = self.lease.now(), coordinator.member_id
            answered: bool = await heartbeat()
            if coordinator.member_id != member:
                self.lease.revoke()
            elif answered:
                self.lease.renew(asked_at)
            return answered

        coordinator._do_heartbeat = heartbeat_and_renew

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.lease.renew(self.lease.now())
        await super().on_partitions_assigned(assigned, generation_id)

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust's driver fixes fetch_max_wait_ms at 1,500; a broker that holds an empty fetch that long holds the
        # next seek of a rebalance too.
        consumer._fetch_max_wait_ms = 500
        return consumer

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit offsets, each with the watermark of that offset as its metadata."""
        consumer, assigned = self._ensure_consumer(), self.assignment()
        mine = {
            TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, self.consumer.metadata.get(tp, ""))
            for tp, offset in offsets.items()
            if tp in assigned
        }
        now = time.monotonic()
        self.tp_last_committed_at.update({TP(tp.topic, tp.partition): now for tp in mine})
        try:
            await consumer.commit(mine)
        except CommitFailedError as error:
            # The group has moved on: whoever has the partition now processes these events again.
            logger.info("offsets not committed, the group is rebalancing: %s", error)
            return False
        except KafkaError as error:
            logger.error("offsets not committed: %r", error)
            await self.crash(error)
            return False
        return True

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        """Seek what is assigned to its committed offsets; changelogs, which are not committed, stay where they are."""
        offsets: Mapping[TP, int | None] = await self.call_thread(self._seek_to_committed)
        return offsets

    async def _seek_to_committed(self) -> Mapping[TP, int | None]:
        """aiokafka's own leaves a partition without committed offset where it is, though its batches were dropped."""
        consumer = self._ensure_consumer()
        wanted = [tp for tp in consumer.assignment() if not self.consumer._is_changelog_tp(tp)]
        found = await consumer._coordinator.fetch_committed_offsets(wanted)
        offsets: dict[TP, int | None] = {}
        metadata: dict[TP, str] = {}
        waiting = []
        # From here to the new number without a pause: no batch may be read between.
        for tp in set(wanted) & set(consumer.assignment()):
            committed = found.get(tp)
            if committed is not None and committed.offset >= 0:
                consumer._fetcher.seek_to(tp, committed.offset)
                offsets[TP(*tp)], metadata[TP(*tp)] = committed.offset, committed.metadata
            else:
                waiting.append(consumer._fetcher.request_offset_reset([tp], consumer._fetcher._default_reset_strategy))
                offsets[TP(*tp)] = None
        self.sought = Sought(self.sought.number + 1, offsets, metadata)
        await asyncio.gather(*waiting)
        return offsets

    async def _highwaters(self, partitions: list[TP]) -> Mapping[TP, int]:
        """End offsets asked of the broker (the last stable ones under read_committed).

        Faust takes the cached last stable offset in a transaction, which is unknown before the first fetch: it would
        find nothing to recover and start with empty tables.
        """
        ends: Mapping[TP, int] = await self._ensure_consumer().end_offsets(partitions)
        return ends


class Consumer(driver.Consumer):
    """A consumer of batches and messages; `app` is a `stream_app.processor.Processor`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.ranges: dict[TP, RangeTracker] = {}
        #: What is committed beside an offset: the newest event time up to it.
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
                yield tp, self._to_message(tp, record)

    async def _deliver(self, message: ConsumerMessage) -> None:
        """Batches of input go straight to the app; the rest through Faust's queues, which lose all they hold when the
        flow is resumed after a rebalance."""
        if isinstance(message.value, RecordBatch) and not self._is_changelog_tp(message.tp):
            await self.app.deliver(message.tp, message.value)
        else:
            await self._to_conductor(message)

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

"""The thread that talks to the broker: fetches, seeks, offsets, heartbeats."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Set
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.futures import maybe_set_exception, maybe_set_result

from stream_app.transport.fetching import hand_over_batches
from stream_app.transport.lease import Lease

__all__ = ["ActivePartitions", "ConsumerThread", "Polled", "Sought"]

logger = logging.getLogger(__name__)

#: Longest that a broker holds a fetch for which it has nothing.
FETCH_WAIT_S = 0.5


class Sought(NamedTuple):
    """A seek to the committed offsets: batches read after it carry its number."""

    number: int
    offsets: dict[TP, int | None]  # None: nothing committed, read from where the reset policy says
    metadata: dict[TP, str]


class ActivePartitions:
    """Faust's set of partitions that are not paused, as it stands when asked.

    aiokafka takes an empty set for all partitions. The set is empty while recovery turns from the changelogs of its
    own partitions to those it follows as a standby: a poll then took records of these, which nobody wanted yet and
    which never came again.
    """

    def __init__(self, partitions: Set[TP]) -> None:
        self._partitions = partitions

    def __contains__(self, tp: object) -> bool:
        return tp in self._partitions

    def __bool__(self) -> bool:
        return True


class Polled(dict[TP, list[Any]]):
    """What a poll brought, and the number of the seek it was read after."""

    def __init__(self, records: Mapping[TP, list[Any]], seek: int) -> None:
        super().__init__(records)
        self.seek = seek


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer in a loop of its own, so that a busy event loop never keeps its heartbeats waiting."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sought = Sought(0, {}, {})
        self._fetching: asyncio.Task[None] | None = None
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

    async def getmany(self, active_partitions: Set[TP] | None, timeout: float) -> Polled:
        """What has been fetched, asked for straight away: by way of Faust's queue of calls it takes several turns of
        both loops, for every poll."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Polled] = loop.create_future()
        wanted = None if active_partitions is None else ActivePartitions(active_partitions)

        async def fetch() -> None:
            consumer = self._ensure_consumer()
            try:
                records = await self._fetch_records(
                    consumer, wanted, timeout=timeout, max_records=consumer._max_poll_records
                )
            except BaseException as error:
                loop.call_soon_threadsafe(maybe_set_exception, answer, error)
                if not isinstance(error, Exception):
                    raise
            else:
                loop.call_soon_threadsafe(maybe_set_result, answer, records)

        def begin() -> None:
            self._fetching = self.thread_loop.create_task(fetch())

        self.thread_loop.call_soon_threadsafe(begin)
        return await answer

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
        consumer._fetch_max_wait_ms = round((getattr(self.app, "fetch_wait_s", None) or FETCH_WAIT_S) * 1000)
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

    async def committed_metadata(self, tps: Iterable[TP]) -> dict[TP, str]:
        """What is committed beside the offsets of partitions, of this worker or not; nothing for one without."""
        found: dict[TP, str] = await self.call_thread(self._committed_metadata, list(tps))
        return found

    async def _committed_metadata(self, tps: list[TP]) -> dict[TP, str]:
        wanted = [TopicPartition(*tp) for tp in tps]
        found = await self._ensure_consumer()._coordinator.fetch_committed_offsets(wanted)
        return {TP(*tp): one.metadata for tp, one in found.items() if one.offset >= 0}

    async def _highwaters(self, partitions: list[TP]) -> Mapping[TP, int]:
        """End offsets asked of the broker (the last stable ones under read_committed).

        Faust takes the cached last stable offset in a transaction, which is unknown before the first fetch: it would
        find nothing to recover and start with empty tables.
        """
        ends: Mapping[TP, int] = await self._ensure_consumer().end_offsets(partitions)
        return ends

"""Faust's consumer, handing over whole record batches for the topics that ask for them, and committing by checkpoint.

Stock topics of the same app go on message by message, with Faust's own acknowledgements.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from stream_app.transport.fetching import hand_over_batches
from stream_app.transport.ranges import RangeTracker
from stream_app.transport.records import RecordBatch

__all__ = ["Consumer", "ConsumerThread"]

logger = logging.getLogger(__name__)


class _ReadOffsets(defaultdict[TP, "int | None"]):
    """Faust drops messages below the last one read and fills the gaps between them, one offset a message.

    Batches carry their own range and are checked for order by their `RangeTracker`; for them Faust is told nothing.
    """

    def __init__(self, consumer: Consumer) -> None:
        super().__init__(lambda: None)
        self._consumer = consumer

    def __getitem__(self, tp: TP) -> int | None:
        return None if self._consumer.is_batch_topic(tp.topic) else super().__getitem__(tp)


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to the broker."""

    async def on_start(self) -> None:
        await super().on_start()
        hand_over_batches(self._ensure_consumer(), self.consumer.is_batch_topic)

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

    async def committed_metadata(self, tps: list[TP]) -> dict[TP, str]:
        """The metadata that was committed with the offsets of `tps`."""
        return dict(await self.call_thread(self._committed_metadata, tps))

    async def _committed_metadata(self, tps: list[TP]) -> dict[TP, str]:
        coordinator = self._ensure_consumer()._coordinator
        found = await coordinator.fetch_committed_offsets([TopicPartition(*tp) for tp in tps])
        return {TP(tp.topic, tp.partition): committed.metadata for tp, committed in found.items()}

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
        super().__init__(*args, **kwargs)
        self._read_offset = _ReadOffsets(self)

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

    def begin_batch(self, tp: TP, batch: RecordBatch) -> bool:
        """Take `batch` into the books; False for one from before a seek, which will come again in its place."""
        return self.ranges.setdefault(tp, RangeTracker()).delivered(batch.fetch_offset, batch.next_offset)

    def finish_batch(self, tp: TP, batch: RecordBatch, generation: int) -> None:
        """`batch` and its outputs are done; its offsets may be committed once all before them are."""
        tracker = self.ranges.get(tp)
        if tracker is not None and tracker.generation == generation:
            tracker.finished(batch.next_offset)

    async def perform_seek(self) -> None:
        """To the committed offsets: what was in flight is delivered again from there."""
        await super().perform_seek()
        tps = [tp for tp in self.assignment() if self.is_batch_topic(tp.topic) and not self._is_changelog_tp(tp)]
        for tp in tps:
            self.ranges.setdefault(tp, RangeTracker()).reset(self._committed_offset[tp])
        on_seek = getattr(self.app, "on_positions_set", None)
        if on_seek is not None:
            on_seek(await self._thread.committed_metadata(tps) if tps else {})

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
            return await super()._commit_offsets(offsets, start_new_transaction)
        done: bool = await checkpoint.run(self, dict(offsets), start_new_transaction)
        return done

    async def commit_now(self, offsets: dict[TP, int], start_new_transaction: bool) -> bool:
        """The commit itself, as Faust does it: flush what stock topics sent, then offsets (or the transaction)."""
        return await super()._commit_offsets(offsets, start_new_transaction)

    async def wait_empty(self) -> None:
        """Before partitions are given up: queued batches are dropped, running ones finish, and what is done is kept."""
        checkpoint = getattr(self.app, "checkpoint", None)
        if checkpoint is None:
            return await super().wait_empty()
        await checkpoint.drain()
        stock: Iterable[Any] = [m for m in self._unacked_messages if not isinstance(m.value, RecordBatch)]
        self._unacked_messages.clear()
        self._unacked_messages.update(stock)
        if self._unacked_messages:
            await super().wait_empty()
        else:
            await self.commit_and_end_transactions()
        return None

    def lag(self, tp: TP) -> int | None:
        """Records between the committed position and the end of the partition, where both are known."""
        end = self.highwater(TopicPartition(tp.topic, tp.partition))
        done = self._committed_offset[tp]
        return None if end is None or done is None else max(0, end - done)

"""Exactly once: one Kafka transaction a checkpoint, one transactional id a partition.

The id is bound to the input partition, so that whoever is given the partition fences whoever lost it: a worker that
was paused through a rebalance gets ProducerFenced at its next send or commit, whatever it still believes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from faust.streams import current_event
from faust.transport.consumer import TransactionManager as FaustTransactionManager
from faust.types import TP

from stream_app.errors import StateError

__all__ = ["TransactionManager"]

logger = logging.getLogger(__name__)


class TransactionManager(FaustTransactionManager):  # type: ignore[misc]
    """Starts, commits and stops the transactional producers; ordinary Faust topics send through them as before.

    Faust's own swallows the errors of begin and commit and goes on without a transaction; here they reach the
    caller, which crashes the worker.
    """

    def transactional_id(self, tp: TP) -> str:
        """The id of the producer that writes what comes of `tp`."""
        return f"{self.app.conf.id}-{self.app.assignor.group_for_topic(tp.topic)}-{tp.partition}"

    def producer_for(self, tp: TP) -> AIOKafkaProducer:
        """The producer whose transaction what comes of `tp` belongs to."""
        producer: AIOKafkaProducer = self.producer._transaction_producers[self.transactional_id(tp)]
        return producer

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,
    ) -> Any:
        """Send a message of an ordinary agent in the transaction of the event it came of.

        Faust takes the transaction of the partition it goes to, which is another worker's as soon as there are
        several, and none at all for a topic that this worker does not read. For a table's changelog, which Faust sends
        from a task of its own, that partition is the event's.

        Raises:
            StateError: this worker has no partition, hence no transaction.
        """
        place = self.consumer.key_partition(topic, key, partition)
        tid = self._transaction_of(topic, place)
        return await self.producer.send(topic, key, value, place, timestamp, headers, transactional_id=tid)

    def _transaction_of(self, topic: str, partition: int | None) -> str:
        producers = self.producer._transaction_producers
        event = current_event()
        if event is not None and (tid := self.transactional_id(event.message.tp)) in producers:
            return tid
        if partition is not None and (tid := self.transactional_id(TP(topic, partition))) in producers:
            return tid
        if not producers:
            raise StateError(
                "a message cannot be sent: under exactly_once it needs a transaction, and this worker has no "
                "partition; send from an agent, or use at_least_once"
            )
        return str(min(producers))  # of a timer, say: any will do

    async def _start_transactions(self, tids: Iterable[str]) -> None:
        await asyncio.gather(*(self._start_transaction(tid) for tid in tids))

    async def _start_transaction(self, tid: str) -> None:
        producers, locks = self.producer._transaction_producers, self.producer._trn_locks
        producer = producers.get(tid)
        if producer is None:
            producer = self.producer._new_producer(transactional_id=tid)
            # Starting asks the coordinator for a producer id: that aborts what a dead predecessor left open.
            await producer.start()
            producers[tid] = producer
            locks[tid] = asyncio.Lock()
        if producer._txn_manager.is_in_transaction():
            # Of batches that were processed and not committed before the rebalance: they come again.
            await producer.abort_transaction()
        await producer.begin_transaction()

    async def _stop_transactions(self, tids: Iterable[str]) -> None:
        for tid in tids:
            producer = self.producer._transaction_producers.pop(tid, None)
            if producer is not None:
                await producer.stop()

    async def commit(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        """Commit outputs, changelog and `offsets`, one transaction for each partition, all at once."""
        by_tid: dict[str, dict[TopicPartition, OffsetAndMetadata]] = defaultdict(dict)
        for tp, offset in offsets.items():
            by_tid[self.transactional_id(tp)][TopicPartition(*tp)] = OffsetAndMetadata(
                offset, self.consumer.metadata.get(tp, "")
            )
        await asyncio.gather(*(self._commit_one(tid, part, start_new_transaction) for tid, part in by_tid.items()))
        return True

    async def _commit_one(
        self, tid: str, offsets: dict[TopicPartition, OffsetAndMetadata], start_new_transaction: bool
    ) -> None:
        producer = self.producer._transaction_producers[tid]
        async with self.producer._trn_locks[tid]:
            await producer.send_offsets_to_transaction(offsets, self.app.conf.id)
            await producer.commit_transaction()
            if start_new_transaction:
                await producer.begin_transaction()

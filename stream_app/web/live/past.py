"""The end of a topic, for a page that has just been opened: a few records of each partition, read once."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from aiokafka import TopicPartition

from stream_app.reading import Ends, open_topic
from stream_app.security import Cluster

__all__ = ["tail"]


async def tail(cluster: Cluster | str, topic: str, per_partition: int, partitions: set[int] | None = None) -> list[Any]:
    """About the last `per_partition` records of each partition (None: of all), oldest first by time.

    Raises:
        UsageError: there is no such topic. KafkaError: the broker does not answer.
    """
    async with open_topic(cluster, topic) as (consumer, every):
        wanted = [tp for tp in every if partitions is None or tp.partition in partitions]
        if not wanted:
            return []
        consumer.assign(wanted)
        listed = await consumer.end_offsets(wanted)
        begins = await consumer.beginning_offsets(wanted)
        for tp in wanted:
            consumer.seek(tp, max(begins[tp], listed[tp] - per_partition))
        async with aclosing(_to_end(consumer, wanted, listed)) as records:
            found = [record async for record in records]
    found.sort(key=lambda record: (record.timestamp, record.partition, record.offset))
    return found


async def _to_end(consumer: Any, partitions: list[TopicPartition], listed: dict[TopicPartition, int]) -> Any:
    ends = Ends(consumer, listed)
    waiting = [tp for tp in partitions if not await ends.reached(tp)]
    while waiting:
        for tp, records in (await consumer.getmany(*waiting, timeout_ms=300)).items():
            end = ends[tp]
            for record in records:
                if record.offset < end:
                    yield record
        waiting = [tp for tp in waiting if not await ends.reached(tp)]

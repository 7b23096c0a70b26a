"""Reading a topic for people: from some offset, to its end or for ever, outside any consumer group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from stream_app.errors import UsageError
from stream_app.security import Cluster

__all__ = ["Ends", "open_consumer", "open_topic", "partition_counts", "scan"]

#: Most records of one poll.
POLL_RECORDS = 5_000


async def partition_counts(cluster: Cluster | str) -> dict[str, int]:
    """Partition counts of all topics on the broker."""
    admin = AIOKafkaAdminClient(**Cluster.of(cluster).options())
    try:
        await admin.start()
        names = await admin.list_topics()
        described = await admin.describe_topics(names) if names else []
        return {topic["topic"]: len(topic["partitions"]) for topic in described if topic["error_code"] == 0}
    finally:
        await admin.close()


@asynccontextmanager
async def open_consumer(cluster: Cluster | str) -> AsyncIterator[Any]:
    """A consumer of no group, which sees committed records only."""
    consumer = AIOKafkaConsumer(
        **Cluster.of(cluster).options(),
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_poll_records=POLL_RECORDS,
    )
    try:
        await consumer.start()
        # Its stop() cancels a task of its own, and would raise were that not begun yet.
        await asyncio.sleep(0)
        yield consumer
    finally:
        await consumer.stop()


@asynccontextmanager
async def open_topic(cluster: Cluster | str, name: str) -> AsyncIterator[tuple[Any, list[TopicPartition]]]:
    """A consumer assigned to every partition of `name`.

    Raises UsageError where the broker has no such topic.
    """
    cluster = Cluster.of(cluster)
    counts = await partition_counts(cluster)
    if name not in counts:
        raise UsageError(
            f"the broker at {cluster.bootstrap} has no topic {name!r}: create it with `tsrec topics create`"
        )
    partitions = [TopicPartition(name, p) for p in range(counts[name])]
    async with open_consumer(cluster) as consumer:
        consumer.assign(partitions)
        yield consumer, partitions


class Ends:
    """Where each partition ended when it was looked at.

    The embedded broker names the first offset of the last batch as the end, not the last; what it answers to a fetch is
    right. So the end is what was said first, or what the first fetch says if that is more.
    """

    def __init__(self, consumer: Any, listed: dict[TopicPartition, int]) -> None:
        self._consumer = consumer
        self._ends: dict[TopicPartition, int] = dict(listed)
        self._seen: set[TopicPartition] = set()

    def __getitem__(self, partition: TopicPartition) -> int:
        fetched = self._consumer.last_stable_offset(partition)
        if fetched is not None and partition not in self._seen:
            self._seen.add(partition)
            self._ends[partition] = max(self._ends[partition], fetched)
        return self._ends[partition]

    async def reached(self, partition: TopicPartition) -> bool:
        """Whether everything before the end has been read."""
        return bool(await self._consumer.position(partition) >= self[partition])


async def scan(consumer: Any, partitions: list[TopicPartition]) -> AsyncGenerator[Any, None]:
    """Every record from the first to those that are the last now, partition by partition as they come."""
    await consumer.seek_to_beginning(*partitions)
    ends = Ends(consumer, await consumer.end_offsets(partitions))
    waiting = [partition for partition in partitions if not await ends.reached(partition)]
    while waiting:
        for partition, records in (await consumer.getmany(*waiting, timeout_ms=500)).items():
            end = ends[partition]
            for record in records:
                if record.offset < end:
                    yield record
        waiting = [partition for partition in waiting if not await ends.reached(partition)]

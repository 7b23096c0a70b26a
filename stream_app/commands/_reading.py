"""Reading a topic for people: from some offset, to its end or for ever, outside any consumer group."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from stream_app.errors import UsageError

__all__ = ["open_topic", "partition_counts", "scan"]

#: Most records of one poll.
POLL_RECORDS = 5_000


async def partition_counts(bootstrap: str) -> dict[str, int]:
    """Partition counts of all topics on the broker."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        names = await admin.list_topics()
        described = await admin.describe_topics(names) if names else []
        return {topic["topic"]: len(topic["partitions"]) for topic in described if topic["error_code"] == 0}
    finally:
        await admin.close()


@asynccontextmanager
async def open_topic(bootstrap: str, name: str) -> AsyncIterator[tuple[Any, list[TopicPartition]]]:
    """A consumer assigned to every partition of `name`, which sees committed records only.

    Raises UsageError where the broker has no such topic.
    """
    counts = await partition_counts(bootstrap)
    if name not in counts:
        raise UsageError(f"the broker at {bootstrap} has no topic {name!r}: create it with `tsrec topics create`")
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_poll_records=POLL_RECORDS,
    )
    try:
        await consumer.start()
        partitions = [TopicPartition(name, p) for p in range(counts[name])]
        consumer.assign(partitions)
        yield consumer, partitions
    finally:
        await consumer.stop()


async def scan(consumer: Any, partitions: list[TopicPartition]) -> AsyncIterator[Any]:
    """Every record from the first to those that are the last now, partition by partition as they come."""
    await consumer.seek_to_beginning(*partitions)
    ends = await consumer.end_offsets(partitions)
    waiting = {partition for partition in partitions if ends[partition] > 0}
    while waiting:
        for partition, records in (await consumer.getmany(*waiting, timeout_ms=500)).items():
            for record in records:
                if record.offset < ends[partition]:
                    yield record
        for partition in list(waiting):
            if await consumer.position(partition) >= ends[partition]:
                waiting.discard(partition)

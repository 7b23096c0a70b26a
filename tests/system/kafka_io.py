"""What a test does with a broker: make topics, write records, read everything back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

__all__ = ["Record", "create_topics", "end_offsets", "produce", "read_all"]


class Record(NamedTuple):
    """A record as it lies in a topic, or as it is to be written."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    offset: int = -1
    timestamp_ms: int | None = None


async def create_topics(bootstrap: str, *names: str, partitions: int = 4, **config: str) -> None:
    """New topics, all alike."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=config) for name in names])
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str, records: Iterable[Record], **options: Any) -> None:
    """Write records in order, each to its partition; returns when all are acknowledged.

    options: of the producer, such as compression_type.
    """
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, max_batch_size=128 << 10, **options)
    await producer.start()
    try:
        builders: dict[int, Any] = {}
        sent = []
        for record in records:
            if record.headers:
                sent.append(
                    await producer.send(
                        topic, record.value, record.key, record.partition, record.timestamp_ms, list(record.headers)
                    )
                )
                continue
            builder = builders.get(record.partition)
            if builder is None:
                builder = builders[record.partition] = producer.create_batch()
            if builder.append(key=record.key, value=record.value, timestamp=record.timestamp_ms) is None:
                sent.append(await producer.send_batch(builder, topic, partition=record.partition))
                builder = builders[record.partition] = producer.create_batch()
                builder.append(key=record.key, value=record.value, timestamp=record.timestamp_ms)
        for partition, builder in builders.items():
            sent.append(await producer.send_batch(builder, topic, partition=partition))
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    found: set[int] | None = None
    for _ in range(50):
        await consumer._client.force_metadata_update()
        found = consumer._client.cluster.partitions_for_topic(topic)
        if found:
            break
        consumer._client.add_topic(topic)
        await asyncio.sleep(0.1)
    return [TopicPartition(topic, partition) for partition in sorted(found or ())]


async def end_offsets(bootstrap: str, topic: str, isolation: str = "read_committed") -> dict[int, int]:
    """The end of each partition; under read_committed the last stable offset."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level=isolation)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(await _partitions(consumer, topic))
        return {tp.partition: end for tp, end in ends.items()}
    finally:
        await consumer.stop()


async def read_all(bootstrap: str, topic: str, isolation: str = "read_committed") -> list[Record]:
    """Every record from the beginning to the end as it is now, partition by partition in order."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level=isolation, max_poll_records=20_000, fetch_max_wait_ms=50,
        auto_offset_reset="earliest", max_partition_fetch_bytes=4 << 20,
    )  # fmt: skip
    await consumer.start()
    try:
        partitions = await _partitions(consumer, topic)
        if not partitions:
            return []
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        out: list[Record] = []
        while True:
            behind = [tp for tp in partitions if await consumer.position(tp) < ends[tp]]
            if not behind:
                break
            for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                out += [Record(tp.partition, r.key, r.value, r.headers, r.offset, r.timestamp) for r in records]
        return sorted(out, key=lambda record: (record.partition, record.offset))
    finally:
        await consumer.stop()

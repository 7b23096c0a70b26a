"""The dead letters: read, grouped by reason, explained beside the contract, and sent back to where they came from.

A letter stays in its topic when it is sent back. A marker in the same topic, a record with the header `dlq.requeued`
and the positions as its value, says which have been; so a second requeue does not send them again, and nobody needs
another store.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from stream_app.reading import open_topic, partition_counts, scan
from stream_app.security import Cluster
from stream_app.transport.partitioning import partition_of
from topics import wire
from topics.catalog import Catalog
from topics.dialect import Dialect
from topics.errors import Header, Origin, RecordError, parse_error_headers

__all__ = ["Filter", "Letter", "Requeued", "explanation", "letters", "requeue", "summary"]

#: Header of a marker: its value is a JSON list of `partition:offset` of letters that were sent back.
MARKER = "dlq.requeued"

#: Letters sent back and marked together.
REQUEUE_BATCH = 500


@dataclass(frozen=True, slots=True)
class Letter:
    """A record that could not be processed. origin is None where its headers are not ours, or not complete."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    origin: Origin | None
    requeued: bool = False

    @property
    def position(self) -> str:
        """`partition:offset` in the topic of dead letters."""
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant; an empty field means any. `message` is a part of the message."""

    reason: str = ""
    stage: str = ""
    topic: str = ""
    message: str = ""
    position: str = ""

    def matches(self, letter: Letter) -> bool:
        """Whether the letter is meant."""
        if self.position:
            return letter.position == self.position
        origin = letter.origin
        if origin is None:
            return not (self.reason or self.stage or self.topic or self.message)
        return (
            self.reason in ("", origin.reason)
            and self.stage in ("", origin.stage)
            and self.topic in ("", origin.topic)
            and self.message in origin.message
        )


@dataclass(slots=True)
class Requeued:
    """What a requeue did: letters sent, those sent before, and those whose topic is unknown or gone."""

    sent: int = 0
    already: int = 0
    homeless: int = 0


async def letters(cluster: Cluster | str, topic: str) -> list[Letter]:
    """Every letter in `topic` now, in the order of time, with the markers applied."""
    found: list[Letter] = []
    requeued: set[str] = set()
    async with open_topic(cluster, topic) as (consumer, partitions), aclosing(scan(consumer, partitions)) as records:
        async for record in records:
            headers = list(record.headers)
            if any(name == MARKER for name, _ in headers):
                requeued.update(msgspec.json.decode(record.value or b"[]", type=list[str]))
                continue
            origin, own = parse_error_headers(headers)
            found.append(
                Letter(record.partition, record.offset, record.timestamp, record.key, record.value, own, origin)
            )
    found.sort(key=lambda letter: (letter.timestamp_ms, letter.partition, letter.offset))
    return [replace(letter, requeued=True) if letter.position in requeued else letter for letter in found]


def summary(found: Iterable[Letter]) -> list[dict[str, Any]]:
    """Letters by reason, stage, source topic and message, the most frequent first; one dict a group."""
    groups: dict[tuple[str, str, str, str], list[Letter]] = {}
    for letter in found:
        origin = letter.origin or Origin("unknown", "no headers of ours", "", "", 0, 0)
        # Positions and values differ from record to record; without digits the same trouble is one line.
        shape = re.sub(r"\d+", "N", re.sub(r"'[^']*'", "'…'", origin.message))
        groups.setdefault((origin.reason, origin.stage, origin.topic, shape), []).append(letter)
    rows = [
        {
            "reason": reason,
            "stage": stage,
            "topic": topic,
            "message": shape,
            "letters": len(group),
            "requeued": sum(letter.requeued for letter in group),
            "first": group[0].timestamp_ms / 1000,
            "last": group[-1].timestamp_ms / 1000,
            "example": group[-1].position,
        }
        for (reason, stage, topic, shape), group in groups.items()
    ]
    return sorted(rows, key=lambda row: -row["letters"])


def explanation(letter: Letter, catalog: Catalog, dialect: Dialect | None = None) -> str:
    """What the contract says of the letter's record today; empty where it would be accepted now."""
    topic = catalog.by_kafka_name(letter.origin.topic) if letter.origin else None
    if topic is None or topic.type is None:
        return "the contract does not know the topic it came from"
    decoded = wire.decode_one(wire.decoder(topic.type, dialect), 0, letter.value)
    return f"{decoded.reason}: {decoded.message}" if isinstance(decoded, RecordError) else ""


async def requeue(
    cluster: Cluster | str,
    topic: str,
    chosen: Iterable[Letter],
    *,
    rate: float = 0.0,
    again: bool = False,
    sent: Callable[[int], None] = lambda count: None,
) -> Requeued:
    """Send letters back to the topics they came from, keyed as they were, and mark them in `topic`.

    rate: letters a second, 0 for as fast as it goes; again: also those sent back before; sent: told how many more went.
    A crash in between sends at most REQUEUE_BATCH letters a second time.
    """
    done = Requeued()
    partitions = await partition_counts(cluster)
    producer = AIOKafkaProducer(**Cluster.of(cluster).options(), linger_ms=5, enable_idempotence=False, acks="all")
    try:
        await producer.start()
        started = time.monotonic()
        batch: list[Letter] = []
        for letter in chosen:
            if letter.requeued and not again:
                done.already += 1
            elif letter.origin is None or letter.origin.topic not in partitions:
                done.homeless += 1
            else:
                batch.append(letter)
                if len(batch) >= (min(REQUEUE_BATCH, max(1, int(rate / 10))) if rate else REQUEUE_BATCH):
                    await _send_back(producer, topic, batch, partitions)
                    done.sent += len(batch)
                    sent(len(batch))
                    batch = []
                    if rate:
                        await asyncio.sleep(max(0.0, started + done.sent / rate - time.monotonic()))
        if batch:
            await _send_back(producer, topic, batch, partitions)
            done.sent += len(batch)
            sent(len(batch))
    finally:
        await producer.stop()
    return done


async def _send_back(producer: AIOKafkaProducer, topic: str, batch: list[Letter], partitions: dict[str, int]) -> None:
    """Send letters home, wait for the broker's word, then mark them."""
    acks = []
    for letter in batch:
        assert letter.origin is not None
        count = partitions[letter.origin.topic]
        home = partition_of(letter.key, count) if letter.key is not None else letter.origin.partition % count
        acks.append(
            await producer.send(
                letter.origin.topic, letter.value, key=letter.key, partition=home, headers=letter.headers
            )
        )
    await asyncio.gather(*acks)
    marks = msgspec.json.encode([letter.position for letter in batch])
    await producer.send_and_wait(topic, marks, partition=0, headers=[(MARKER, b"1")])

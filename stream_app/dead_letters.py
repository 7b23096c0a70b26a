"""The dead letters: read, grouped by reason, explained beside the contract, and sent back to where they came from.

A letter stays in its topic when it is sent back. A marker in the same topic, a record with the header `dlq.requeued`
and the positions as its value, says which have been; so a second requeue does not send them again, and nobody needs
another store. A record that is sent back carries in the header `dlq.attempts` how often it was; if it fails again, its
new letter has the header too, and after MAX_ATTEMPTS it stays: nothing goes round for ever.

For the command line and the live page alike: `letters` reads, `Filter` chooses, `summary` groups, `explanation` says
what the contract thinks of a letter today, `requeue` sends back. All are coroutines or pure; none prints.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced

from stream_app.broker_kind import kind_of
from stream_app.errors import TsrecError
from stream_app.reading import open_topic, partition_counts, scan
from stream_app.security import Cluster
from stream_app.transport.partitioning import partition_of
from topics import wire
from topics.catalog import Catalog
from topics.dialect import Dialect
from topics.errors import Header, Origin, RecordError, parse_error_headers

__all__ = [
    "ATTEMPTS", "MARKER", "MAX_ATTEMPTS", "Filter", "Letter", "RequeueBroken", "RequeueOvertaken", "Requeued",
    "explanation", "letters", "letters_of", "requeue", "summary",
]  # fmt: skip

#: Header of a marker: its value is a JSON list of `partition:offset` of letters that were sent back.
MARKER = "dlq.requeued"

#: Header of a record that was sent back: how often.
ATTEMPTS = "dlq.attempts"

#: A record that failed so often after being sent back needs a person, not another try.
MAX_ATTEMPTS = 3

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

    @property
    def attempts(self) -> int:
        """How often its record had been sent back before it failed this time."""
        text = dict(self.headers).get(ATTEMPTS, b"0")
        return int(text) if text.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant; an empty field means any. `message` is a part of the message.

    since_s, until_s: when the letter was written, seconds since the epoch; until_s itself is outside.
    """

    reason: str = ""
    stage: str = ""
    topic: str = ""
    message: str = ""
    position: str = ""
    since_s: float | None = None
    until_s: float | None = None

    def matches(self, letter: Letter) -> bool:
        """Whether the letter is meant."""
        written_s = letter.timestamp_ms / 1000
        if (self.since_s is not None and written_s < self.since_s) or (
            self.until_s is not None and written_s >= self.until_s
        ):
            return False
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
    """What a requeue did: letters sent, sent before, without a topic to go to, and sent back too often."""

    sent: int = 0
    already: int = 0
    homeless: int = 0
    exhausted: int = 0


class RequeueBroken(TsrecError):
    """The broker has not taken a transaction of the requeue: what was in it is undone, and marked nowhere."""


class RequeueOvertaken(RequeueBroken):
    """Another requeue of the same topic has begun since."""


async def letters(cluster: Cluster | str, topic: str) -> list[Letter]:
    """Every letter in `topic` now, in the order of time, with the markers applied."""
    async with open_topic(cluster, topic) as (consumer, partitions), aclosing(scan(consumer, partitions)) as records:
        return letters_of([record async for record in records])


def letters_of(records: Iterable[Any]) -> list[Letter]:
    """The letters among records of a topic of dead letters, in the order of time, with the markers applied."""
    found: list[Letter] = []
    requeued: set[str] = set()
    for record in records:
        origin, own = parse_error_headers(list(record.headers))
        marks = _marks(record) if origin is None and any(name == MARKER for name, _ in own) else None
        if marks is not None:
            requeued.update(marks)
            continue
        found.append(Letter(record.partition, record.offset, record.timestamp, record.key, record.value, own, origin))
    found.sort(key=lambda letter: (letter.timestamp_ms, letter.partition, letter.offset))
    return [replace(letter, requeued=True) if letter.position in requeued else letter for letter in found]


def _marks(record: Any) -> list[str] | None:
    """Positions that a marker names; None where a sender of records has used the marker's header for something."""
    try:
        return msgspec.json.decode(record.value or b"", type=list[str])
    except wire.DECODE_ERRORS:
        return None


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
            "attempts": max(letter.attempts for letter in group),
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
    max_attempts: int = MAX_ATTEMPTS,
    sent: Callable[[int], None] = lambda count: None,
) -> Requeued:
    """Send letters back to the topics they came from, keyed as they were, and mark them in `topic`.

    rate: letters a second, 0 for as fast as it goes; again: also those sent back before; max_attempts: letters whose
    record was sent back so often already stay; sent: told how many more went.

    Where the broker has transactions, letters and their marks are written in one, and what another requeue has marked
    since `chosen` was read is left out: no letter goes twice, whatever crashes. Else a crash in between sends at most
    REQUEUE_BATCH letters a second time.

    Raises:
        RequeueOvertaken: another requeue of this topic has begun; it goes on with what is left.
        RequeueBroken: the broker did not take a transaction. (Also where another requeue has begun: a broker may call
            that an unknown error when it is told of it at the end of a transaction.)
    """
    done = Requeued()
    cluster = Cluster.of(cluster)
    partitions = await partition_counts(cluster)
    transactional = (await kind_of(cluster)).transactions
    options: dict[str, Any] = (
        {"transactional_id": f"tsrec-dlq-{topic}"} if transactional else {"enable_idempotence": False}
    )
    producer = AIOKafkaProducer(**cluster.options(), linger_ms=5, acks="all", **options)
    try:
        await producer.start()
        # From here on an older requeue is fenced: what it has marked is all that it ever will.
        marked = {letter.position for letter in await letters(cluster, topic) if letter.requeued}
        started = time.monotonic()
        for batch in _batches(chosen, partitions, marked, rate, again, max_attempts, done):
            async with producer.transaction() if transactional else nullcontext():
                await _send_back(producer, topic, batch, partitions)
            done.sent += len(batch)
            sent(len(batch))
            if rate:
                await asyncio.sleep(max(0.0, started + done.sent / rate - time.monotonic()))
    except ProducerFenced as error:
        raise RequeueOvertaken(
            f"another requeue of {topic} has begun after this one had sent {done.sent:,} letters: let it end. No "
            "letter was sent twice"
        ) from error
    except KafkaError as error:
        if not transactional:
            raise
        raise RequeueBroken(
            f"the broker did not take a transaction of this requeue of {topic} ({error.__cause__ or error!r}) after "
            f"{done.sent:,} letters had gone; what was in it is undone. If no other requeue goes on, begin again: no "
            "letter is sent twice"
        ) from error
    finally:
        await producer.stop()
    return done


def _batches(
    chosen: Iterable[Letter],
    partitions: dict[str, int],
    marked: set[str],
    rate: float,
    again: bool,
    max_attempts: int,
    done: Requeued,
) -> Iterator[list[Letter]]:
    """Letters that may go, a few at a time; the others are counted in `done`."""
    size = min(REQUEUE_BATCH, max(1, int(rate / 10))) if rate else REQUEUE_BATCH
    batch: list[Letter] = []
    for letter in chosen:
        if (letter.requeued or letter.position in marked) and not again:
            done.already += 1
        elif letter.origin is None or letter.origin.topic not in partitions:
            done.homeless += 1
        elif letter.attempts >= max_attempts:
            done.exhausted += 1
        else:
            batch.append(letter)
            if len(batch) >= size:
                yield batch
                batch = []
    if batch:
        yield batch


async def _send_back(producer: AIOKafkaProducer, topic: str, batch: list[Letter], partitions: dict[str, int]) -> None:
    """Send letters home, wait for the broker's word, then mark them."""
    acks = []
    for letter in batch:
        assert letter.origin is not None
        count = partitions[letter.origin.topic]
        home = partition_of(letter.key, count) if letter.key is not None else letter.origin.partition % count
        headers = [(name, value) for name, value in letter.headers if name != ATTEMPTS]
        headers.append((ATTEMPTS, b"%d" % (letter.attempts + 1)))
        acks.append(
            await producer.send(letter.origin.topic, letter.value, key=letter.key, partition=home, headers=headers)
        )
    await asyncio.gather(*acks)
    marks = msgspec.json.encode([letter.position for letter in batch])
    await producer.send_and_wait(topic, marks, partition=0, headers=[(MARKER, b"1")])

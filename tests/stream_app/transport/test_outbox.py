"""The outbox against a broker that is slow, away, or refuses."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import InvalidTopicError, KafkaTimeoutError

from stream_app.transport import outbox as module
from stream_app.transport.outbox import Outbox
from topics.spans import Spans


class Producer:
    """Stands in for aiokafka's: answers what it is told, and remembers what it was given."""

    _txn_manager = None

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.sent: list[tuple[str, int, int]] = []

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        async def answer() -> Any:
            await self.gate.wait()
            if self.errors:
                raise self.errors.pop(0)
            first = sum(n for t, p, n in self.sent if (t, p) == (topic, partition))
            self.sent.append((topic, partition, batch.record_count()))
            return SimpleNamespace(offset=first)

        return asyncio.ensure_future(answer())


@pytest.fixture
def producer() -> Producer:
    return Producer()


def _outbox(producer: Producer, **options: Any) -> Outbox:
    app = SimpleNamespace(producer_for=lambda source: producer, max_message_bytes={})
    return Outbox(app, **{"batch_bytes": 1000, **options})


VALUES = Spans.of([b"x" * 100] * 30)


async def test_flush_waits_for_all_that_was_queued_and_tells_the_last_offset(producer: Producer) -> None:
    box, ends = _outbox(producer), []
    await box.send("t", 1, None, VALUES, acknowledged=lambda partition, offset: ends.append((partition, offset)))
    assert not producer.sent
    await box.flush()
    assert sum(n for _, _, n in producer.sent) == 30
    assert ends[-1] == (1, 29)
    assert box.queued_bytes == 0


async def test_a_slow_broker_holds_up_who_sends(producer: Producer) -> None:
    box = _outbox(producer, max_bytes=5000)
    producer.gate.clear()
    await box.send("t", 0, None, VALUES)
    waiting = asyncio.create_task(box.send("t", 0, None, VALUES))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    producer.gate.set()
    await waiting
    await box.flush()
    assert sum(n for _, _, n in producer.sent) == 60


async def test_a_broker_that_is_away_is_tried_until_it_is_back(
    producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.0)
    box = _outbox(producer)
    producer.errors = [KafkaTimeoutError(), KafkaTimeoutError()]
    await box.send("t", 0, None, VALUES)
    await box.flush()
    assert sum(n for _, _, n in producer.sent) == 30


async def test_what_the_broker_refuses_fails_this_and_every_later_send(producer: Producer) -> None:
    box = _outbox(producer)
    producer.errors = [InvalidTopicError()]
    await box.send("t", 0, None, VALUES)
    with pytest.raises(InvalidTopicError):
        await box.flush()
    with pytest.raises(InvalidTopicError):
        await box.send("t", 0, None, VALUES)


async def test_batches_that_are_no_longer_allowed_are_dropped_and_counted(producer: Producer) -> None:
    box, answers = _outbox(producer), iter([True, False, False, False, False, False])

    async def allowed() -> bool:
        return next(answers)

    await box.send("t", 0, None, VALUES, allowed=allowed)
    await box.flush()
    assert len(producer.sent) == 1
    assert box.refused >= 1


async def test_what_is_held_goes_out_after_the_release(producer: Producer) -> None:
    box = _outbox(producer)
    box.hold()
    await box.send("t", 0, None, VALUES)
    await box.send("changelog", 0, None, Spans.of([b"row"]), in_checkpoint=True)
    await box.flush()
    assert [topic for topic, _, _ in producer.sent] == ["changelog"]
    box.release()
    await box.flush()
    assert sum(n for topic, _, n in producer.sent if topic == "t") == 30

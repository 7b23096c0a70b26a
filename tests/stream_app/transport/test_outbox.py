"""The outbox against a broker that is slow, away, or refuses."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from aiokafka.errors import InvalidTopicError, KafkaTimeoutError

from stream_app.transport import outbox as module
from stream_app.transport.builder import encode_headers
from stream_app.transport.outbox import Outbox
from stream_app.transport.records import HEADER, RecordScanner
from topics.spans import Spans


class Producer:
    """Stands in for aiokafka's: answers what it is told, and remembers what it was given."""

    _txn_manager = None

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.sent: list[tuple[str, int, int]] = []
        self.batches: list[Any] = []

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        async def answer() -> Any:
            await self.gate.wait()
            if self.errors:
                raise self.errors.pop(0)
            first = sum(n for t, p, n in self.sent if (t, p) == (topic, partition))
            self.sent.append((topic, partition, batch.record_count()))
            self.batches.append(batch)
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


async def test_small_batches_behind_one_on_its_way_go_together_and_in_order(producer: Producer) -> None:
    box = _outbox(producer, batch_bytes=100_000)
    producer.gate.clear()
    await box.send("t", 0, None, Spans.of([b"first"]))
    await asyncio.sleep(0)
    for k in range(5):
        keys, values = (Spans.of([b"%s-%d-%d" % (name, k, i) for i in range(k)]) for name in (b"key", b"value"))
        times = np.arange(k, dtype=np.int64) + 1_700_000_000_000 - 1000 * k  # not in order
        headers = Spans.of([encode_headers([("k", b"%d" % i)] if i else []) for i in range(k)])
        await box.send("t", 0, keys, values, times, headers)
    producer.gate.set()
    await box.flush()
    assert [n for _, _, n in producer.sent] == [1, 10]
    raw = bytes(producer.batches[1]._build())
    scanner = RecordScanner(raw)
    scanner.add(0, HEADER.unpack_from(raw), len(raw))
    got = scanner.finish("t", 0, 0, 10, 0.0)
    order = [(k, i) for k in range(5) for i in range(k)]
    assert got.keys.tolist() == [b"key-%d-%d" % at for at in order]
    assert got.values.tolist() == [b"value-%d-%d" % at for at in order]
    assert got.timestamps_ms.tolist() == [1_700_000_000_000 - 1000 * k + i for k, i in order]
    assert got.header_spans.tolist() == [encode_headers([("k", b"%d" % i)] if i else []) for _, i in order]
    assert box.queued_bytes == 0


async def test_rows_whose_offsets_somebody_waits_for_go_by_themselves(producer: Producer) -> None:
    box, ends = _outbox(producer, batch_bytes=100_000), []
    await box.send("t", 0, None, Spans.of([b"output"]))
    for k in range(3):
        await box.send("t", 0, None, Spans.of([b"row"] * (k + 1)), acknowledged=lambda p, offset: ends.append(offset))
    await box.flush()
    assert [n for _, _, n in producer.sent] == [1, 1, 2, 3]
    assert ends == [1, 3, 6]


async def test_batches_that_go_together_stay_below_the_topic_s_limit(producer: Producer) -> None:
    box = _outbox(producer)  # 1,000 bytes
    producer.gate.clear()
    for _ in range(20):
        await box.send("t", 0, None, Spans.of([b"x" * 100]))
    producer.gate.set()
    await box.flush()
    assert sum(n for _, _, n in producer.sent) == 20
    assert max(batch.size() for batch in producer.batches) <= 1000
    assert len(producer.sent) < 5

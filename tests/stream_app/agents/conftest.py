"""An application without a broker: agents are called with batches that went through the wire format."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from stream_app.app import Application, build
from stream_app.batch import Batch, BatchTopic
from stream_app.settings import Settings
from stream_app.transport.builder import build_batches
from stream_app.transport.records import HEADER, RecordScanner
from topics.decisions import Recommendation
from topics.spans import Spans

__all__ = ["batch_of", "recommendations"]


def batch_of(topic: BatchTopic, records: list[msgspec.Struct], *, partition: int = 0, offset: int = 0) -> Batch:
    """Records as an agent gets them."""
    values = Spans.of([msgspec.json.encode(record) for record in records])
    raw = bytearray(next(iter(build_batches(values, values, max_bytes=1 << 24)))._build())
    raw[:8] = offset.to_bytes(8, "big")
    scanner = RecordScanner(bytes(raw))
    scanner.add(0, HEADER.unpack_from(raw), len(raw))
    batch = scanner.finish(topic.name, partition, offset, offset + len(records), 0.0)
    batch.received_s = float("inf")  # no deadline: each test says what it wants of the ladder
    return Batch(topic, batch, topic.decode(batch.values).good())


def recommendations(batch: Batch) -> list[Recommendation]:
    """What the agent sent."""
    return [
        msgspec.json.decode(value or b"", type=Recommendation)
        for out in batch.outgoing
        for value in out.values.tolist()
    ]


@pytest.fixture
def make_app() -> Callable[..., Application]:
    """Builds applications; the catalog counts as read."""

    def make(**overrides: object) -> Application:
        application = build(Settings(_env_file=None, **overrides))  # type: ignore[call-arg, arg-type]
        application.recommender.catalog_ready.set()
        return application

    return make

"""What a checkpoint leaves in the changelogs when the worker dies in the middle of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from stream_app.checkpoint import Checkpoint
from stream_app.transport.outbox import Outbox
from topics.spans import Spans


class Broker:
    """A producer whose broker answers for a topic only when that is let through."""

    _txn_manager = None

    def __init__(self) -> None:
        self.through: dict[str, asyncio.Event] = {}
        self.has: list[str] = []

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        async def answer() -> Any:
            await self.through.setdefault(topic, asyncio.Event()).wait()
            self.has += [topic] * batch.record_count()
            return SimpleNamespace(offset=0)

        return asyncio.ensure_future(answer())


class Shard:
    partition = 0

    def drain_dirty(self) -> tuple[Spans, Spans]:
        keys = Spans.of([f"{k}".encode() for k in range(30)])
        return keys, Spans.of([b"x" * 100] * 30)


class Table:
    def __init__(self, name: str) -> None:
        self.changelog_topic_name = name

    def dirty_shards(self) -> list[Shard]:
        return [Shard()]

    def epoch(self, partition: int, generation: int) -> int:
        return generation

    def set_persisted(self, partition: int, offset: int) -> None:
        pass


class Consumer:
    metadata: Any = None

    def committable(self) -> dict[TP, int]:
        return {TP("payments", 0): 7}

    async def still_owner(self) -> bool:
        return True

    async def commit_now(self, offsets: dict[TP, int], start_new_transaction: bool) -> bool:
        return True


async def test_a_table_is_written_when_the_one_declared_before_it_is_with_the_broker() -> None:
    """Whatever a crash cuts off, no later table is ahead of an earlier one."""
    broker = Broker()
    app = SimpleNamespace(
        in_transaction=False, columnar_tables=[Table("first"), Table("second"), Table("third")],
        consumer_generation_id=1, producer_for=lambda source: broker, max_message_bytes={},
        event_time=SimpleNamespace(metadata=lambda: "", settle=lambda metadata: None),
    )  # fmt: skip
    app.outbox = Outbox(app, batch_bytes=1000)
    running = asyncio.create_task(Checkpoint(app).run(Consumer(), {}, False))
    for topic in ("third", "second"):  # answers to these two are no help while those of the first are out
        broker.through.setdefault(topic, asyncio.Event()).set()
        await asyncio.sleep(0.02)
    assert broker.has == []
    broker.through.setdefault("first", asyncio.Event()).set()
    assert await running
    assert broker.has == ["first"] * 30 + ["second"] * 30 + ["third"] * 30

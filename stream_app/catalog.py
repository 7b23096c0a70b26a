"""The item catalog as a global table: every worker reads the whole topic, outside the consumer group."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from mode import Service

from stream_app.batch import BatchTopic
from stream_app.items import ItemIndex
from topics.spans import Spans

__all__ = ["CatalogReader"]

logger = logging.getLogger(__name__)

#: Pause after the broker was not there.
RETRY_S = 2.0


class CatalogReader(Service):  # type: ignore[misc]
    """Follows the compacted topic `items` from its beginning, and keeps `ItemIndex` up to date.

    `ready` is set once everything that stood in the topic at the start has been read.
    """

    def __init__(self, app: Any, topic: BatchTopic, items: ItemIndex, ready: asyncio.Event, **options: Any) -> None:
        super().__init__(**options)
        self.app = app
        self.topic = topic
        self.items = items
        self.ready = ready
        self.bad_records = 0

    @Service.task
    async def _follow(self) -> None:
        while not self.should_stop:
            try:
                await self._read()
            except KafkaError as error:
                logger.warning("catalog: %r, trying again in %g s", error, RETRY_S)
                await self.sleep(RETRY_S)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.app.bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = consumer.partitions_for_topic(self.topic.name)
            if not partitions:
                self.ready.set()  # no catalog yet: everything may be recommended
                await self.sleep(RETRY_S)
                return
            tps = [TopicPartition(self.topic.name, p) for p in sorted(partitions)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            while not self.should_stop:
                polled = await consumer.getmany(timeout_ms=500, max_records=10_000)
                for records in polled.values():
                    self._apply([record.key for record in records], [record.value for record in records])
                if not self.ready.is_set():
                    positions = [await consumer.position(tp) for tp in tps]
                    if all(position >= ends[tp] for tp, position in zip(tps, positions, strict=True)):
                        logger.info("catalog: %d items", self.items.catalog_items)
                        self.ready.set()
        finally:
            await consumer.stop()

    def _apply(self, keys: list[bytes | None], values: list[bytes | None]) -> None:
        spans = Spans.of(values)
        columns = self.topic.decode(spans)
        for error in columns.errors:
            self.bad_records += 1
            logger.warning("catalog: item %r: %s", keys[error.row], error.message)
        gone = [key for key, value in zip(keys, values, strict=True) if value is None and key]
        self.items.update(columns.take(np.flatnonzero(columns.ok)), Spans.of(gone))

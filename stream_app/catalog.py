"""The item catalog as a global table: every worker reads the whole topic, outside the consumer group."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import numpy as np
from aiokafka.errors import KafkaError
from mode import Service

from stream_app.batch import BatchTopic
from stream_app.errors import UsageError
from stream_app.items import ItemIndex
from stream_app.reading import Ends, open_topic
from topics.spans import Spans

__all__ = ["CatalogReader"]

logger = logging.getLogger(__name__)

#: Pause after the broker, or the topic, was not there.
RETRY_S = 2.0

#: Most records of one poll: between two polls the event loop has other things to do.
POLL_RECORDS = 2_000


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
            except UsageError:
                self.ready.set()  # no catalog: everything may be recommended
            await self.sleep(RETRY_S)

    async def _read(self) -> None:
        async with open_topic(self.app.cluster, self.topic.name) as (consumer, partitions):
            await consumer.seek_to_beginning(*partitions)
            ends = Ends(consumer, await consumer.end_offsets(partitions))
            while not self.should_stop:
                if not self.ready.is_set() and all([await ends.reached(partition) for partition in partitions]):
                    logger.info("catalog: %s items", f"{self.items.catalog_items:,}")
                    self.ready.set()
                polled = await consumer.getmany(timeout_ms=200, max_records=POLL_RECORDS)
                for records in polled.values():
                    self._apply([record.key for record in records], [record.value for record in records])

    def _apply(self, keys: list[bytes | None], values: list[bytes | None]) -> None:
        columns = self.topic.decode(Spans.of(values))
        for error in columns.errors:
            self.bad_records += 1
            logger.warning("catalog: item %r: %s", keys[error.row], error.message)
        gone = [key for key, value in zip(keys, values, strict=True) if value is None and key]
        self.items.update(columns.take(np.flatnonzero(columns.ok)), Spans.of(gone))

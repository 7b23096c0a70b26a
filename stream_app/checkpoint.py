"""Commit as a checkpoint: outputs, then state, then offsets, so that a crash at any moment loses nothing.

A checkpoint cuts between batches: offsets, changed rows and queued outputs of one moment. Then, while new batches are
already being processed, the outputs up to the cut are flushed, the rows go to the changelog, and the offsets are
committed; under exactly_once all three in one Kafka transaction per partition.

Without a transaction a crash may leave some of the rows in the changelogs and some not. So a checkpoint has a number,
which its rows bear and which is committed beside the offsets: recovery passes over rows of one that was not completed
(`state.stamps`), and state is that of the committed offsets, of all tables and rows together.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from faust.types import TP

from stream_app.numbering import Numbering, Place
from stream_app.state.stamps import stamp_headers, written_beside
from stream_app.transport.outbox import Allowed
from topics.spans import Spans

__all__ = ["Checkpoint", "Gate"]

logger = logging.getLogger(__name__)

#: Changed rows of one shard on their way to the changelog: table, shard, keys, values.
TakenRows = tuple[Any, Any, Spans, Spans]


class Gate:
    """Many batches at once, or one cut: a cut waits for the batches under way and holds up those that come."""

    def __init__(self) -> None:
        self._running = 0
        self._open = asyncio.Event()
        self._open.set()
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[None]:
        """Held while a batch changes state and queues outputs."""
        while not self._open.is_set():
            await self._open.wait()
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    @asynccontextmanager
    async def cut(self) -> AsyncIterator[None]:
        """Held while offsets, rows and outputs of one moment are taken."""
        while not self._open.is_set():
            await self._open.wait()
        self._open.clear()
        try:
            await self._idle.wait()
            yield
        finally:
            self._open.set()


class Checkpoint:
    """Runs the checkpoints of one worker.

    on_done is called with (duration_s, rows) after each.
    """

    def __init__(self, app: Any, *, on_done: Callable[[float, int], None] = lambda duration, rows: None) -> None:
        self._app = app
        self.gate = Gate()
        self.numbers = Numbering(app)
        self.on_done = on_done
        self.last_done_s: float | None = None
        #: Called when partitions are given up, to drop what waits and to finish what runs.
        self.drainers: list[Callable[[], Awaitable[None]]] = []
        #: Called inside each cut, before changed rows are taken: state kept elsewhere is written into its rows.
        self.before_cut: list[Callable[[], None]] = []

    async def drain(self) -> None:
        """Drop queued batches and let the running ones end."""
        for drainer in self.drainers:
            await drainer()
        async with self.gate.cut():
            pass

    async def run(self, consumer: Any, offsets: dict[TP, int], start_new_transaction: bool) -> bool:
        """One checkpoint; False if nothing was committed. A failure crashes the worker: memory would be ahead."""
        began = time.monotonic()
        app = self._app
        transactional = bool(app.in_transaction)
        async with self.gate.cut():
            offsets.update(consumer.committable())
            metadata = app.event_time.metadata()
            for prepare in self.before_cut:
                prepare()
            places, number = self.numbers.places(offsets), self.numbers.next()
            rows = self._take_rows(places)
            consumer.metadata = {tp: written_beside(number, metadata.get(tp, "")) for tp in offsets}
            if transactional:
                app.outbox.hold()
        try:
            if transactional:
                await self._send_rows(rows, number)
                await app.outbox.flush()
                done = await consumer.commit_now(offsets, start_new_transaction)
            else:
                await app.outbox.flush()
                refused = app.outbox.refused
                await self._send_rows(rows, number, allowed=consumer.still_owner)
                await app.outbox.flush()
                if app.outbox.refused > refused:
                    logger.warning("checkpoint given up: the group has given this worker's partitions to another")
                    self._give_back(rows)
                    return False
                done = await consumer.commit_now(offsets, start_new_transaction)
        except asyncio.CancelledError:
            self._give_back(rows)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the worker ends and recovers
            self._give_back(rows)
            await app.crash(error)
            return False
        finally:
            if transactional:
                app.outbox.release()
        if done:
            app.event_time.settle(metadata)
            self.numbers.complete(places, number)
        else:
            self._give_back(rows)
        self.last_done_s = time.time()
        self.on_done(time.monotonic() - began, sum(len(keys) for _table, _shard, keys, _values in rows))
        return bool(done)

    def _take_rows(self, places: set[Place]) -> list[TakenRows]:
        """The changed rows of the partitions that are committed (under exactly_once a row goes with its partition)."""
        return [
            (table, shard, *shard.drain_dirty())
            for table in self._app.columnar_tables
            for shard in table.dirty_shards()
            if (table.partitions, shard.partition) in places
        ]

    async def _send_rows(self, rows: Iterable[TakenRows], number: int, allowed: Allowed | None = None) -> None:
        for table, shard, keys, values in rows:
            topic, partition = table.changelog_topic_name, shard.partition
            completed = self.numbers.completed((table.partitions, partition))
            await self._app.outbox.send(
                topic,
                partition,
                keys,
                values,
                headers=stamp_headers(number, completed, len(keys)),
                source=TP(topic, partition),
                in_checkpoint=True,
                acknowledged=table.set_persisted,
                allowed=allowed,
            )

    @staticmethod
    def _give_back(rows: Iterable[TakenRows]) -> None:
        for _table, shard, keys, values in rows:
            shard.restore_dirty(keys, values)

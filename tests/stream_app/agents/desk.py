"""The risk desk without a broker: trades go through the wire format into the agents, what they send is read back."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
import numpy as np

from stream_app.batch import Batch, BatchTopic
from stream_app.inference import Inference
from stream_app.metrics import Metrics
from stream_app.processor import Processor
from stream_app.risk_app import RiskDesk, risk_desk
from stream_app.settings import Settings
from stream_app.transport.builder import build_batches
from stream_app.transport.records import HEADER, RecordBatch, RecordScanner
from topics import wire
from topics.catalog import Catalog
from topics.spans import Spans

__all__ = ["Desk", "record_batch"]

#: Topics that the application reads itself.
INTERNAL = (
    "trades-by-account", "alert-actions", "symbol-bars", "transactions-by-merchant", "item-counts",
)  # fmt: skip

#: When records were written that a test says nothing else of: no event of a test is ahead of it.
LONG_AFTER_MS = 1 << 42

#: A record without headers, as it lies on the wire.
NO_HEADERS = b"\x00"


def record_batch(
    topic: str, partition: int, values: list[bytes], first_offset: int = 0, headers: Spans | None = None
) -> RecordBatch:
    """Records as a poll would bring them."""
    spans = Spans.of(values)
    times = np.full(len(values), LONG_AFTER_MS, np.int64)
    raw = bytes(next(iter(build_batches(None, spans, times, headers=headers, max_bytes=1 << 26)))._build())
    scanner = RecordScanner(raw)
    scanner.add(0, HEADER.unpack_from(raw), len(raw))
    batch = scanner.finish(topic, partition, 0, len(values), 0.0)
    batch.offsets = batch.offsets + first_offset
    return batch


class Desk:
    """A desk whose tables survive a crash as their changelogs would have it (`crash`)."""

    def __init__(self, **settings: Any) -> None:
        # Parameters are estimated in this process, which gives the same ones; `test_refits` has the pool.
        settings["market"] = {"refit_processes": 0, **settings.get("market", {})}
        self.settings = Settings(_env_file=None, **settings)  # type: ignore[call-arg]
        self.catalog = Catalog("", {}, self.settings.partitions)
        self.sent: dict[str, list[Any]] = defaultdict(list)
        self.rejected: list[Any] = []
        self.offsets: dict[tuple[str, int], int] = defaultdict(int)
        self.log: dict[tuple[str, int], dict[bytes, bytes | None]] = defaultdict(dict)
        self._start()

    def _start(self) -> None:
        self.metrics = Metrics()
        self.inference = Inference()
        self.app = Processor("desk", bootstrap="127.0.0.1:1", partitions=self.settings.partitions)
        self.topics: dict[str, BatchTopic] = {
            name: self.app.batch_topic(topic.kafka_name, topic.type, partitions=topic.partitions)
            for name, topic in self.catalog.items()
        }
        self.desk: RiskDesk = risk_desk(self.app, self.topics, self.settings, self.metrics, self.inference)

    async def send(
        self,
        topic: str,
        records: list[Any],
        partition: int = 0,
        stamped_s: float | None = None,
        headers: Spans | None = None,
    ) -> None:
        """Records arrive in one batch; what is sent on to an internal topic arrives there at once."""
        first = self.offsets[topic, partition]
        self.offsets[topic, partition] += len(records)
        batch = record_batch(topic, partition, wire.encode(records), first, headers)
        if stamped_s is not None:
            batch.timestamps_ms[:] = round(stamped_s * 1000)
        await self.handle(topic, batch)

    async def deliver(self, topic: str, values: list[bytes], partition: int, first: int) -> None:
        """Encoded records arrive at given offsets."""
        await self.handle(topic, record_batch(topic, partition, values, first))

    async def tick(self, *partitions: int) -> None:
        """What a worker that reads `partitions` of payments does from time to time."""
        if self.desk.fraud is not None and self.desk.fraud.timer is not None:
            await self._route(self.desk.fraud.timer.due(partitions))

    async def handle(self, topic: str, records: RecordBatch) -> None:
        """A batch goes through every agent of its topic, each atomic."""
        declared = self.topics[topic]
        columns = declared.decode(records.values)
        assert not columns.errors, columns.errors
        for _name, handler in self.app._handlers[topic]:
            batch = Batch(declared, records, columns)
            shards = self.app.shards(records.partition)
            for shard in shards:
                shard.savepoint()
            await handler(batch)
            for shard in shards:
                shard.release()
            self.rejected += [error for _, error in batch.rejected]
            await self._route(batch.outgoing)

    async def _route(self, outgoing: list[Any]) -> None:
        """What goes to one partition of an internal topic arrives there as one batch."""
        arriving: dict[tuple[str, int], list[tuple[bytes, bytes, int]]] = defaultdict(list)
        for out in outgoing:
            if out.topic not in INTERNAL:
                type_ = self.topics[out.topic].type
                self.sent[out.topic] += [msgspec.json.decode(value or b"", type=type_) for value in out.values.tolist()]
                continue
            n = len(out.values)
            places = np.full(n, out.partition) if isinstance(out.partition, int) else out.partition
            headers = out.headers.tolist() if out.headers is not None else [NO_HEADERS] * n
            times = out.timestamps_ms if out.timestamps_ms is not None else np.full(n, LONG_AFTER_MS)
            for row in zip(places.tolist(), out.values.tolist(), headers, times.tolist(), strict=True):
                arriving[out.topic, row[0]].append(row[1:])
        for (topic, partition), rows in sorted(arriving.items()):
            values, headers, times = zip(*rows, strict=True)
            first = self.offsets[topic, partition]
            self.offsets[topic, partition] += len(values)
            records = record_batch(topic, partition, list(values), first, Spans.of(headers))
            records.timestamps_ms = np.array(times, np.int64)
            await self.handle(topic, records)

    def checkpoint(self) -> None:
        """What changed goes to the changelogs."""
        for prepare in self.app.checkpoint.before_cut:
            prepare()
        for table in self.app.columnar_tables:
            for shard in table.dirty_shards():
                keys, values = shard.drain_dirty()
                log = self.log[table.name, shard.partition]
                for key, value in zip(keys.tolist(), values.tolist(), strict=True):
                    log[key or b""] = value

    def close(self) -> None:
        """End threads and processes."""
        self.desk.market.refits.close()
        self.inference.close()

    async def crash(self) -> None:
        """Start anew from the changelogs."""
        self.close()
        self._start()
        for table in self.app.columnar_tables:
            for (name, partition), log in self.log.items():
                live = {key: value for key, value in log.items() if value is not None}
                if name == table.name and live:
                    table.shard(partition).apply(Spans.of(live), Spans.of(live.values()))
        await self.desk.alerts.rebuild()

    def state(self) -> dict[tuple[str, int], dict[bytes, bytes]]:
        """Every row of every table, as the changelog would have it."""
        self.checkpoint()
        rows: dict[tuple[str, int], dict[bytes, bytes]] = {}
        for table in self.app.columnar_tables:
            for partition, shard in table.shards.items():
                live = shard.live_rows()
                keys = [key or b"" for key in shard.index.keys(live).tolist()]
                rows[table.name, partition] = dict(
                    zip(keys, (shard._raw[row].tobytes() for row in live.tolist()), strict=True)
                )
        return rows

    def alerts(self, status: str | None = "firing") -> list[Any]:
        """Alerts sent so far."""
        return [alert for alert in self.sent["risk-alerts"] if status in (None, alert.status)]

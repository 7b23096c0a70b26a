"""The Faust app that everything hangs on: batch topics, columnar tables, agents over batches, checkpoints."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import faust
from aiokafka import AIOKafkaProducer, TopicPartition
from faust.types import TP

from stream_app.batch import Batch, BatchTopic
from stream_app.checkpoint import Checkpoint
from stream_app.errors import StateError
from stream_app.event_time import EventTime
from stream_app.lanes import Handler, Lanes
from stream_app.metrics import Metrics
from stream_app.preflight import preflight
from stream_app.rehearsal import NOWHERE, REHEARSED, rehearsal_batch
from stream_app.security import Cluster
from stream_app.state.stamps import number_beside
from stream_app.state.table import Table
from stream_app.transport.builder import build_batches, rebuild_batches
from stream_app.transport.outbox import Outbox
from stream_app.transport.records import RecordBatch
from stream_app.transport.topic import BatchSchema
from topics.dialect import Dialect

__all__ = ["Processor"]

logger = logging.getLogger(__name__)


#: A row in a changelog is not compacted away for a later one of its key before so long: where that is of a checkpoint
#: that was not completed, the earlier one still counts, until a worker has taken up and written it again.
COMPACTION_LAG_S = 300.0

#: Rows looked at for eviction in each shard and checkpoint: a million rows are gone through in under two minutes.
EVICT_SCAN = 10_000


class Processor(faust.App):  # type: ignore[misc]
    """A Faust app over the `tsrec` transport. Ordinary topics, agents and tables of Faust work in it as well.

    app = Processor("counts", bootstrap="127.0.0.1:9092")
    clicks = app.batch_topic("clicks", Click)
    counts = app.columnar_table("counts", TumblingCounts(300), sources=[clicks])

    @app.process(clicks)
    async def count(batch): ...
    """

    def __init__(
        self,
        id: str,
        *,
        bootstrap: str | Cluster,
        guarantee: str = "at_least_once",
        partitions: int = 4,
        replication: int = 1,
        checkpoint_interval_s: float = 1.0,
        session_timeout_s: float = 10.0,
        batch_bytes: int = 512 << 10,
        fetch_bytes: int = 1 << 20,
        fetch_pace_s: float = 0.0,
        fetch_wait_s: float | None = None,
        compression: str | None = None,
        dead_letters: str = "dead-letters",
        late_events: str = "late-events",
        metrics: Metrics | None = None,
        **options: Any,
    ) -> None:
        cluster = Cluster.of(bootstrap)
        brokers = ";".join(f"tsrec://{server.strip()}" for server in cluster.bootstrap.split(","))
        options = {
            "store": "memory://",
            "broker_credentials": cluster.credentials(),
            "topic_partitions": partitions,
            "topic_replication_factor": replication,
            "topic_disable_leader": True,
            "web_enabled": False,
            "autodiscover": False,
            "processing_guarantee": guarantee,
            "broker_commit_interval": checkpoint_interval_s,
            "broker_session_timeout": session_timeout_s,
            "broker_heartbeat_interval": session_timeout_s / 5,
            "broker_request_timeout": max(40.0, session_timeout_s * 2),
            "broker_max_poll_records": 100_000,
            "consumer_max_fetch_size": fetch_bytes,
            "producer_acks": -1,
            "producer_max_request_size": max(1 << 20, 2 * batch_bytes),
            "producer_max_batch_size": 128 << 10,
            "stream_wait_empty": True,
            "stream_recovery_delay": 0.0,
            # Faust makes this folder at start; nothing of ours is in it, since state is in memory and in changelogs.
            "datadir": Path(tempfile.gettempdir()) / f"tsrec-{id}",
            **options,
        }
        super().__init__(id, broker=brokers, **options)
        self.cluster = cluster
        self.bootstrap = cluster.bootstrap
        self.batch_topics: dict[str, BatchTopic] = {}
        self.batch_topic_names: set[str] = set()
        self.columnar_tables: list[Table] = []
        #: Lane -> the tables that its agents change.
        self._tables_of: dict[str, list[Table]] = {}
        self.metrics = metrics or Metrics()
        self.event_time = EventTime()
        self.dead_letters = BatchTopic(dead_letters, None, partitions)
        self.late_events = BatchTopic(late_events, None, partitions)
        self._handlers: dict[str, list[tuple[str, Handler]]] = {}
        self._batch_bytes = batch_bytes
        self._compression = compression
        self.checkpoint = Checkpoint(self, on_done=self.metrics.checkpoint_done)
        self.checkpoint.before_cut.append(self.evict_idle)
        # Faust shares the receivers of a signal among all apps of a process.
        self.on_rebalance_complete.connect(self._settle_tables, weak=True, sender=self)
        self.lanes = Lanes(self, self.checkpoint)
        #: Topic -> settings it is made with, where this worker makes it.
        self.topic_configs: dict[str, dict[str, str]] = {}
        self.fetch_pace_s = fetch_pace_s
        #: Longest that the broker holds a fetch for which it has nothing; None until it is known which broker it is.
        self.fetch_wait_s = fetch_wait_s
        #: Topic -> largest record batch the broker takes; filled before anything is sent.
        self.max_message_bytes: dict[str, int] = {}
        #: What this worker cannot go on from; set once, with `failed`.
        self.failure: BaseException | None = None
        self.failed = asyncio.Event()
        self.outbox: Outbox = Outbox(self, batch_bytes=batch_bytes, compression=compression)

    # -- declaring

    def batch_topic(
        self,
        name: str,
        type: Any,
        *,
        partitions: int | None = None,
        dialect: Dialect | None = None,
        lateness_s: float | None = None,
        max_ahead_s: float = 3600.0,
        tombstones: bool = False,
        max_records: int | None = None,
        lane: str = "",
    ) -> BatchTopic:
        """A topic to read in batches, or to send batches to. Declaring it twice gives the same one."""
        if name not in self.batch_topics:
            count = partitions or self.conf.topic_partitions
            self.batch_topics[name] = BatchTopic(
                name,
                type,
                count,
                dialect=dialect,
                lateness_s=lateness_s,
                max_ahead_s=max_ahead_s,
                tombstones=tombstones,
                max_records=max_records,
                lane=lane,
            )
        return self.batch_topics[name]

    def columnar_table(
        self,
        name: str,
        columns: Any,
        *,
        sources: Sequence[BatchTopic],
        retention_s: float | None = None,
        partitions: int | None = None,
    ) -> Table:
        """A table whose rows are changed by records of `sources`, co-partitioned with them.

        Several may depend on each other, in any order: after a crash the rows of all are of one checkpoint.

        Raises:
            StateError: if the sources have different partition counts, or are in different lanes.
        """
        counts = {topic.partitions for topic in sources}
        if len(counts) > 1:
            names = ", ".join(f"{topic.name} ({topic.partitions})" for topic in sources)
            raise StateError(f"table {name}: its sources need equal partition counts, but they are {names}")
        lanes = {topic.lane for topic in sources}
        if len(lanes) > 1:
            names = ", ".join(f"{topic.name} ({topic.lane!r})" for topic in sources)
            raise StateError(f"table {name}: its sources must be in one lane, but they are {names}")
        table = Table(
            self,
            name,
            columns=columns,
            sources=tuple(topic.name for topic in sources),
            partitions=partitions or (counts.pop() if counts else self.conf.topic_partitions),
            retention_s=retention_s,
            changelog_schema=BatchSchema(),
            changelog_config={"min.compaction.lag.ms": str(round(COMPACTION_LAG_S * 1000))},
        )
        self.tables.add(table)
        self.columnar_tables.append(table)
        self._tables_of.setdefault(lanes.pop() if lanes else "", []).append(table)
        self.batch_topic_names.add(table.changelog_topic_name)
        return table

    def process(self, topic: BatchTopic) -> Callable[[Handler], Handler]:
        """Decorate an agent: `async def agent(batch)`, called with the good records of each batch of `topic`.

        A batch is atomic: if the agent raises, what it changed in columnar tables is taken back, and the record that
        breaks it ends in the dead letters. Batches of one partition number run one after another.
        """

        def register(handler: Handler) -> Handler:
            name = getattr(handler, "__name__", type(handler).__name__)
            first = topic.name not in self._handlers
            self._handlers.setdefault(topic.name, []).append((name, handler))
            if first:
                self._consume(topic)
            return handler

        return register

    @property
    def consumed(self) -> Iterable[str]:
        """Names of the batch topics that agents read."""
        return self._handlers

    def _consume(self, topic: BatchTopic) -> None:
        """Subscribe to `topic` by a Faust agent; its batches go to the lanes without passing through the agent."""
        self.batch_topic_names.add(topic.name)
        channel = self.topic(topic.name, schema=BatchSchema(), partitions=topic.partitions, internal=False)

        async def subscribe(stream: Any) -> None:
            async for _ in stream.noack().events():
                pass

        self.agent(channel, name=f"tsrec.{topic.name}")(subscribe)

    async def deliver(self, tp: TP, records: RecordBatch) -> None:
        """Put a batch of an input topic into its lane; waits while that is full, which holds up the poll."""
        await self.lanes.put(tp, self.batch_topics[tp.topic], records, self._handlers[tp.topic])

    # -- running

    async def rehearse(self) -> None:
        """Run every agent over invented batches, small and large, of a partition that does not exist; forget all of it.

        Kernels are compiled the first time they are used. Left to the first real batch, that would hold up the event
        loop for seconds: long enough for the group to give this worker's partitions to another.
        """
        for name, handlers in self._handlers.items():
            topic, first = self.batch_topics[name], 0
            for n in REHEARSED:
                await self._rehearse(topic, handlers, rehearsal_batch(topic, n, first))
                first += n
        for table in self.columnar_tables:
            table.drop(NOWHERE)
        self.event_time.restore({})

    async def _rehearse(self, topic: BatchTopic, handlers: list[tuple[str, Handler]], records: RecordBatch) -> None:
        columns = topic.decode(records.values).good()
        for _name, handler in handlers:
            shards = self.shards(NOWHERE)
            for shard in shards:
                shard.savepoint()
            batch = Batch(topic, records, columns)
            await handler(batch)
            for out in batch.outgoing:
                built = list(build_batches(out.keys, out.values, max_bytes=self._batch_bytes))
                # As the outbox puts those together that wait behind each other.
                list(rebuild_batches(built * 2, max_bytes=self._batch_bytes, compression=None, transactional=False))
            for shard in shards:
                shard.release()
                keys, values = shard.drain_dirty()
                shard.apply(keys, values)
        self.event_time.check(TP(topic.name, NOWHERE), topic, records, columns)

    def evict_idle(self) -> None:
        """Remove rows that have been idle past their table's retention, by event time; a part of the rows at a time.

        The time is that of the last commit, so that no event of a row that was removed can come again in a replay.
        Called in each cut: the tombstones go to the changelog with the rows of that checkpoint.
        """
        for table in self.columnar_tables:
            if table.retention_s is None:
                continue
            for partition in list(table.shards):
                marks = [
                    self.event_time.settled_watermark(TP(name, partition), self.batch_topics[name])
                    for name in table.layout.sources
                ]
                known = [mark for mark in marks if mark is not None]
                if known and partition >= 0:
                    # The slower source decides, where both have been heard of.
                    self.metrics.evicted.labels(table.name).inc(table.evict(partition, min(known), EVICT_SCAN))

    def shards(self, partition: int, lane: str | None = None) -> list[Any]:
        """The shards of columnar tables that hold state of `partition`: of all, or of those of one lane."""
        tables = self.columnar_tables if lane is None else self._tables_of.get(lane, ())
        return [table.shard(partition) for table in tables]

    def producer_for(self, source: TopicPartition | None) -> AIOKafkaProducer:
        """The producer for what comes of `source`: its transaction's, or the one of the worker."""
        if self.in_transaction and source is not None:
            producer: AIOKafkaProducer = self.consumer.transactions.producer_for(source)
            return producer
        plain: AIOKafkaProducer = self.producer._ensure_producer()
        return plain

    def on_positions_set(self, metadata: Mapping[TP, str]) -> None:
        """The consumer stands at the committed offsets: watermarks as they were there, and batches may come."""
        self.event_time.restore({tp: number_beside(text)[1] for tp, text in metadata.items()})
        self.metrics.rebalances.inc()
        self.lanes.resume()
        logger.info("worker ready: %s", _summary(self.consumer.ranges) or "no partitions, others have them all")

    async def _settle_tables(self, *args: Any, **kwargs: Any) -> None:
        """Changelogs have been read, and nothing has been made of the rows yet."""
        settling = self.checkpoint.numbers.settle(self.consumer)
        await asyncio.wait_for(settling, self.conf.broker_request_timeout)

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.checkpoint.numbers.drop_unsaved()
        await super()._on_partitions_assigned(assigned, generation_id)

    async def on_first_start(self) -> None:
        await super().on_first_start()
        await preflight(self)

    async def leave_group(self) -> None:
        """Tell the coordinator that this worker is gone, so that its partitions are given to another at once."""
        if self._consumer is not None:
            await self._consumer.leave_group()

    def _crash(self, reason: BaseException) -> None:
        """Called for a crash of this app or of anything in it, in any thread."""
        super()._crash(reason)
        if self.failure is None:
            self.failure = reason
            self.loop.call_soon_threadsafe(self.failed.set)

    async def on_stop(self) -> None:
        await super().on_stop()
        await self.lanes.close()


def _summary(tps: Iterable[TP]) -> str:
    """`clicks 0 2, trades 1`."""
    by_topic: dict[str, list[int]] = defaultdict(list)
    for tp in sorted(tps):
        by_topic[tp.topic].append(tp.partition)
    return ", ".join(f"{topic} {' '.join(map(str, partitions))}" for topic, partitions in by_topic.items())

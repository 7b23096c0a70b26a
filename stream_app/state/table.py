"""A columnar table as a Faust collection: assignment, standbys and recovery are Faust's, the rows are ours."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from faust.tables.base import Collection
from faust.types import TP

from stream_app.errors import StateError
from stream_app.state.columns import Columns, ColumnSource, Layout
from stream_app.state.shard import Shard
from stream_app.state.stamps import HeldBack, OwnerGuard, stamps_of
from topics.spans import Spans

__all__ = ["Table"]

logger = logging.getLogger(__name__)

#: Record batches that Faust collects before it applies them. At 1 it would go on consuming the changelogs of active
#: partitions after recovery, and apply our own writes to us.
RECOVERY_BUFFER = 2

#: Seconds between two lines about the progress of a recovery.
PROGRESS_S = 5.0


class Table(Collection):  # type: ignore[misc]
    """State by key, a shard a partition, kept in a compacted changelog topic.

    columns: features and columns, see `Columns`. sources: names of the topics whose events change the table, in the
    order of the numbers that `Shard.fresh` and `advance` take. partitions: as the sources have. retention_s: rows are
    evicted when event time has gone on for so long after their last event; None keeps them. changelog_schema: the
    Faust schema under which a changelog message is one record batch (`.topic .partition .offsets .keys .values
    .header_spans .next_offset`).

    Readable as they are: `recovered_rows`, `recovery_s`, `shards`; properties `rows`, `nbytes`.
    """

    def __init__(
        self,
        app: Any,
        name: str,
        *,
        columns: ColumnSource,
        sources: Iterable[str],
        partitions: int | None = None,
        retention_s: float | None = None,
        changelog_schema: Any = None,
        changelog_config: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            app,
            name=name,
            partitions=partitions,
            schema=changelog_schema,
            key_type=bytes,
            value_type=bytes,
            recovery_buffer_size=RECOVERY_BUFFER,
            standby_buffer_size=1,
            extra_topic_configs=changelog_config,
            **options,
        )
        self.layout = Layout(Columns.of(columns), tuple(sources))
        self.retention_s = retention_s
        self.shards: dict[int, Shard] = {}
        self.recovered_rows = 0
        self.recovery_s = 0.0
        self._persisted: dict[int, int] = {}
        self._owners: dict[int, OwnerGuard] = {}
        #: Rows of checkpoints of which it is not known yet whether they were completed.
        self._held: dict[int, HeldBack] = {}
        self._assigned: set[int] = set()
        #: Offset of the first record that the broker still has of a changelog partition, where that mattered.
        self._log_starts: dict[int, int] = {}
        self._filling: dict[int, asyncio.Task[None]] = {}
        self._failure: Exception | None = None
        self._crashing: asyncio.Task[None] | None = None
        self._progress_at = 0.0
        self._recovering = True

    # -- state --------------------------------------------------------------------------------------------------

    def shard(self, partition: int) -> Shard:
        """The state of one partition, made when first asked for."""
        shard = self.shards.get(partition)
        if shard is None:
            shard = self.shards[partition] = Shard(self.layout, self.name, partition)
        return shard

    def dirty_shards(self) -> list[Shard]:
        """Shards with rows that wait for the changelog."""
        return [shard for shard in self.shards.values() if shard.dirty]

    def get(self, key: str | bytes) -> dict[str, Any] | None:
        """What is known of `key` in the partitions held here, decoded for people; None if nothing."""
        spans = Spans.of([key.encode() if isinstance(key, str) else key])
        for shard in self.shards.values():
            row = int(shard.find(spans)[0])
            if row >= 0:
                return self._read(shard, row)
        return None

    def source(self, topic: str) -> int:
        """The number of a source topic."""
        try:
            return self.layout.sources.index(topic)
        except ValueError:
            raise StateError(
                f"table {self.name!r}: {topic!r} is not among its sources ({', '.join(self.layout.sources)})"
            ) from None

    def evict(self, partition: int, watermark: float, scan: int | None = None) -> int:
        """Removes rows whose last event lies more than `retention_s` before `watermark`; returns how many."""
        if self.retention_s is None or partition not in self.shards or not np.isfinite(watermark):
            return 0
        return self.shards[partition].evict(watermark - self.retention_s, scan)

    @property
    def rows(self) -> int:
        """Keys in the shards held."""
        return sum(len(shard) for shard in self.shards.values())

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the shards held."""
        return sum(shard.nbytes for shard in self.shards.values())

    def __len__(self) -> int:
        return self.rows

    def __bool__(self) -> bool:
        """An empty table is still a table."""
        return True

    def _read(self, shard: Shard, row: int) -> dict[str, Any]:
        columns = self.layout.columns
        known = {feature.name: feature.read(shard, row) for feature in columns.features}
        known |= {name: shard.column(name)[row].tolist() for name in columns.plain}
        known["last_event_ts"] = float(shard.column("_ts")[row])
        return known

    # -- changelog and recovery ---------------------------------------------------------------------------------

    def persisted_offset(self, tp: Any) -> int:
        """Highest changelog offset that the shard holds: from there Faust reads on. -1: nothing.

        Never None: Faust would then go on from where it was before the shard was dropped, and leave a hole.
        """
        return self._persisted.get(tp.partition, -1)

    def set_persisted(self, partition: int, offset: int) -> None:
        """Call when our own changelog writes up to `offset` are acknowledged; too late, it does nothing."""
        if partition in self.shards:
            self._persisted[partition] = max(offset, self._persisted.get(partition, -1))

    def drop(self, partition: int) -> None:
        """Forgets a shard; if the partition is assigned again, it is read back from the changelog."""
        self.shards.pop(partition, None)
        self._persisted.pop(partition, None)
        self._owners.pop(partition, None)
        self._held.pop(partition, None)

    @property
    def highest_number(self) -> int:
        """The highest number of a checkpoint met in the changelog, of the partitions held."""
        return max((owner.highest for owner in self._owners.values()), default=0)

    def follows_completed(self, partition: int) -> bool:
        """Whether a row that was read says that a checkpoint before it was completed."""
        held = self._held.get(partition)
        return held is not None and held.completed > 0

    def settle(self, partition: int, completed: int) -> int:
        """At the end of a recovery: take the last rows read if their checkpoint was completed; how many were not.

        Of these the rows before count. They are written again with the next checkpoint: later ones are to follow what
        does not count. completed: number of the last completed checkpoint, committed beside the offsets.
        """
        held = self._held.pop(partition, None)
        if held is None:
            return 0
        whole, broken = held.settle(completed)
        shard = self.shard(partition)
        for keys, values in whole:
            shard.apply(keys, values)
        for keys in broken:
            shard.write_again(keys)
        return sum(len(keys) for keys in broken)

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """Applies changelog messages, each a record batch, during recovery and on standbys.

        Faust's recovery loop would log an error and go on with a hole in the state: so an error crashes the app.
        """
        if self._failure is not None:
            raise StateError(f"table {self.name!r} cannot be recovered, the worker ends") from self._failure
        began = time.perf_counter()
        rows = 0
        try:
            for event in batch:
                rows += self._apply(event.value)
        except Exception as error:
            self._failure = error
            self._crashing = asyncio.get_running_loop().create_task(self.app.crash(error))
            # Faust logs what it gets here for each batch; the crash says what it is, once.
            raise StateError(f"table {self.name!r} cannot be recovered, the worker ends") from error
        self.recovered_rows += rows
        self.recovery_s += time.perf_counter() - began
        self._log_progress()

    def _apply(self, records: Any) -> int:
        partition: int = records.partition
        if records.topic != self.changelog_topic_name or partition not in self._assigned:
            # Faust hands what it cannot place to the table it served last.
            self.log.warning("changelog batch of %s [%s] is not for us, or no longer", records.topic, partition)
            return 0
        keys, values = records.keys, records.values
        held = self._persisted.get(partition, -1)
        if records.fetch_offset > max(held + 1, self._log_starts.get(partition, 0)):
            self._fill_hole(partition, held, records)
            return 0
        new = records.offsets > held
        numbers, completed = stamps_of(records.header_spans)
        stale = self._owners.setdefault(partition, OwnerGuard()).stale(numbers)
        if stale.any():
            self.log.warning("%s [%s]: %s rows of a replaced owner passed over", records.topic, partition, stale.sum())
        new &= ~stale
        if not new.all():
            keys, values, numbers, completed = keys.take(new), values.take(new), numbers[new], completed[new]
        shard, held_back = self.shard(partition), self._held.setdefault(partition, HeldBack())
        for part in held_back.take(keys, values, (numbers, completed)):
            shard.apply(*part)
        self._persisted[partition] = max(held, records.next_offset - 1)
        return len(keys)

    def _fill_hole(self, partition: int, held: int, records: Any) -> None:
        """Have what is missing before `records` read, and these again after it.

        Faust can lose what it has fetched: it empties its queues when the flow is resumed, and passes over records of
        partitions that were paused meanwhile. It would then go on behind them, and those rows be missing at a takeover.
        """
        tp = TP(self.changelog_topic_name, partition)
        recovery = self.app.tables.recovery
        for seen in (recovery.active_offsets, recovery.standby_offsets):
            if tp in seen:
                seen[tp] = held  # Faust passes over what it has seen
        if partition not in self._filling:
            logger.info("%s [%s]: offsets %s to %s are read again", *tp, held + 1, records.fetch_offset - 1)
            task = asyncio.get_running_loop().create_task(self._seek_back(tp))
            self._filling[partition] = task
            task.add_done_callback(lambda _: self._filling.pop(partition, None))

    async def _seek_back(self, tp: TP) -> None:
        try:
            consumer = self.app.consumer
            # What the broker has deleted cannot be read: that hole stays.
            start = (await consumer.earliest_offsets(tp)).get(tp) or 0
            self._log_starts[tp.partition] = start
            await consumer.seek(tp, max(self.persisted_offset(tp) + 1, start))
        except Exception as error:  # noqa: BLE001 - said here; the next batch that comes asks for it again
            self.log.warning("%s cannot be read again yet: %r", tp, error)

    def _log_progress(self, done: bool = False) -> None:
        now = time.monotonic()
        if self._recovering and self.recovered_rows and (done or now - self._progress_at >= PROGRESS_S):
            self._progress_at = now
            logger.info(
                "table %s: %s %s rows (%.0f rows/s of applying), %s keys, %.1f MB",
                self.name,
                "recovered" if done else "recovering:",
                f"{self.recovered_rows:,}",
                self.recovered_rows / max(self.recovery_s, 1e-9),
                f"{self.rows:,}",
                self.nbytes / 1e6,
            )

    async def on_start(self) -> None:
        """Declares the changelog topic; there is no store to open."""
        await self.changelog_topic.maybe_declare()

    async def on_rebalance(self, assigned: Any, revoked: Any, newly_assigned: Any, generation_id: int = 0) -> None:
        """Drops shards that are no longer ours, and those with changes that never reached the changelog.

        The latter happens when the checkpoint at revocation failed: the events will come again, perhaps after another
        worker had the partition. What the changelog says is the state that fits the committed offsets.
        """
        topic = self.changelog_topic_name
        self._assigned = {tp.partition for tp in assigned if tp.topic == topic}
        self.recovered_rows, self.recovery_s, self._recovering = 0, 0.0, True
        for partition, shard in list(self.shards.items()):
            if partition not in self._assigned:
                self.drop(partition)
            elif shard.dirty:
                self.log.warning("partition %s has unsaved changes: reading it back from the changelog", partition)
                self.drop(partition)

    async def on_recovery_completed(self, active_tps: Any, standby_tps: Any) -> None:
        """Says how long it took, and calls whoever wants to know."""
        self._log_progress(done=True)
        self._recovering = False  # what comes now is a standby's
        await self.call_recover_callbacks()

    async def need_active_standby_for(self, tp: Any) -> bool:
        """True if nothing of the partition is here."""
        return tp.partition not in self._persisted

    def reset_state(self) -> None:
        """Forgets everything; the changelog has it."""
        self.shards.clear()
        self._persisted.clear()
        self._owners.clear()
        self._held.clear()

    def info(self) -> Mapping[str, Any]:
        """Arguments that make the same table again."""
        return {
            "app": self.app,
            "name": self.name,
            "columns": self.layout.columns,
            "sources": self.layout.sources,
            "partitions": self.partitions,
            "retention_s": self.retention_s,
            "changelog_schema": self.schema,
            "changelog_config": self.extra_topic_configs,
        }

    # -- what a Faust dict table would do -----------------------------------------------------------------------

    @property
    def data(self) -> Any:
        raise self._not_a_dict()

    def _has_key(self, key: Any) -> bool:
        return self.get(key) is not None

    def _get_key(self, key: Any) -> Any:
        return self.get(key)

    def _set_key(self, key: Any, value: Any) -> None:
        raise self._not_a_dict()

    def _del_key(self, key: Any) -> None:
        raise self._not_a_dict()

    def using_window(self, window: Any, *, key_index: bool = False) -> Any:
        raise self._not_a_dict()

    def hopping(self, size: Any, step: Any, expires: Any = None, key_index: bool = False) -> Any:
        raise self._not_a_dict()

    def tumbling(self, size: Any, expires: Any = None, key_index: bool = False) -> Any:
        raise self._not_a_dict()

    def as_ansitable(self, **kwargs: Any) -> str:
        raise self._not_a_dict()

    def _not_a_dict(self) -> StateError:
        return StateError(f"table {self.name!r} is columnar: change it by rows, table.shard(partition).locate(keys) …")

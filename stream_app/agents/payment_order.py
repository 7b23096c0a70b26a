"""Payments of all partitions of cards, put in order of event time where they meet at their merchant.

While all partitions keep up a payment goes on at once. In a backlog partitions are read at different speeds; a payment
then waits until every partition has come past it (or keeps up with what is written: `payment_clocks`). What waits is a
row of a table: it survives a crash as all state does.

A payment waits no longer than it had waited before it was read, a second at least: one partition that stands still
holds nobody up for ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stream_app.agents.origins import origins_of
from stream_app.batch import Batch
from stream_app.metrics import Metrics
from stream_app.state.columns import Column, Columns
from stream_app.state.shard import Shard
from stream_app.state.table import Table
from stream_app.transport.records import RecordBatch
from topics.spans import Spans

__all__ = ["HELD_BYTES", "HELD_MOST", "PaymentOrder", "clock_columns", "held_columns"]

#: Bytes of a payment's record that can wait; a larger one, with ids of hundreds of bytes, goes on at once.
HELD_BYTES = 1024

#: Payments that wait in a partition (20 MB); beyond, the oldest go on.
HELD_MOST = 20_000

#: Seconds that a payment may wait for partitions of which it is not known whether they keep up.
ALLOWANCE_S = 1.0

_CLOCK = Spans.of([b"clock"])

#: Time of rows that wait, and of those that are done with: the eviction takes these.
_KEPT, _GONE = np.inf, -1.0


def held_columns() -> Columns:
    """A payment that waits: its record, where it came from, its place in the order, and until when it may wait."""
    return Columns(
        place=Column(np.float64), origin=Column(np.int64), offset=Column(np.int64), at=Column(np.int64),
        stamped_ms=Column(np.int64), until=Column(np.float64), size=Column(np.int64),
        value=Column(np.uint8, (HELD_BYTES,)),
    )  # fmt: skip


def clock_columns(partitions: int) -> Columns:
    """One row: event time that payments, and labels after them, have come to by partition; what was told of it."""
    return Columns(
        reached=Column(np.float64, (2 * partitions,), -np.inf), generation=Column(np.int64, (partitions,), -1),
        keeps_up=Column(np.bool_, (partitions,)),
    )  # fmt: skip


class PaymentOrder:
    """Merges what comes to a partition of merchants."""

    def __init__(self, held: Table, clocks: Table, partitions: int, metrics: Metrics) -> None:
        self.held = held
        self.clocks = clocks
        self.partitions = partitions
        self.metrics = metrics

    def merge(self, batch: Batch) -> tuple[Batch, NDArray[np.int64], NDArray[np.int64]]:
        """Payments and labels whose turn it is, in order, with partition and offset of each origin (-1: none told)."""
        shard = self.held.shard(batch.partition)
        told = batch.columns
        is_clock = told.present("origin")
        clock = self._clock(batch.partition)
        words = batch.only(is_clock)
        batch = batch.only(~is_clock) if len(words) else batch
        origin, offset = origins_of(batch.records.header_spans)
        place = self._places(batch, clock, origin)
        # Afterwards: how far a partition has come is told behind its payments, and says nothing of their places.
        self._hear(words, clock)
        horizon = self._horizon(clock)
        if horizon == np.inf and not len(shard):
            order = np.lexsort((offset, origin, place))
            return batch.only(order), origin[order], offset[order]
        keys = _keys(origin, offset)
        waiting = self._waiting(shard)
        held = shard.find(keys)
        known = (held >= 0) & (shard.column("_ts")[held] == _KEPT)  # read again after a crash
        fits = (batch.records.values.end - batch.records.values.start <= HELD_BYTES) & (origin >= 0)
        until = self._until(batch)
        places = np.concatenate([shard.column("place")[waiting], place[fits & ~known]])
        deadlines = np.concatenate([shard.column("until")[waiting], until[fits & ~known]])
        limit = self._limit(places, deadlines, horizon)
        stays = fits & ~known & (place >= limit)
        goes = np.flatnonzero(~stays & ~known)
        released = waiting[shard.column("place")[waiting] < limit]
        out = self._joined(batch, shard, released, goes, place, origin, offset)
        self._hold(batch, shard, np.flatnonzero(stays), keys, place, origin, offset, until)
        self._let_go(shard, released)
        return out

    def overdue(self, now: float) -> Iterator[int]:
        """Partitions in which something waits that has waited long enough: any record that comes lets it go."""
        for partition, shard in self.held.shards.items():
            if partition >= 0 and (shard.column("until")[self._waiting(shard)] <= now).any():
                yield partition

    def sweep(self) -> None:
        """Before a checkpoint: rows that are done with leave the table."""
        for shard in self.held.shards.values():
            if len(shard):
                shard.evict(0.0)

    # -- the clocks

    def _clock(self, partition: int) -> tuple[Shard, int]:
        shard = self.clocks.shard(partition)
        row = shard.locate(_CLOCK)
        shard.touch(row)
        return shard, int(row[0])

    def _hear(self, words: Batch, clock: tuple[Shard, int]) -> None:
        """What partitions tell of themselves; the last word counts."""
        shard, at = clock
        told = words.columns
        for row in range(len(words)):
            origin = int(told.origin[row])
            if 0 <= origin < self.partitions:
                reached = shard.column("reached")[at]
                reached[origin] = max(reached[origin], told.ts[row])
                shard.column("generation")[at, origin] = told.generation[row]
                shard.column("keeps_up")[at, origin] = told.keeps_up[row] > 0

    def _places(self, batch: Batch, clock: tuple[Shard, int], origin: NDArray[np.int64]) -> NDArray[np.float64]:
        """Each record's place in the order: its event time (a label's is when it became known), never before what its
        own partition has told already, nor after it was written: a clock ahead is no reason to wait."""
        told = batch.columns
        when = np.where(told.present("is_fraud") & told.present("known_ts"), told.known_ts, told.ts)
        place: NDArray[np.float64] = np.minimum(when, batch.records.stamped_s())
        reached = clock[0].column("reached")[clock[1]]
        for one in np.unique(origin):
            if 0 <= one < len(reached):
                mine = np.flatnonzero(origin == one)
                place[mine] = np.maximum.accumulate(np.maximum(place[mine], reached[one]))
                reached[one] = place[mine[-1]]
        return place

    def _horizon(self, clock: tuple[Shard, int]) -> float:
        """What lies before it no partition will add to. One that keeps up, by a word of this generation, never will."""
        shard, at = clock
        generation = shard.column("generation")[at]
        keeps_up = shard.column("keeps_up")[at] & (generation == generation.max())
        return float(np.where(keeps_up, np.inf, shard.column("reached")[at][: self.partitions]).min())

    def _limit(self, places: NDArray[np.float64], deadlines: NDArray[np.float64], horizon: float) -> float:
        """Everything before it goes on: the horizon, or later where some have waited long enough or are too many."""
        limit = horizon
        due = places[deadlines <= time.time()]
        if len(due):
            limit = max(limit, float(np.nextafter(due.max(), np.inf)))
        if np.count_nonzero(places >= limit) > HELD_MOST:
            limit = float(np.sort(places)[-HELD_MOST])
        self.metrics.unordered.inc(int(np.count_nonzero((places >= horizon) & (places < limit))))
        return limit

    @staticmethod
    def _until(batch: Batch) -> NDArray[np.float64]:
        now = time.time()
        return now + np.maximum(now - batch.records.stamped_s(), ALLOWANCE_S)

    # -- the rows

    @staticmethod
    def _waiting(shard: Shard) -> NDArray[np.int64]:
        rows: NDArray[np.int64] = shard.live_rows()
        kept: NDArray[np.bool_] = shard.column("_ts")[rows] == _KEPT
        return rows[kept]

    @staticmethod
    def _hold(
        batch: Batch,
        shard: Shard,
        which: NDArray[np.int64],
        keys: Spans,
        place: NDArray[np.float64],
        origin: NDArray[np.int64],
        offset: NDArray[np.int64],
        until: NDArray[np.float64],
    ) -> None:
        if not len(which):
            return
        rows = shard.locate(keys.take(which))
        shard.touch(rows)
        values = batch.records.values.take(which)
        size = values.end - values.start
        column = np.arange(int(size.max()))
        within = column < size[:, None]
        text = np.zeros((len(size), len(column)), np.uint8)
        text[within] = values.data[(values.start[:, None] + column)[within]]
        shard.column("value")[rows, : len(column)] = text
        shard.column("size")[rows] = size
        for name, values_of in (("place", place), ("origin", origin), ("offset", offset), ("at", batch.offsets)):
            shard.column(name)[rows] = values_of[which]
        shard.column("until")[rows], shard.column("stamped_ms")[rows] = (
            until[which],
            batch.records.timestamps_ms[which],
        )
        shard.column("_ts")[rows] = _KEPT

    @staticmethod
    def _joined(
        batch: Batch,
        shard: Shard,
        released: NDArray[np.int64],
        goes: NDArray[np.int64],
        place: NDArray[np.float64],
        origin: NDArray[np.int64],
        offset: NDArray[np.int64],
    ) -> tuple[Batch, NDArray[np.int64], NDArray[np.int64]]:
        """Rows that waited and records of the batch, as one batch in order."""
        fresh = batch.only(goes)
        places = np.concatenate([shard.column("place")[released], place[goes]])
        origins = np.concatenate([shard.column("origin")[released], origin[goes]])
        offsets = np.concatenate([shard.column("offset")[released], offset[goes]])
        order = np.lexsort((offsets, origins, places))
        if not len(released):
            return fresh.only(order), origins[order], offsets[order]
        text = shard.column("value")[released]
        start = np.arange(len(released), dtype=np.int64) * HELD_BYTES
        held = Spans(text.ravel(), start, start + shard.column("size")[released])
        records = batch.records
        nothing = np.full(len(released), -1, np.int64)
        none = Spans(np.zeros(0, np.uint8), nothing, nothing)
        joined = RecordBatch(
            records.topic, records.partition, np.concatenate([shard.column("at")[released], fresh.offsets]),
            np.concatenate([shard.column("stamped_ms")[released], fresh.records.timestamps_ms]),
            Spans.joined([none, fresh.records.keys]), Spans.joined([held, fresh.records.values]),
            records.fetch_offset, records.next_offset, Spans.joined([none, fresh.records.header_spans]),
            records.received_s, records.seek,
        )  # fmt: skip
        columns = batch.topic.decode(joined.values)
        whole = Batch(batch.topic, joined, columns, batch.outgoing, batch.rejected)
        return whole.only(order), origins[order], offsets[order]

    @staticmethod
    def _let_go(shard: Shard, rows: NDArray[np.int64]) -> None:
        if len(rows):
            shard.touch(rows)
            shard.column("_ts")[rows] = _GONE


def _keys(origin: NDArray[np.int64], offset: NDArray[np.int64]) -> Spans:
    """A key for each origin."""
    data = np.stack([origin, offset], axis=1).astype("<i8").view(np.uint8)
    start = np.arange(len(origin), dtype=np.int64) * data.shape[1]
    return Spans(data.ravel(), start, start + data.shape[1])

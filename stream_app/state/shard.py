"""The state of one partition: a row a key, all rows one structured array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_app.errors import StateError
from stream_app.state import _shard_kernels as kernels
from stream_app.state.columns import Layout
from stream_app.state.index import KeyIndex
from stream_app.state.memory import RESERVE_BYTES, reserve
from topics.spans import Spans

__all__ = ["Shard"]

#: A changelog value is the schema id, little-endian, and then the row's bytes as they lie in memory.
SCHEMA_BYTES = 4

Rows = NDArray[np.int64]


class Shard:
    """Rows of one partition, changed in batches.

    Who changes a row calls `touch` (or `advance`) before: so the row reaches the changelog, and a batch that fails
    is undone. The features do it themselves; it is free the second time. A shard belongs to one thread at a time.
    """

    def __init__(self, layout: Layout, table: str = "table", partition: int = 0, reserve_bytes: int = RESERVE_BYTES):
        self.layout = layout
        self.table = table
        self.partition = partition
        self.index = KeyIndex()
        self._schema = np.frombuffer(layout.schema_id.to_bytes(SCHEMA_BYTES, "little"), np.uint8)
        self._take_memory(reserve(reserve_bytes))
        self._flags = np.zeros(64, np.uint8)
        self._dirty: list[Rows] = []
        self._tombstones: list[Spans] = []
        self._evict_at = 0
        self._savepoint: _Savepoint | None = None

    def __len__(self) -> int:
        """Keys held."""
        return len(self.index)

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use: rows ever used, index, flags."""
        return self.index.rows_used * self.layout.row_bytes + self.index.nbytes + self._flags.nbytes

    @property
    def dirty(self) -> int:
        """Rows and tombstones that wait for the changelog (a row that was evicted meanwhile may count twice)."""
        return sum(len(rows) for rows in self._dirty) + sum(len(keys) for keys in self._tombstones)

    def column(self, name: str) -> NDArray[Any]:
        """A view of one column, [capacity, …]; index it with rows. Take it after `locate`, and touch before writing."""
        try:
            return self._columns[name]
        except KeyError:
            raise StateError(
                f"table {self.table!r} has no column {name!r}; it has {', '.join(self._columns)}"
            ) from None

    # -- rows ---------------------------------------------------------------------------------------------------

    def locate(self, keys: Spans) -> Rows:
        """Row of each key, int64 [n]; absent keys get a row with initial values. Null keys: -1."""
        rows, new = self.index.insert(keys)
        if len(new):
            self._make_room()
            self._raw[new] = self.layout.initial
            saving = self._savepoint is not None
            self._flags[new] = kernels.LIVE | kernels.DIRTY | (kernels.NEW if saving else np.uint8(0))
            new = new.copy()
            self._dirty.append(new)
            if self._savepoint is not None:
                self._savepoint.inserted.append(new)
        return rows

    def find(self, keys: Spans) -> Rows:
        """Row of each key, int64 [n]; -1 where there is none."""
        return self.index.lookup(keys)

    def live_rows(self) -> Rows:
        """Every row held, int64 [rows], ascending."""
        return np.flatnonzero(self._flags[: self.index.rows_used] & kernels.LIVE)

    def fresh(self, rows: Rows, source: int, offsets: Rows) -> NDArray[np.bool_]:
        """Which events, bool [n], the rows have not seen: offset above the row's mark for that source.

        All are compared with the marks as they are now; false where the row is -1.
        """
        out = np.empty(len(rows), np.bool_)
        kernels.fresh(self._marks, rows, source, offsets, out)
        return out

    def advance(self, rows: Rows, source: int, offsets: Rows, ts: NDArray[np.float64]) -> None:
        """Notes that the events were applied: marks and last event times go up to the highest given."""
        self.touch(rows)
        kernels.advance(self._marks, self._last_ts, rows, source, offsets, ts)

    def admit(
        self, keys: Spans, source: int, offsets: Rows, ts: NDArray[np.float64]
    ) -> tuple[Rows, NDArray[np.bool_]]:  # fmt: skip
        """`locate`, `fresh` and `advance` in one: the row of each event, and which events are to be applied.

        An event that is not fresh was applied before a crash; what comes of it is published again, but it changes
        nothing.
        """
        rows = self.locate(keys)
        fresh = self.fresh(rows, source, offsets)
        if fresh.all():
            self.advance(rows, source, offsets, ts)
        else:
            self.advance(rows[fresh], source, offsets[fresh], ts[fresh])
        return rows, fresh

    def touch(self, rows: Rows) -> None:
        """Says that `rows` are about to change."""
        n = len(rows)
        dirty, saved, flags = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.uint8)
        savepoint = self._savepoint
        n_dirty, n_saved = kernels.touch(self._flags, rows, savepoint is not None, dirty, saved, flags)
        if n_dirty:
            self._dirty.append(dirty[:n_dirty].copy())
        if n_saved and savepoint is not None:
            changed = saved[:n_saved].copy()
            savepoint.changed.append((changed, flags[:n_saved].copy(), self._raw[changed]))

    # -- atomic batches -----------------------------------------------------------------------------------------

    def savepoint(self) -> None:
        """From here on everything can be undone, until `release` or `rollback`."""
        self._outside_savepoint("savepoint")
        self._savepoint = _Savepoint(len(self._dirty))

    def release(self) -> None:
        """Keeps what was done since the savepoint."""
        savepoint = self._end_savepoint("release")
        if not savepoint.changed and not savepoint.inserted:
            return
        keep = ~(kernels.SAVED | kernels.NEW)
        for rows, _, _ in savepoint.changed:
            self._flags[rows] &= keep
        for rows in savepoint.inserted:
            self._flags[rows] &= keep

    def rollback(self) -> None:
        """Undoes what was done since the savepoint: bytes of rows, keys inserted, what waits for the changelog."""
        savepoint = self._end_savepoint("rollback")
        for rows, flags, raw in savepoint.changed:
            self._raw[rows] = raw
            self._flags[rows] = flags
        for rows in savepoint.inserted:
            self._flags[rows] = 0
            self.index.remove(rows)
        del self._dirty[savepoint.dirty_chunks :]

    def _outside_savepoint(self, what: str) -> None:
        if self._savepoint is not None:
            raise StateError(f"table {self.table!r}, partition {self.partition}: {what}() inside a savepoint")

    def _end_savepoint(self, what: str) -> _Savepoint:
        savepoint, self._savepoint = self._savepoint, None
        if savepoint is None:
            raise StateError(f"table {self.table!r}, partition {self.partition}: {what}() without savepoint()")
        return savepoint

    # -- changelog ----------------------------------------------------------------------------------------------

    def drain_dirty(self) -> tuple[Spans, Spans]:
        """Keys and changelog values of what changed since the last drain: each row once, null for evicted ones.

        A copy: the rows may change at once. If the values do not reach the changelog, give both to `restore_dirty`.
        """
        self._outside_savepoint("drain_dirty")
        rows = np.concatenate(self._dirty) if self._dirty else np.empty(0, np.int64)
        rows = rows[: kernels.gather_dirty(self._flags, rows)]
        self._dirty = []
        width = SCHEMA_BYTES + self.layout.row_bytes
        values = np.empty((len(rows), width), np.uint8)
        kernels.write_values(self._raw, rows, self._schema, values)
        start = np.arange(len(rows), dtype=np.int64) * width
        gone, self._tombstones = self._tombstones, []
        # A key that came back after it was evicted has a value, or has one in the changelog already.
        gone = [keys.take(self.find(keys) < 0) for keys in gone]
        nulls = np.full(sum(len(keys) for keys in gone), -1, np.int64)
        keys = _concatenate([self.index.keys(rows), *gone])
        return keys, Spans(values.ravel(), np.r_[start, nulls], np.r_[start + width, nulls])

    def restore_dirty(self, keys: Spans, values: Spans) -> None:
        """Takes back what `drain_dirty` gave: it has not reached the changelog."""
        self._outside_savepoint("restore_dirty")
        null = values.start < 0
        rows = self.find(keys.take(~null))
        self.touch(rows)  # a row that was evicted meanwhile has left a tombstone
        if null.any():
            self._tombstones.append(keys.take(null))

    def write_again(self, keys: Spans) -> None:
        """Have the rows of `keys` go to the changelog as they are now, a tombstone where there is none."""
        self._outside_savepoint("write_again")
        rows = self.find(keys)
        self.touch(rows[rows >= 0])
        if (rows < 0).any():
            self._tombstones.append(keys.take(rows < 0))

    def apply(self, keys: Spans, values: Spans) -> None:
        """Takes over a batch of the changelog: the last value of a key counts, null removes it.

        StateError, before anything is changed, if the values were written with other columns.
        """
        self._outside_savepoint("apply")
        self._check_schema(values)
        rows, _ = self.index.insert(keys)
        self._make_room()
        kernels.apply_rows(self._raw, self._flags, rows, _read_only(values.data), values.start, SCHEMA_BYTES)
        removed = rows[values.start < 0]
        removed = np.unique(removed[(removed >= 0) & (self._flags[removed] == 0)])
        self.index.remove(removed)

    def _check_schema(self, values: Spans) -> None:
        held = values.start >= 0
        start = values.start[held]
        right_size = values.end[held] - start == SCHEMA_BYTES + self.layout.row_bytes
        if right_size.all():
            ids = values.data[start[:, None] + np.arange(SCHEMA_BYTES)].view("<u4")
            if (ids == self.layout.schema_id).all():
                return
        raise StateError(
            f"the changelog of table {self.table!r} (partition {self.partition}) was written with other columns, "
            f"sources or window sizes than declared now ({self.layout.description}). Declare them as they were, or "
            f"give the table a new name to begin afresh, or delete its changelog topic"
        )

    # -- eviction -----------------------------------------------------------------------------------------------

    def evict(self, before_ts: float, scan: int | None = None) -> int:
        """Removes rows whose last event is before `before_ts`, leaving a tombstone each; returns how many.

        scan: look at so many rows only and go on from there the next time, so that no call takes long.
        """
        self._outside_savepoint("evict")
        used = self.index.rows_used
        first = 0 if scan is None or self._evict_at >= used else self._evict_at
        last = used if scan is None else min(used, first + scan)
        self._evict_at = last
        out = np.empty(last - first, np.int64)
        rows = out[: kernels.expired(self._flags, self._last_ts, first, last, before_ts, out)]
        if len(rows):
            self._tombstones.append(self.index.keys(rows))
            self._flags[rows] = 0
            self.index.remove(rows)
        return len(rows)

    # -- memory -------------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Rows and flags for every row that the index has given out."""
        used = self.index.rows_used
        if used > len(self._flags):
            flags = np.zeros(max(used, len(self._flags) * 3 // 2), np.uint8)
            flags[: len(self._flags)] = self._flags
            self._flags = flags
        if used > len(self._rows):
            needed = used * self.layout.row_bytes
            larger = reserve(2 * needed, needed)
            larger[: self._raw.size] = self._raw.ravel()
            self._take_memory(larger)

    def _take_memory(self, memory: NDArray[np.uint8]) -> None:
        width = self.layout.row_bytes
        capacity = len(memory) // width
        self._raw = memory[: capacity * width].reshape(capacity, width)
        self._rows = self._raw.reshape(-1).view(self.layout.dtype)
        self._columns = {name: self._rows[name] for name in self.layout.dtype.names or ()}
        self._marks = self._columns["_mark"]
        self._last_ts = self._columns["_ts"]


class _Savepoint:
    """What a rollback needs."""

    def __init__(self, dirty_chunks: int) -> None:
        self.dirty_chunks = dirty_chunks
        self.inserted: list[Rows] = []
        self.changed: list[tuple[Rows, NDArray[np.uint8], NDArray[np.uint8]]] = []


def _concatenate(parts: list[Spans]) -> Spans:
    """One column of strings out of several, none of them null."""
    shifts = np.cumsum([0] + [len(part.data) for part in parts[:-1]])
    start = np.concatenate([part.start + shift for part, shift in zip(parts, shifts, strict=True)])
    end = np.concatenate([part.end + shift for part, shift in zip(parts, shifts, strict=True)])
    return Spans(np.concatenate([part.data for part in parts]), start, end)


def _read_only(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    view = data.view()
    view.flags.writeable = False
    return view

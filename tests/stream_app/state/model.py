"""What a shard is supposed to be: a dict of Python objects. The oracle of the property tests."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np

from stream_app.state import Column, Columns, Layout, Ring, TumblingCounts

WINDOWS = TumblingCounts(10, windows=3)
RECENT = Ring(3, item=np.int32, ts=np.float64)
COLUMNS = Columns(WINDOWS, RECENT, hidden=Column(np.float32, (2,), 0.5))
LAYOUT = Layout(COLUMNS, ("clicks", "purchases"))


@dataclass
class Row:
    marks: list[int] = field(default_factory=lambda: [-1, -1])
    ts: float = -np.inf
    windows: dict[int, int] = field(default_factory=dict)
    recent: list[tuple[int, float]] = field(default_factory=list)
    hidden: list[float] = field(default_factory=lambda: [0.5, 0.5])


class Model:
    """Rows by key; `changelog` is what a compacted topic would hold once everything dirty is written."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}
        self.dirty: set[bytes] = set()
        self.gone: set[bytes] = set()
        self._saved: tuple[dict[bytes, Row], set[bytes]] | None = None

    def row(self, key: bytes) -> Row:
        if key not in self.rows:
            self.rows[key] = Row()
            self.dirty.add(key)
        return self.rows[key]

    def click(self, key: bytes, offset: int, ts: float, item: int) -> None:
        """One event: a click counted, remembered and written into the plain column."""
        row = self.row(key)
        self.dirty.add(key)
        row.marks[0] = max(row.marks[0], offset)
        row.ts = max(row.ts, ts)
        window = int(ts // 10)
        newest = max(row.windows, default=window)
        if window > newest - 3:
            newest = max(newest, window)
            row.windows[window] = row.windows.get(window, 0) + 1
            row.windows = {w: c for w, c in row.windows.items() if w > newest - 3}
        row.recent = [*row.recent, (item, ts)][-3:]
        row.hidden = [float(item), ts]

    def savepoint(self) -> None:
        self._saved = copy.deepcopy((self.rows, self.dirty))

    def rollback(self) -> None:
        assert self._saved is not None
        self.rows, self.dirty = self._saved
        self._saved = None

    def release(self) -> None:
        self._saved = None

    def evict(self, before: float) -> int:
        idle = [key for key, row in self.rows.items() if row.ts < before]
        for key in idle:
            del self.rows[key]
            self.dirty.discard(key)
            self.gone.add(key)
        return len(idle)

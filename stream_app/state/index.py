"""From keys to dense row numbers: the one lookup that every keyed event costs."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from stream_app.errors import StateError
from stream_app.state import _index_kernels as kernels
from topics.spans import Spans

__all__ = ["KeyIndex"]

#: Bytes of removed keys in the arena before it is worth moving the others together.
COMPACT_BYTES = 1 << 16


class KeyIndex:
    """A hash table from byte strings to rows 0, 1, 2, …; rows of removed keys are given out again.

    The keys are copied into one buffer, the arena. The hash is seeded a process, so that ids chosen by a stranger
    cannot pile up in one place; row numbers do not depend on it.
    """

    def __init__(self, capacity: int = 64) -> None:
        slots = 1 << max(4, int(capacity / 0.7)).bit_length()
        self._slots = np.zeros(slots, np.uint64)
        self._places = np.zeros(max(16, capacity), np.int64)
        self._arena = np.empty(max(256, 16 * capacity), np.uint8)
        self._meta = np.zeros(kernels.META_SIZE, np.int64)
        self._meta[kernels.FREE] = -1
        self._seed = np.uint64(int.from_bytes(os.urandom(8), "little"))

    def __len__(self) -> int:
        """Keys held."""
        return int(self._meta[kernels.LIVE])

    @property
    def rows_used(self) -> int:
        """One more than the highest row ever given out."""
        return int(self._meta[kernels.NEXT_ROW])

    @property
    def nbytes(self) -> int:
        """Bytes of the table, the places and the arena, at their capacity."""
        return int(self._slots.nbytes + self._places.nbytes + self._arena.nbytes)

    def lookup(self, keys: Spans, insert: bool = False) -> NDArray[np.int64]:
        """Row of each key, int64 [n]; -1 for null keys, and for absent ones unless `insert`."""
        if insert:
            return self.insert(keys)[0]
        rows = np.empty(len(keys), np.int64)
        data, tags = self._tags(keys)
        kernels.find_many(self._slots, self._places, self._arena, data, keys.start, keys.end, tags, rows)
        return rows

    def insert(self, keys: Spans) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row of each key, int64 [n], absent keys given a row; and the rows given, in that order.

        StateError if a key is longer than 16 MB: nothing is inserted then.
        """
        n = len(keys)
        sizes = keys.end - keys.start
        if n and int(sizes.max()) > kernels.MAX_KEY_BYTES:
            raise StateError(f"a key of {int(sizes.max()):,} bytes: keys of a table have at most 16 MB")
        rows, new = np.empty(n, np.int64), np.empty(n, np.int64)
        data, tags = self._tags(keys)
        done = n_new = 0
        while True:
            done, n_new = kernels.insert_many(
                self._slots, self._places, self._arena, self._meta, data, keys.start, keys.end, tags, done,
                rows, new, n_new,
            )  # fmt: skip
            if done == n:
                return rows, new[:n_new]
            self._make_room(int(sizes[done]))

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Forgets the keys at `rows`; their row numbers are given out again."""
        kernels.remove_many(self._slots, self._places, self._arena, self._meta, self._seed, rows)
        dead = int(self._meta[kernels.ARENA_DEAD])
        if dead > COMPACT_BYTES and 2 * dead > int(self._meta[kernels.ARENA_USED]):
            self._compact(0)

    def key(self, row: int) -> bytes:
        """The key at `row`, which must be held."""
        return self.keys(np.array([row], np.int64))[0] or b""

    def keys(self, rows: NDArray[np.int64]) -> Spans:
        """The keys at `rows`, which must be held, copied."""
        start, end = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        data = np.empty(int((self._places[rows] & kernels.MAX_KEY_BYTES).sum()), np.uint8)
        kernels.gather(self._places, self._arena, rows, start, end, data)
        return Spans(data, start, end)

    def _tags(self, keys: Spans) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
        """The keys' buffer, and 32 bits of hash of each that is not null."""
        data, tags = _read_only(keys.data), np.empty(len(keys), np.uint64)
        kernels.tag_many(data, keys.start, keys.end, self._seed, tags)
        return data, tags

    def _make_room(self, size: int) -> None:
        """Enlarges what is full, so that one more key of `size` bytes fits."""
        meta = self._meta
        if meta[kernels.LIVE] >= int(self._slots.size * 0.7):
            larger = np.zeros(2 * self._slots.size, np.uint64)
            kernels.rebuild(self._slots, larger)
            self._slots = larger
        if meta[kernels.FREE] < 0 and meta[kernels.NEXT_ROW] >= self._places.size:
            self._places = _enlarged(self._places, self._places.size * 3 // 2)
        if meta[kernels.ARENA_USED] + size > self._arena.size:
            self._compact(size)

    def _compact(self, size: int) -> None:
        """Moves the keys together and leaves room for half as much again and `size` bytes more."""
        held = int(self._meta[kernels.ARENA_USED] - self._meta[kernels.ARENA_DEAD])
        arena = np.empty(max(256, held * 3 // 2 + size), np.uint8)
        self._meta[kernels.ARENA_USED] = kernels.compact(self._places, self.rows_used, self._arena, arena)
        self._meta[kernels.ARENA_DEAD] = 0
        self._arena = arena


def _enlarged(array: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    larger = np.zeros(size, array.dtype)
    larger[: array.size] = array
    return larger


def _read_only(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A view that cannot be written: so the kernels are compiled once, not again for fetched buffers and for ours."""
    view = data.view()
    view.flags.writeable = False
    return view

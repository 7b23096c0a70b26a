"""The loops of a shard that numpy has no single call for. Rows that are -1 (null keys) are passed over everywhere."""
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import numpy as np
from numba import njit

from stream_app.kernels import releasing

__all__ = [
    "DIRTY",
    "LIVE",
    "NEW",
    "SAVED",
    "advance",
    "apply_rows",
    "expired",
    "fresh",
    "gather_dirty",
    "touch",
    "write_values",
]

#: Flags of a row: it holds a key; the changelog has not got its latest bytes; its bytes from before the savepoint are
#: saved; it was inserted since the savepoint.
LIVE, DIRTY, SAVED, NEW = np.uint8(1), np.uint8(2), np.uint8(4), np.uint8(8)


@releasing(lambda *args: len(args[1]))
def fresh(marks, rows, source, offsets, out):
    """out[i] = offset i is above what row i had of that source."""
    for i in range(rows.size):
        out[i] = rows[i] >= 0 and offsets[i] > marks[rows[i], source]


@releasing(lambda *args: len(args[2]))
def advance(marks, last_ts, rows, source, offsets, ts):
    """Raises mark and time of each row to the highest given."""
    for i in range(rows.size):
        row = rows[i]
        if row >= 0:
            marks[row, source] = max(marks[row, source], offsets[i])
            if ts[i] > last_ts[row]:  # false for a time that is not a number
                last_ts[row] = ts[i]


@releasing(lambda *args: len(args[1]))
def touch(flags, rows, saving, dirty, saved, saved_flags):
    """Flags rows as dirty, and inside a savepoint as saved.

    Returns how many rows became dirty (in `dirty`), and how many need their bytes saved (in `saved`, with the flags
    they had).
    """
    n_dirty = n_saved = 0
    for i in range(rows.size):
        row = rows[i]
        if row < 0:
            continue
        flag = flags[row]
        if saving and not flag & (SAVED | NEW):
            saved[n_saved] = row
            saved_flags[n_saved] = flag
            n_saved += 1
            flag |= SAVED
        if not flag & DIRTY:
            dirty[n_dirty] = row
            n_dirty += 1
            flag |= DIRTY
        flags[row] = flag
    return n_dirty, n_saved


@njit(cache=True, nogil=True)
def gather_dirty(flags, rows):
    """Clears the dirty flag of `rows` and moves those that had it to the front; returns how many."""
    n = 0
    for i in range(rows.size):
        row = rows[i]
        if flags[row] & DIRTY:
            flags[row] &= ~DIRTY
            rows[n] = row
            n += 1
    return n


@njit(cache=True, nogil=True)
def write_values(raw, rows, head, out):
    """out[i] = `head`, then the bytes of row i: uint8 [n, len(head) + bytes of a row]."""
    skip, width = head.size, raw.shape[1]
    for i in range(rows.size):
        row = rows[i]
        for k in range(skip):
            out[i, k] = head[k]
        for k in range(width):
            out[i, skip + k] = raw[row, k]


@njit(cache=True, nogil=True)
def apply_rows(raw, flags, rows, data, start, skip):
    """In order: copies the bytes at start[i] + skip to row i, or, where start[i] < 0, flags the row as free."""
    width = raw.shape[1]
    for i in range(rows.size):
        row = rows[i]
        if row < 0:
            continue
        if start[i] < 0:
            flags[row] = 0
            continue
        begin = start[i] + skip
        for k in range(width):
            raw[row, k] = data[begin + k]
        flags[row] = LIVE


@njit(cache=True, nogil=True)
def expired(flags, last_ts, first, last, before, out):
    """Rows in [first, last) that hold a key and had no event since `before`; returns how many."""
    n = 0
    for row in range(first, last):
        if flags[row] & LIVE and last_ts[row] < before:
            out[n] = row
            n += 1
    return n

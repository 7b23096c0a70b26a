"""Kernels of bucketed windows: a row has the number of its newest bucket and a ring with the sums of the last ones."""
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import numpy as np
from numba import njit

from stream_app.kernels import releasing

__all__ = ["EMPTY", "add_at", "add_decayed", "read_decayed", "window_sum"]

#: Number of the newest bucket of a row that has none.
EMPTY = -(2**62)

#: Beyond this a time is no time: bucket numbers of any width stay exact integers.
_LARGEST_BUCKET = 2.0**53


@njit(inline="always")
def _bucket(ts, width):
    """Number of the bucket that holds `ts`; EMPTY where it is not a time."""
    number = np.floor(ts / width)
    if not abs(number) < _LARGEST_BUCKET:
        return np.int64(EMPTY)
    return np.int64(number)


@releasing(lambda *args: len(args[2]))
def add_at(newest, ring, rows, ts, width, weights, step, sliding, out, bucket_out, late):
    """Adds weight i (weights[i * step]) to the bucket of ts[i] in row i, in order.

    out[i]: the bucket after it, or if `sliding` the sum of the ring's buckets up to it. late[i]: the bucket has left
    the ring, the time is none, or the row is -1: nothing was added; out[i] = 0.
    """
    n = ring.shape[1]
    for i in range(rows.size):
        row = rows[i]
        bucket = _bucket(ts[i], width)
        bucket_out[i] = bucket
        if row < 0 or bucket == EMPTY or bucket <= newest[row] - n:
            late[i] = True
            out[i] = 0
            continue
        late[i] = False
        ahead = bucket - newest[row]
        if ahead > 0:
            if ahead >= n:
                for k in range(n):
                    ring[row, k] = 0
            else:
                for b in range(newest[row] + 1, bucket + 1):
                    ring[row, b % n] = 0
            newest[row] = bucket
        slot = bucket % n
        ring[row, slot] += weights[i * step]
        if sliding:
            total = out[i]
            total = 0
            for b in range(newest[row] - n + 1, bucket + 1):
                total += ring[row, b % n]
            out[i] = total
        else:
            out[i] = ring[row, slot]


@releasing(lambda *args: len(args[2]))
def window_sum(newest, ring, rows, ts, width, first, out):
    """Sum of the buckets b - first … b that the ring holds, where b is the bucket of ts[i]."""
    n = ring.shape[1]
    for i in range(rows.size):
        out[i] = 0
        row = rows[i]
        bucket = _bucket(ts[i], width)
        if row < 0 or bucket == EMPTY or newest[row] == EMPTY:
            continue
        for b in range(max(bucket - first, newest[row] - n + 1), min(bucket, newest[row]) + 1):
            out[i] += ring[row, b % n]


@releasing(lambda *args: len(args[2]))
def add_decayed(value, at, rows, ts, half_life, weights, step, out, late):
    """Adds weight i at time ts[i] to a decayed sum, in order; out[i] = the sum at the row's newest time."""
    for i in range(rows.size):
        row = rows[i]
        late[i] = row < 0 or not np.isfinite(ts[i])
        if late[i]:
            out[i] = 0.0
            continue
        weight = weights[i * step]
        if ts[i] >= at[row]:
            value[row] = value[row] * 2.0 ** ((at[row] - ts[i]) / half_life) + weight
            at[row] = ts[i]
        else:
            value[row] += weight * 2.0 ** ((ts[i] - at[row]) / half_life)
        out[i] = value[row]


@releasing(lambda *args: len(args[2]))
def read_decayed(value, at, rows, ts, half_life, out):
    """The sums at ts[i], or at the row's newest time if that is later."""
    for i in range(rows.size):
        row = rows[i]
        out[i] = 0.0 if row < 0 else value[row] * 2.0 ** (min(0.0, at[row] - ts[i]) / half_life)

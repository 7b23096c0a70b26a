"""Windows over event time, a few columns each: tumbling counts, sliding sums, decayed sums.

All take events in the order they came and by their own times, in any order of time; events of one row in a batch count
one after another. Weights are numbers or an array [n]. No clock is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from stream_app.errors import StateError
from stream_app.state import _window_kernels as kernels
from stream_app.state.columns import Column
from stream_app.state.shard import Rows, Shard

__all__ = ["Added", "DecayedSum", "SlidingCounts", "TumblingCounts"]

Times = NDArray[np.float64]
Weights = float | NDArray[Any]


class Added(NamedTuple):
    """What adding events gave, an entry an event.

    counts: the window after the event, [n] int64 (float64 where the column is a float); 0 where late.
    window_start: start of the event's window in seconds, float64 [n]. late: bool [n], true where nothing was added.
    """

    counts: NDArray[Any]
    window_start: Times
    late: NDArray[np.bool_]


@dataclass(frozen=True)
class TumblingCounts:
    """Counts (or sums of weights) in windows [k * width_s, (k + 1) * width_s), the newest `windows` of a row kept.

    An event of an older window is late. A row takes 8 + windows * itemsize(dtype) bytes.

    >>> counts, window_start, late = TumblingCounts(300, windows=12).add(shard, rows, ts)
    """

    width_s: float
    windows: int
    dtype: DTypeLike = np.uint32
    name: str = "tumbling"

    def __post_init__(self) -> None:
        _check(self.name, self.width_s, self.windows)

    def columns(self) -> Mapping[str, Column]:
        return {"newest": Column(np.int64, initial=kernels.EMPTY), "ring": Column(self.dtype, (self.windows,))}

    def describe(self) -> str:
        return f"tumbling {float(self.width_s)!r} s, {self.windows} windows of {np.dtype(self.dtype).str}"

    def add(self, shard: Shard, rows: Rows, ts: Times, weights: Weights = 1) -> Added:
        """Adds event i with weight i to its window in row i."""
        return _add(self.name, shard, rows, ts, self.width_s, weights, sliding=False)

    def value(self, shard: Shard, rows: Rows, at_ts: Times) -> NDArray[Any]:
        """What is in the window that holds at_ts[i], [n]; 0 where it is not held (any more)."""
        return _sum(self.name, shard, rows, at_ts, self.width_s, 0)

    def last(self, shard: Shard, rows: Rows, at_ts: Times) -> NDArray[Any]:
        """The `windows` windows up to the one that holds at_ts[i], oldest first, [n, windows]."""
        back = np.arange(self.windows - 1, -1, -1) * self.width_s
        return np.stack([self.value(shard, rows, at_ts - lag) for lag in back], axis=1)

    def read(self, shard: Shard, row: int) -> dict[float, float]:
        """Start of window -> count, oldest first, windows with nothing left out."""
        return _read_buckets(self.name, shard, row, self.width_s)


@dataclass(frozen=True)
class SlidingCounts:
    """Counts (or sums of weights) of the last `width_s` seconds, in `buckets` buckets.

    The sum at time t is that of the bucket of t and the buckets - 1 before: of the last width_s seconds less at most
    one bucket. Events older than width_s before a row's newest are late.
    """

    width_s: float
    buckets: int
    dtype: DTypeLike = np.uint32
    name: str = "sliding"

    def __post_init__(self) -> None:
        _check(self.name, self.width_s, self.buckets)

    @property
    def bucket_s(self) -> float:
        """Width of one bucket in seconds."""
        return self.width_s / self.buckets

    def columns(self) -> Mapping[str, Column]:
        return {"newest": Column(np.int64, initial=kernels.EMPTY), "ring": Column(self.dtype, (self.buckets,))}

    def describe(self) -> str:
        return f"sliding {float(self.width_s)!r} s, {self.buckets} buckets of {np.dtype(self.dtype).str}"

    def add(self, shard: Shard, rows: Rows, ts: Times, weights: Weights = 1) -> Added:
        """Adds event i to its bucket; counts[i] is the sum at ts[i] (of what the ring still holds, if it came late)."""
        return _add(self.name, shard, rows, ts, self.bucket_s, weights, sliding=True)

    def value(self, shard: Shard, rows: Rows, at_ts: Times) -> NDArray[Any]:
        """The sums at at_ts[i], [n]; buckets before the newest `buckets` of the row are gone."""
        return _sum(self.name, shard, rows, at_ts, self.bucket_s, self.buckets - 1)

    def read(self, shard: Shard, row: int) -> dict[float, float]:
        """Start of bucket -> sum, oldest first, empty buckets left out."""
        return _read_buckets(self.name, shard, row, self.bucket_s)


@dataclass(frozen=True)
class DecayedSum:
    """A sum in which a weight w counts w * 2^(-age / half_life_s): 16 bytes a row, no event is ever late.

    The order of events does not matter, but for rounding.
    """

    half_life_s: float
    name: str = "decayed"

    def __post_init__(self) -> None:
        _check(self.name, self.half_life_s, 1)

    def columns(self) -> Mapping[str, Column]:
        return {"value": Column(np.float64), "at": Column(np.float64, initial=-np.inf)}

    def describe(self) -> str:
        return f"decayed, half-life {float(self.half_life_s)!r} s"

    def add(self, shard: Shard, rows: Rows, ts: Times, weights: Weights = 1) -> NDArray[np.float64]:
        """Adds event i; returns the sum after it, as of the row's newest time, float64 [n] (0 where ts is no time)."""
        shard.touch(rows)
        out, late = np.empty(len(rows)), np.empty(len(rows), np.bool_)
        given, step = _weights(weights, len(rows))
        kernels.add_decayed(*self._columns(shard), rows, _times(ts), float(self.half_life_s), given, step, out, late)
        return out

    def value(self, shard: Shard, rows: Rows, at_ts: Times) -> NDArray[np.float64]:
        """The sum at at_ts[i], or at the row's newest time if that is later, float64 [n]."""
        out = np.empty(len(rows))
        kernels.read_decayed(*self._columns(shard), rows, _times(at_ts), float(self.half_life_s), out)
        return out

    def read(self, shard: Shard, row: int) -> dict[str, float]:
        """The sum and the time it is of."""
        value, at = self._columns(shard)
        return {"value": float(value[row]), "at": float(at[row])}

    def _columns(self, shard: Shard) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return shard.column(f"{self.name}.value"), shard.column(f"{self.name}.at")


def _check(name: str, width_s: float, parts: int) -> None:
    if not 0 < width_s < float("inf") or parts < 1:
        raise StateError(
            f"window {name!r}: width and number of parts must be above zero, not {width_s!r} and {parts!r}"
        )


def _times(ts: NDArray[Any]) -> Times:
    """Contiguous float64, so that the kernels are compiled once."""
    return np.ascontiguousarray(ts, np.float64)


def _weights(weights: Weights, n: int) -> tuple[NDArray[np.float64], int]:
    """The weights as an array, and how far to go in it from one event to the next."""
    given = np.atleast_1d(np.asarray(weights, np.float64))
    if given.size not in (1, n):
        raise StateError(f"{given.size} weights for {n} events")
    return given, 0 if given.size == 1 else 1


def _out(ring: NDArray[Any], n: int) -> NDArray[Any]:
    return np.empty(n, np.float64 if ring.dtype.kind == "f" else np.int64)


def _add(
    name: str, shard: Shard, rows: Rows, ts: Times, width: float, weights: Weights, *, sliding: bool
) -> Added:  # fmt: skip
    shard.touch(rows)
    newest, ring = shard.column(f"{name}.newest"), shard.column(f"{name}.ring")
    n = len(rows)
    given, step = _weights(weights, n)
    counts, bucket, late = _out(ring, n), np.empty(n, np.int64), np.empty(n, np.bool_)
    kernels.add_at(newest, ring, rows, _times(ts), float(width), given, step, sliding, counts, bucket, late)
    return Added(counts, bucket.astype(np.float64) * width, late)


def _sum(name: str, shard: Shard, rows: Rows, at_ts: Times, width: float, first: int) -> NDArray[Any]:
    newest, ring = shard.column(f"{name}.newest"), shard.column(f"{name}.ring")
    out = _out(ring, len(rows))
    kernels.window_sum(newest, ring, rows, _times(at_ts), float(width), first, out)
    return out


def _read_buckets(name: str, shard: Shard, row: int, width: float) -> dict[float, float]:
    newest, ring = int(shard.column(f"{name}.newest")[row]), shard.column(f"{name}.ring")[row]
    if newest == kernels.EMPTY:
        return {}
    numbers = range(newest - len(ring) + 1, newest + 1)
    return {b * width: ring[b % len(ring)].item() for b in numbers if ring[b % len(ring)]}

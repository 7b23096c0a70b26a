"""Time between events as a model sees it: logarithmic buckets, and clocks that survive float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsrec_models.preparation.log import Log

__all__ = [
    "CLOCK_WIDTH",
    "NO_INTERVAL",
    "N_BUCKETS",
    "interval_buckets",
    "intervals_vary",
    "pack_clock",
    "unpack_clock",
]

#: Bucket of "no interval": a user's first event, or a query whose time is not given.
NO_INTERVAL = 0

#: Bucket b >= 1 holds intervals from 2^(b-1) - 1 to 2^b - 1 seconds; the last, 2^30 s, is 34 years.
N_BUCKETS = 32

#: Columns of the state that hold the time of the last event: whole days, and seconds of the day.
#: One float32 cannot tell two events two minutes apart in 2025; a pair is exact to 8 ms.
CLOCK_WIDTH = 2

_DAY_S = 86400.0

#: Intervals vary, and are worth a network's attention, where no single bucket holds more than this share of them.
_CONSTANT_SHARE = 0.99


def interval_buckets(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bucket of each interval in seconds, any shape; NaN is NO_INTERVAL, negative counts as zero."""
    known = ~np.isnan(seconds)
    clipped = np.clip(np.where(known, seconds, 0.0), 0.0, 2.0**30 - 1.5)
    # frexp is exact at powers of two, where a logarithm may round either way.
    exponent = np.frexp(1.0 + clipped)[1]
    return np.where(known, exponent, NO_INTERVAL).astype(np.int64)


def intervals_vary(log: Log) -> bool:
    """Whether the intervals between the events of a user differ enough to learn from."""
    if not log.has_times or len(log) < 2:
        return False
    intervals = np.diff(log.times)[log.users[1:] == log.users[:-1]]
    if not len(intervals):
        return False
    counts = np.bincount(interval_buckets(intervals))
    return bool(counts.max() < _CONSTANT_SHARE * len(intervals))


def pack_clock(times: NDArray[np.float64]) -> NDArray[np.float32]:
    """Epoch seconds [n] as clock columns [n, 2]; NaN (no event yet) is day -1."""
    days = np.floor(times / _DAY_S)
    clock = np.stack([days, times - days * _DAY_S], axis=1).astype(np.float32)
    clock[np.isnan(times)] = (-1.0, 0.0)
    return clock


def unpack_clock(clock: NDArray[np.float32]) -> NDArray[np.float64]:
    """Epoch seconds [n] of clock columns [n, 2]; day -1 is NaN."""
    times = clock[:, 0].astype(np.float64) * _DAY_S + clock[:, 1].astype(np.float64)
    return np.where(clock[:, 0] < 0, np.nan, times)

"""What models of bars found out, bar by bar; and where a symbol's bars stand in a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BarOutcome", "occurrences", "running_counts"]


@dataclass(frozen=True)
class BarOutcome:
    """Of each bar taken, [n]: what its return was measured against, and what is said of the next one; NaN: not yet.

    Returns, sigma and risks are of log returns and fractions of the price. `at` is the bar's place in the batch.
    """

    at: NDArray[np.int64]
    rows: NDArray[np.int64]
    returns: NDArray[np.float64]
    z: NDArray[np.float64]
    sigma: NDArray[np.float64]
    held: NDArray[np.float64]
    var_before: NDArray[np.float64]  #: [n, levels], as forecast for this bar's return
    es_before: NDArray[np.float64]
    mean: NDArray[np.float64]  #: of the next log return
    half_width: NDArray[np.float64]  #: of its interval
    volatility: NDArray[np.float64]
    var: NDArray[np.float64]  #: [n, levels]
    es: NDArray[np.float64]
    evidence: NDArray[np.float64]  #: that value at risk is understated: mean number of bars to a false alarm
    news: NDArray[np.float64]  #: the return as the volatility takes it: at most eight of its standard deviations

    def __len__(self) -> int:
        return len(self.at)


def occurrences(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How often each row came before in the batch, and where it came last (-1: not before): both [n]."""
    n = len(rows)
    order = np.argsort(rows, kind="stable")
    place, before = np.zeros(n, np.int64), np.full(n, -1, np.int64)
    if n:
        ordered = rows[order]
        start = _starts(ordered)
        first = np.maximum.accumulate(np.where(start, np.arange(n), 0))
        place[order] = np.arange(n) - first
        again = np.flatnonzero(~start)
        before[order[again]] = order[again - 1]
    return place, before


def running_counts(rows: NDArray[np.int64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How many of a row's values were seen up to and with each, [n]."""
    order = np.argsort(rows, kind="stable")
    total = np.cumsum(seen[order])
    out = np.empty(len(rows))
    if len(rows):
        ordered = rows[order]
        start = _starts(ordered)
        base = np.where(start, total - seen[order], 0)
        out[order] = total - np.maximum.accumulate(base)
    return out


def _starts(ordered: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where a new value begins in an ascending array, [n]."""
    start = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=start[1:])
    return start

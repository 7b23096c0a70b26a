"""Change points of many series, O(1) a value, with a stated mean time between false alarms and no distribution assumed.

Each value gets a conformal p-value: its rank among the values since the last change. While values are exchangeable
the p-values are independent and uniform; bets on their drifting up, down, outwards or inwards then win nothing on
average, and the Shiryaev-Roberts sum of their winnings first reaches c after c values or later in the mean (Vovk,
Nouretdinov and Gammerman 2021; Shin, Ramdas and Rinaldo 2024). Level and spread are watched together. Prices and other
series that remember their last value are not exchangeable: give it their returns, or the innovations of a model.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.base import ModelError

__all__ = ["ChangePoints"]

_N, _MEAN, _SQUARES, _HEADER = 0, 1, 2, 3
_BINS = 128
#: Stakes on p - 1/2 and on |2 p - 1| - 1/2; at 2 a bet could lose everything.
_STAKES = (-1.8, -0.8, 0.8, 1.8)
_BETS = 2 * len(_STAKES)
_RANKS = _HEADER + _BETS
_WIDTH = _RANKS + _BINS
#: Values that set the grid the ranks are read from; they are not bet on.
_GRID = 30
_PER_UNIT = 12.0  # bins a unit of asinh(z): fine near the centre, reaching beyond a hundred standard deviations
_GOLDEN = 0.6180339887498949  # ties are broken by the multiples of the golden ratio: even, and the same at each replay
_CAP = 1e300


class ChangePoints:
    """Tells when a series changed its level or its spread.

    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> values = np.concatenate([rng.standard_normal(500), 1.5 + rng.standard_normal(200)])
    >>> changes = ChangePoints(1)
    >>> bool(500 <= np.flatnonzero([changes.update(values[[t]])[0] for t in range(700)])[0] < 540)
    True
    """

    width = _WIDTH

    def __init__(self, n_series: int, mean_time: float = 10_000.0) -> None:
        """`mean_time`: values between false alarms of one series, at least, in the mean."""
        if not mean_time > 1.0:
            raise ModelError(f"mean time between false alarms is {mean_time} values: give more than 1")
        self.n_series = n_series
        self.mean_time = mean_time
        self.state = self.initial_rows(n_series)

    def initial_rows(self, n: int) -> NDArray[np.float64]:
        """State of `n` series without values: [n, width]."""
        return np.zeros((n, _WIDTH))

    def update(
        self,
        values: NDArray[np.float64],
        rows: NDArray[np.int64] | None = None,
        state: NDArray[np.float64] | None = None,
    ) -> NDArray[np.bool_]:
        """Whether a change became evident at each of `values` [batch]; the row then starts anew. A NaN is no value."""
        table = self.state if state is None else state
        which = np.arange(self.n_series) if rows is None else rows
        if len(which) != len(values) or table.ndim != 2 or table.shape[1] != _WIDTH:
            raise ModelError(f"{len(which)} rows, {len(values)} values, state {table.shape}: it is [rows, {_WIDTH}]")
        changed = np.zeros(len(values), np.bool_)
        _update(table, which, np.asarray(values, np.float64), self.mean_time, changed)
        return changed

    def evidence(self, state: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Evidence of a change [rows], alarming at `mean_time`."""
        table = self.state if state is None else state
        return np.asarray(table[:, _HEADER:_RANKS].mean(axis=1), np.float64)


@njit(cache=True)
def _bin(value, mean, spread):  # type: ignore[no-untyped-def]  # pragma: no cover
    position = _BINS / 2 + _PER_UNIT * math.asinh((value - mean) / spread)
    return int(min(max(position, 0.0), _BINS - 1.0))


@njit(cache=True)
def _update(state, rows, values, alarm, changed):  # type: ignore[no-untyped-def]  # pragma: no cover
    for i in range(len(rows)):
        line, value = state[rows[i]], values[i]
        if not abs(value) < np.inf:
            continue
        n = line[_N]
        line[_N] = n + 1.0
        if n < _GRID:
            gap = value - line[_MEAN]
            line[_MEAN] += gap / (n + 1.0)
            line[_SQUARES] += gap * (value - line[_MEAN])
            continue
        spread = max(math.sqrt(line[_SQUARES] / _GRID), 1e-12)
        bin_ = _bin(value, line[_MEAN], spread)
        below, ranked = 0.0, n - _GRID
        for j in range(bin_):
            below += line[_RANKS + j]
        tie = ((ranked + 1.0) * _GOLDEN) % 1.0
        p = (below + tie * (line[_RANKS + bin_] + 1.0)) / (ranked + 1.0)
        line[_RANKS + bin_] += 1.0
        outward = abs(2.0 * p - 1.0)
        total = 0.0
        for k in range(_BETS):
            stake = _STAKES[k % len(_STAKES)]
            side = p if k < len(_STAKES) else outward
            grown = (line[_HEADER + k] + 1.0) * (1.0 + stake * (side - 0.5))
            line[_HEADER + k] = min(grown, _CAP)
            total += grown
        if total >= alarm * _BETS:
            changed[i] = True
            line[:] = 0.0

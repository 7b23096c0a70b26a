"""Missing values filled for estimation, and on the fly where a bank shall not see gaps at all."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.arima.bank import ArimaBank, Innovations
from tsrec_models.base import ModelError

__all__ = ["GapFiller", "Gaps", "fill"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Gaps = Literal["kalman", "interpolate", "mean"]


@njit(cache=True)
def fill(y: Floats, s: int, by_mean: bool) -> Floats:
    """A copy of y [n] without NaN: the mean of what was seen, or interpolated.

    Interpolation is from the same place in the seasons (period `s`) before and after where both were seen, and
    linear otherwise; the ends repeat the nearest value. All NaN becomes all zero.
    """
    n = y.shape[0]
    out = y.copy()
    mean = 0.0
    seen = 0
    for t in range(n):
        if not math.isnan(y[t]):
            mean += y[t]
            seen += 1
    if seen > 0:
        mean /= seen
    before = -1
    t = 0
    while t < n:
        if not math.isnan(y[t]):
            before = t
            t += 1
            continue
        after = t
        while after < n and math.isnan(y[after]):
            after += 1
        for i in range(t, after):
            if by_mean or (before < 0 and after == n):
                out[i] = mean
            elif before < 0:
                out[i] = y[after]
            elif after == n:
                out[i] = y[before]
            else:
                out[i] = y[before] + (y[after] - y[before]) * (i - before) / (after - before)
            if s > 1 and not by_mean and s <= i < n - s and not math.isnan(y[i - s]) and not math.isnan(y[i + s]):
                out[i] = 0.5 * (y[i - s] + y[i + s])
        t = after
    return out


class GapFiller:
    """Steps a bank with missing values replaced, for those who do not want the filter's own handling of gaps.

    `mean`: by the mean of the series so far, at once. `interpolate`: when the next value comes, by the line between
    the values on both sides of the gap (until then the series stands still). Its state is a row [4] a series.
    """

    def __init__(self, bank: ArimaBank, method: Literal["interpolate", "mean"]) -> None:
        if method not in ("interpolate", "mean"):
            raise ModelError(f"gaps {method!r}: interpolate or mean (the bank itself does kalman)")
        self.bank = bank
        self.method = method
        self._state = np.zeros((bank.n_series, 4))  # last value, length of the gap, sum, count

    def step(self, y: Floats, rows: Ints | None = None) -> Innovations:
        """As `ArimaBank.step` for distinct `rows` of a bank without regressors; NaN innovations where y is missing."""
        rows = np.arange(self.bank.n_series) if rows is None else np.asarray(rows, dtype=np.int64)
        y = np.asarray(y, dtype=np.float64)
        missing = ~np.isfinite(y)
        state = self._state[rows]
        known = state[:, 3] > 0
        if self.method == "mean":
            filled = np.where(missing & known, state[:, 2] / np.maximum(state[:, 3], 1.0), y)
            result = self.bank.step(filled, rows)
        else:
            gap = np.where(missing, 0, state[:, 1]).astype(np.int64)
            owner = np.repeat(np.arange(len(rows)), gap)
            step = np.arange(len(owner)) - np.repeat(np.cumsum(gap) - gap, gap) + 1
            line = state[owner, 0] + (y[owner] - state[owner, 0]) * step / (gap[owner] + 1)
            taken = np.flatnonzero(~missing)
            all_rows, all_y = np.concatenate([rows[owner], rows[taken]]), np.concatenate([line, y[taken]])
            stepped = self.bank.step(all_y, all_rows)
            value, variance = np.full(len(rows), np.nan), np.full(len(rows), np.inf)
            value[taken], variance[taken] = stepped.value[len(owner) :], stepped.variance[len(owner) :]
            result = Innovations(value, variance)
            state[:, 1] = np.where(missing, np.where(known, state[:, 1] + 1, 0), 0)
        state[:, 0] = np.where(missing, state[:, 0], y)
        state[:, 2] += np.where(missing, 0.0, y)
        state[:, 3] += ~missing
        self._state[rows] = state
        return Innovations(np.where(missing, np.nan, result.value), np.where(missing, np.inf, result.variance))

    def to_rows(self, rows: Ints) -> Floats:
        """Own state [n, 4] of `rows`; the bank's state is the bank's."""
        result: Floats = self._state[rows]
        return result

    def from_rows(self, rows: Ints, state: Floats) -> None:
        """Put back what `to_rows` gave."""
        self._state[rows] = state

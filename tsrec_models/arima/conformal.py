"""Adaptive conformal intervals: coverage holds whatever the series does, as the width follows the misses.

The half width is q m sd: sd of the model, m a moving mean of |error| / sd (it follows the volatility), and q a quantile
tracked online, q += rate (missed - (1 - level)): the P part of conformal PID control (Angelopoulos, Candes and
Tibshirani 2023), which is adaptive conformal inference (Gibbs and Candes 2021) on the scale of the scores. Whatever the
values, the share of misses over T steps differs from 1 - level by at most (range of q) / (rate T).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.arima.conformal_kernel import COVERAGE, WIDTH, M, Q, begin, learn
from tsrec_models.base import Forecast, ModelError

__all__ = ["UNFITTED", "AdaptiveIntervals", "Intervals"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Step of q after a miss; q is about 2 at a level of 0.9. With the weight of m it was chosen on simulated groups of
# young series (`python bench/arima_young.py`): from (0.3, 0.04) to (0.5, 0.08) a quarter of 24 values is off by .035 in
# place of .049, one of 98 by .0095 in place of .0149, for intervals 2 to 3 % wider.
RATE = 0.5
UNFITTED = -1.0  # instead of a number of coefficients: the errors are not those of a fit
MEAN_ABSOLUTE_NORMAL = math.sqrt(2.0 / math.pi)


@dataclass(frozen=True)
class Intervals:
    """Lower and upper bound of each series and horizon, both [n, h]."""

    lower: Floats
    upper: Floats


class AdaptiveIntervals:
    """Intervals of `n_series` series and `horizons` steps ahead at a stated `level`, O(1) an observation.

    State: one row of `state_width` float64 a series, WIDTH columns a horizon.

    Raises ModelError for a level outside (0, 1).
    """

    def __init__(self, n_series: int, horizons: int = 1, level: float = 0.9, rate: float = RATE) -> None:
        if not 0.0 < level < 1.0:
            raise ModelError(f"level {level}: between 0 and 1")
        self.level = level
        self.rates = np.full(horizons, rate)
        self.horizons = horizons
        self._fresh = np.zeros((horizons, WIDTH))
        self._fresh[:, Q] = NormalDist().inv_cdf(0.5 + level / 2) / MEAN_ABSOLUTE_NORMAL
        self._fresh[:, M] = MEAN_ABSOLUTE_NORMAL
        self._fresh[:, COVERAGE] = level
        self._state = np.repeat(self._fresh[None], n_series, axis=0)

    @property
    def n_series(self) -> int:
        """Series held."""
        return int(self._state.shape[0])

    @property
    def state_width(self) -> int:
        """Columns of a row of state."""
        return self.horizons * WIDTH

    def resize(self, n_series: int) -> None:
        """Grow or shrink; new series start at the normal quantile."""
        grown = np.repeat(self._fresh[None], n_series, axis=0)
        kept = min(n_series, self.n_series)
        grown[:kept] = self._state[:kept]
        self._state = grown

    def around(self, forecast: Forecast, rows: Ints | None = None) -> Intervals:
        """Intervals about forecasts [n, h], h up to `horizons`, of `rows` (all by default)."""
        state = self._state if rows is None else self._state[rows]
        h = forecast.mean.shape[1]
        half = state[:, :h, Q] * state[:, :h, M] * np.sqrt(forecast.variance)
        return Intervals(forecast.mean - half, forecast.mean + half)

    def observe(self, error: Floats, variance: Floats, rows: Ints | None = None) -> NDArray[np.float64]:
        """Learn from errors [n, h] of forecasts with predicted `variance` [n, h]; NaN: nothing to learn.

        Returns 1.0 where the interval of before covered, 0.0 where it missed, NaN where there was no error: [n, h].
        """
        rows = np.arange(self.n_series) if rows is None else np.asarray(rows, dtype=np.int64)
        covered = np.empty(error.shape)
        _observe(
            self._state,
            rows,
            np.require(error, np.float64, ["C", "W"]),
            np.require(variance, np.float64, ["C", "W"]),
            1.0 - self.level,
            self.rates,
            covered,
        )
        return covered

    def calibrate(self, scores: Floats, rows: Ints | None = None, coefficients: Floats | float = UNFITTED) -> None:
        """Start from past scores |error| / sd, [times, n, h], oldest first, NaN skipped.

        q becomes the quantile of the scores in units of the moving mean that stood before each of them. Where the
        scores are of the values that the model was fitted on, `coefficients` (of each row, or of all) are how many it
        has: errors to come are larger than those of a fit.
        """
        rows = np.arange(self.n_series) if rows is None else np.asarray(rows, dtype=np.int64)
        fitted = np.array(np.broadcast_to(np.asarray(coefficients, dtype=np.float64), rows.shape))
        _calibrate(self._state, rows, np.require(scores, np.float64, ["C", "W"]), self.level, fitted)

    def coverage(self, rows: Ints | None = None) -> Floats:
        """Rolling coverage [n, horizons] over some 200 past values (starts at the level)."""
        state = self._state if rows is None else self._state[rows]
        result: Floats = state[:, :, COVERAGE].copy()
        return result

    def to_rows(self, rows: Ints | None = None) -> Floats:
        """State [n, state_width] of `rows`, copied."""
        state = self._state if rows is None else self._state[rows]
        return state.reshape(len(state), self.state_width).copy()

    def from_rows(self, rows: Ints, states: Floats) -> None:
        """Put states back, as `to_rows` gave them."""
        self._state[rows] = states.reshape(len(rows), self.horizons, WIDTH)


@njit(cache=True)
def _observe(
    state: Floats, rows: Ints, error: Floats, variance: Floats, alpha: float, rates: Floats, covered: Floats
) -> None:
    for i in range(rows.shape[0]):
        for h in range(error.shape[1]):
            if not (math.isfinite(error[i, h]) and math.isfinite(variance[i, h])):
                covered[i, h] = math.nan
                continue
            score = abs(error[i, h]) / math.sqrt(variance[i, h])
            covered[i, h] = 1.0 if learn(state[rows[i], h], score, alpha, rates[h]) else 0.0


@njit(cache=True)
def _calibrate(state: Floats, rows: Ints, scores: Floats, level: float, coefficients: Floats) -> None:
    for i in range(rows.shape[0]):
        for h in range(scores.shape[2]):
            begin(state[rows[i], h], scores[:, i, h], level, coefficients[i])

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

from tsrec_models.base import Forecast, ModelError

__all__ = ["AdaptiveIntervals", "Intervals"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Step of q after a miss; q is about 2 at a level of 0.9. On simulated series whose scale jumps every 100 values the
# coverage of such windows is off by .027 (root mean square) at 0.1, .018 at 0.2, .014 at 0.3; normal intervals widen by
# 2 % from 0.1 to 0.3.
RATE = 0.3
VOLATILITY_WEIGHT = 0.04  # of a new score in m: a memory of some 25 values
COVERAGE_WEIGHT = 0.005  # of a new hit or miss in the rolling coverage: a memory of some 200 values
MEAN_ABSOLUTE_NORMAL = math.sqrt(2.0 / math.pi)
LEAST_Q = 1e-3
WIDTH = 4  # columns a horizon: q, m, rolling coverage, errors seen


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
        self.rate = rate
        self.horizons = horizons
        self._fresh = np.zeros((horizons, WIDTH))
        self._fresh[:, 0] = NormalDist().inv_cdf(0.5 + level / 2) / MEAN_ABSOLUTE_NORMAL
        self._fresh[:, 1] = MEAN_ABSOLUTE_NORMAL
        self._fresh[:, 2] = level
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
        half = state[:, :h, 0] * state[:, :h, 1] * np.sqrt(forecast.variance)
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
            self.rate,
            covered,
        )
        return covered

    def calibrate(self, scores: Floats, rows: Ints | None = None) -> None:
        """Start from past scores |error| / sd, [times, n, h], oldest first, NaN skipped: of the stretch fitted on.

        q becomes the quantile of the scores in units of the moving mean that stood before each of them.
        """
        rows = np.arange(self.n_series) if rows is None else np.asarray(rows, dtype=np.int64)
        _calibrate(self._state, rows, np.require(scores, np.float64, ["C", "W"]), self.level)

    def coverage(self, rows: Ints | None = None) -> Floats:
        """Rolling coverage [n, horizons] over some 200 past values (starts at the level)."""
        state = self._state if rows is None else self._state[rows]
        result: Floats = state[:, :, 2].copy()
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
    state: Floats, rows: Ints, error: Floats, variance: Floats, alpha: float, rate: float, covered: Floats
) -> None:
    for i in range(rows.shape[0]):
        for h in range(error.shape[1]):
            if not (math.isfinite(error[i, h]) and math.isfinite(variance[i, h])):
                covered[i, h] = math.nan
                continue
            one = state[rows[i], h]
            score = abs(error[i, h]) / math.sqrt(variance[i, h])
            hit = 1.0 if score <= one[0] * one[1] else 0.0
            covered[i, h] = hit
            one[0] = max(one[0] + rate * (1.0 - hit - alpha), LEAST_Q)
            one[1] += VOLATILITY_WEIGHT * (score - one[1])
            one[2] += COVERAGE_WEIGHT * (hit - one[2])
            one[3] += 1.0


@njit(cache=True)
def _calibrate(state: Floats, rows: Ints, scores: Floats, level: float) -> None:
    ratios = np.empty(scores.shape[0])
    for i in range(rows.shape[0]):
        for h in range(scores.shape[2]):
            one = state[rows[i], h]
            total = 0.0
            count = 0
            for t in range(scores.shape[0]):
                if math.isfinite(scores[t, i, h]):
                    total += scores[t, i, h]
                    count += 1
            if count < 20:  # a quantile of fewer says less than the normal one
                continue
            m = total / count
            if not m > 0.0:
                continue
            count = 0
            for t in range(scores.shape[0]):
                score = scores[t, i, h]
                if math.isfinite(score):
                    ratios[count] = score / m
                    count += 1
                    m += VOLATILITY_WEIGHT * (score - m)
            ordered = np.sort(ratios[:count])
            # The conformal rank: ceil((count + 1) level), which makes up for the scores being of the fit itself.
            at = min(math.ceil((count + 1) * level) - 1, count - 1)
            one[0] = max(ordered[at], LEAST_Q)
            one[1] = m

"""A band for the innovations of a series: how large is usual now, what interval keeps its promise, what is an alarm.

Innovations are scaled by an exponentially weighted variance, since their size comes in clusters. The interval's radius,
in those units, follows the quantile that keeps the stated coverage: up by eta * level after a miss, down by
eta * (1 - level) after a hit (Gibbs and Candès 2021; Angelopoulos, Candès and Tibshirani 2023), so that the share of
misses tends to 1 - level whatever the distribution and its drift. The alarm line is not learned from the series: it is
where a Student t with four degrees of freedom, the tail of intraday returns everywhere (Gopikrishnan et al. 1999), is
left as often as the stated number of false alarms a day allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.stats import t as student_t

from tsrec_models.base import ModelError

__all__ = ["TAIL_INDEX", "Band", "InnovationBand", "alarm_sigmas"]

#: Degrees of freedom of returns over seconds to minutes: a power law of index three to four.
TAIL_INDEX = 4

_VARIANCE, _RADIUS, _SCORED, _MISSED, WIDTH = 0, 1, 2, 3, 4
#: Weight of the newest squared innovation (half-life of about 23 bars), and of the series' own long-run variance that
#: the scale never falls below: after a still minute a small move is not a sensation.
_ALPHA, _FLOOR_SHARE = 0.03, 0.5


def alarm_sigmas(alarm_rate: float) -> float:
    """How many standard deviations are exceeded in either direction with probability `alarm_rate` a step."""
    if not 0.0 < alarm_rate < 0.5:
        raise ModelError(f"alarm rate a step is {alarm_rate:g}: give a share between 0 and 0.5")
    unit = math.sqrt((TAIL_INDEX - 2) / TAIL_INDEX)  # the t distribution scaled to variance one
    return float(student_t.isf(alarm_rate / 2, TAIL_INDEX)) * unit


@dataclass(frozen=True)
class Band:
    """Of each innovation, [n]: its scale as known before it, its standardised value, whether the interval held it
    (1, 0, NaN where nothing was observed), and scale and radius of the next step's interval."""

    sigma: NDArray[np.float64]
    z: NDArray[np.float64]
    held: NDArray[np.float64]
    next_sigma: NDArray[np.float64]
    next_radius: NDArray[np.float64]


class InnovationBand:
    """Bands of many series; state is WIDTH columns of a float64 row, from column `offset` on."""

    width = WIDTH

    def __init__(self, level: float = 0.9, eta: float = 0.05, offset: int = 0) -> None:
        """`level` is the coverage of the intervals, `eta` the step of their radius in standard deviations."""
        if not 0.5 <= level < 1.0 or not 0.0 < eta < 1.0:
            raise ModelError(f"interval level {level:g} or step {eta:g}: give a level in [0.5, 1), a step in (0, 1)")
        self.level = level
        self.eta = eta
        self.offset = offset

    def start(self, state: NDArray[np.float64], row: int, innovations: NDArray[np.float64]) -> None:
        """Begin a row with the innovations [n] of its warm-up: scale from their mean square, radius from running over
        them from the normal quantile."""
        seen = innovations[np.isfinite(innovations)]
        if not len(seen):
            raise ModelError("a band needs at least one innovation to start from")
        variance = float(np.mean(seen * seen))
        at = self.offset
        state[row, at : at + WIDTH] = variance, abs(float(student_t.ppf((1 - self.level) / 2, 1e6))), 0.0, 0.0
        rows = np.full(len(seen), row, np.int64)
        self.update(state, rows, seen, np.full(len(seen), variance))
        state[row, at + _SCORED : at + WIDTH] = 0.0

    def update(
        self,
        state: NDArray[np.float64],
        rows: NDArray[np.int64],
        innovations: NDArray[np.float64],
        variances: NDArray[np.float64],
    ) -> Band:
        """Take innovations [n] and their model variances [n] in order; a row may come more than once. NaN: missing."""
        n = len(rows)
        band = Band(np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n))
        _update(
            state, self.offset, self.level, self.eta, rows, innovations, variances,
            band.sigma, band.z, band.held, band.next_sigma, band.next_radius,
        )  # fmt: skip
        return band

    def half_width(
        self, state: NDArray[np.float64], rows: NDArray[np.int64], variances: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """[rows]: half the width of the next step's interval, where the model's variance [rows] is that."""
        floor = np.where(np.isfinite(variances), _FLOOR_SHARE * variances, 0.0)
        scale = np.sqrt(np.maximum(state[rows, self.offset + _VARIANCE], floor))
        return np.asarray(state[rows, self.offset + _RADIUS] * scale, np.float64)

    def coverage(self, state: NDArray[np.float64], row: int) -> tuple[float, int]:
        """Share of innovations that the interval held since the warm-up, and how many there were."""
        scored, missed = state[row, self.offset + _SCORED], state[row, self.offset + _MISSED]
        return (float(1.0 - missed / scored) if scored else math.nan), int(scored)


@njit(cache=True)
def _update(  # type: ignore[no-untyped-def]  # pragma: no cover
    state, at, level, eta, rows, innovations, variances, sigma, z, held, next_sigma, next_radius
):
    for i in range(len(rows)):
        row, value = rows[i], innovations[i]
        floor = _FLOOR_SHARE * variances[i] if np.isfinite(variances[i]) else 0.0
        scale = math.sqrt(max(state[row, at + _VARIANCE], floor))
        radius = state[row, at + _RADIUS]
        sigma[i], z[i], held[i] = scale, np.nan, np.nan
        if np.isfinite(value) and scale > 0.0:
            z[i] = value / scale
            missed = abs(z[i]) > radius
            held[i] = 0.0 if missed else 1.0
            state[row, at + _RADIUS] = max(0.0, radius + eta * (level if missed else level - 1.0))
            state[row, at + _SCORED] += 1.0
            state[row, at + _MISSED] += 1.0 if missed else 0.0
            state[row, at + _VARIANCE] += _ALPHA * (value * value - state[row, at + _VARIANCE])
        next_sigma[i] = math.sqrt(max(state[row, at + _VARIANCE], floor))
        next_radius[i] = state[row, at + _RADIUS]

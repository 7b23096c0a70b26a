"""A band for the innovations of a series: how large is usual now, what interval keeps its promise, what is an alarm.

The interval is the adaptive conformal one of `arima.conformal`: a quantile, tracked online, in units of a moving mean
of the innovations' size, so that the share of misses tends to 1 - level whatever the distribution and its drift. For
alarms innovations are scaled by an exponentially weighted variance, since their size comes in clusters. The alarm line
is not learned from the series: it is where a Student t with four degrees of freedom, the tail of intraday returns
everywhere (Gopikrishnan et al. 1999), is left as often as the stated number of false alarms a day allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.stats import t as student_t

from tsrec_models.arima.conformal import MEAN_ABSOLUTE_NORMAL, RATE, UNFITTED
from tsrec_models.arima.conformal_kernel import WIDTH as INTERVAL_WIDTH
from tsrec_models.arima.conformal_kernel import M, Q, begin, learn
from tsrec_models.base import ModelError

__all__ = ["TAIL_INDEX", "Band", "InnovationBand", "alarm_sigmas"]

#: Degrees of freedom of returns over seconds to minutes: a power law of index three to four.
TAIL_INDEX = 4

#: Columns: variance, the interval's state, innovations scored and missed.
_VARIANCE, _INTERVAL = 0, 1
_SCORED = _INTERVAL + INTERVAL_WIDTH
_MISSED, WIDTH = _SCORED + 1, _SCORED + 2
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
    (1, 0, NaN where nothing was observed), and half the width of the next step's interval."""

    sigma: NDArray[np.float64]
    z: NDArray[np.float64]
    held: NDArray[np.float64]
    next_half: NDArray[np.float64]


class InnovationBand:
    """Bands of many series; state is WIDTH columns of a float64 row, from column `offset` on."""

    width = WIDTH

    def __init__(self, level: float = 0.9, rate: float = RATE, offset: int = 0) -> None:
        """`level` is the coverage of the intervals, `rate` the step of their quantile after a miss."""
        if not 0.5 <= level < 1.0 or not 0.0 < rate < 1.0:
            raise ModelError(f"interval level {level:g} or rate {rate:g}: give a level in [0.5, 1), a rate in (0, 1)")
        self.level = level
        self.rate = rate
        self.offset = offset

    def start(
        self, state: NDArray[np.float64], row: int, innovations: NDArray[np.float64], coefficients: float = UNFITTED
    ) -> None:
        """Begin a row with the innovations [n] of its warm-up: scale from their mean square, interval from their size.

        coefficients: how many the model has that was fitted on the warm-up.
        """
        seen = innovations[np.isfinite(innovations)]
        if not len(seen):
            raise ModelError("a band needs at least one innovation to start from")
        variance = float(np.mean(seen * seen))
        band = state[row, self.offset : self.offset + WIDTH]
        band[:] = 0.0
        # Until `begin` has enough to tell: the normal quantile of the mean size.
        band[_INTERVAL + Q] = NormalDist().inv_cdf(0.5 + self.level / 2) / MEAN_ABSOLUTE_NORMAL
        band[_INTERVAL + M] = float(np.mean(np.abs(seen)))
        begin(band[_INTERVAL:_SCORED], np.abs(seen), self.level, coefficients)
        for value in seen.tolist():
            variance += _ALPHA * (value * value - variance)
        band[_VARIANCE] = variance

    def update(
        self,
        state: NDArray[np.float64],
        rows: NDArray[np.int64],
        innovations: NDArray[np.float64],
        variances: NDArray[np.float64],
    ) -> Band:
        """Take innovations [n] and their model variances [n] in order; a row may come more than once. NaN: missing."""
        n = len(rows)
        band = Band(np.empty(n), np.empty(n), np.empty(n), np.empty(n))
        _update(
            state, self.offset, self.level, self.rate, rows, innovations, variances,
            band.sigma, band.z, band.held, band.next_half,
        )  # fmt: skip
        return band

    def half_width(self, state: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """[rows]: half the width of the next step's interval."""
        at = self.offset + _INTERVAL
        return np.asarray(state[rows, at + Q] * state[rows, at + M], np.float64)

    def coverage(self, state: NDArray[np.float64], row: int) -> tuple[float, int]:
        """Share of innovations that the interval held since the warm-up, and how many there were."""
        scored, missed = state[row, self.offset + _SCORED], state[row, self.offset + _MISSED]
        return (float(1.0 - missed / scored) if scored else math.nan), int(scored)


@njit(cache=True)
def _update(  # type: ignore[no-untyped-def]  # pragma: no cover
    state, at, level, rate, rows, innovations, variances, sigma, z, held, next_half
):
    for i in range(len(rows)):
        band, value = state[rows[i], at : at + WIDTH], innovations[i]
        floor = _FLOOR_SHARE * variances[i] if np.isfinite(variances[i]) else 0.0
        scale = math.sqrt(max(band[_VARIANCE], floor))
        sigma[i], z[i], held[i] = scale, np.nan, np.nan
        if np.isfinite(value) and scale > 0.0:
            z[i] = value / scale
            hit = learn(band[_INTERVAL:_SCORED], abs(value), 1.0 - level, rate)
            held[i] = 1.0 if hit else 0.0
            band[_SCORED] += 1.0
            band[_MISSED] += 0.0 if hit else 1.0
            band[_VARIANCE] += _ALPHA * (value * value - band[_VARIANCE])
        next_half[i] = band[_INTERVAL + Q] * band[_INTERVAL + M]

"""One interval's state and how it learns: the compiled part of `conformal`, shared with the bands of bars."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["COVERAGE", "LEAST_Q", "SEEN", "VOLATILITY_WEIGHT", "WIDTH", "M", "Q", "begin", "learn", "too_small"]

Floats = NDArray[np.float64]

#: Columns of an interval's state: q, m, rolling coverage, errors seen.
Q, M, COVERAGE, SEEN = range(4)
WIDTH = 4

VOLATILITY_WEIGHT = 0.08  # of a new score in m: a memory of some 12 values; chosen with RATE, see `conformal`
COVERAGE_WEIGHT = 0.005  # of a new hit or miss in the rolling coverage: a memory of some 200 values
LEAST_Q = 1e-3
FEWEST_SCORES = 20  # a quantile of fewer says less than the normal one

#: Beside its coefficients a fit has spent the scale and the choice of the order. On simulated series of 30 values
#: errors to come are 10 to 19 % larger than those of the fit; with these two 8 to 14 are expected (`arima_young.py`).
SPENT_BESIDE = 2.0


@njit(cache=True)
def learn(one: Floats, score: float, alpha: float, rate: float) -> bool:
    """Take a new |error| into an interval's state [WIDTH]; whether the interval of before held it."""
    hit = bool(score <= one[Q] * one[M])
    one[Q] = max(one[Q] + rate * ((0.0 if hit else 1.0) - alpha), LEAST_Q)
    one[M] += VOLATILITY_WEIGHT * (score - one[M])
    one[COVERAGE] += COVERAGE_WEIGHT * ((1.0 if hit else 0.0) - one[COVERAGE])
    one[SEEN] += 1.0
    return hit


@njit(cache=True)
def too_small(n: int, coefficients: float) -> float:
    """By how much a fit's own errors are smaller than those to come: Akaike's (1969) final prediction error.

    n: errors; coefficients: estimated from the same values, negative where the errors are not those of a fit.
    """
    spent = coefficients + SPENT_BESIDE if coefficients >= 0.0 else 0.0
    return math.sqrt((n + spent) / (n - spent)) if n > 2.0 * spent else math.sqrt(3.0)


@njit(cache=True)
def begin(one: Floats, scores: Floats, level: float, coefficients: float) -> None:
    """Start a state [WIDTH] from past |errors|, oldest first, NaN skipped; too few, or all zero, leave it as it is.

    q becomes their quantile in units of the moving mean that stood before each; m that mean, widened for a fit.
    """
    seen = scores[np.isfinite(scores)]
    if len(seen) < FEWEST_SCORES or not seen.mean() > 0.0:
        return
    m = seen.mean()
    ratios = np.empty(len(seen))
    for t in range(len(seen)):
        ratios[t] = seen[t] / m
        m += VOLATILITY_WEIGHT * (seen[t] - m)
    # The conformal rank, ceil((n + 1) level): a quantile of few values is held by fewer new ones.
    at = min(math.ceil((len(seen) + 1) * level) - 1, len(seen) - 1)
    one[Q] = max(np.sort(ratios)[at], LEAST_Q)
    one[M] = m * too_small(len(seen), coefficients)

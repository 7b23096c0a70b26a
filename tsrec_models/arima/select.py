"""Automatic orders: the stepwise search of Hyndman and Khandakar (2008) by AICc, all by exact likelihood."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.arima.differencing import choose_differences, difference
from tsrec_models.arima.optimise import maximise
from tsrec_models.arima.transforms import polynomials

__all__ = ["MAX_FREE", "fit_order", "search"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_P = 5
MAX_SEASONAL = 2
MAX_FREE = 2 * MAX_P + 2 * MAX_SEASONAL
AR_MARGIN = 1.01  # an autoregressive root inside this circle is a unit root that differencing should have taken
MA_MARGIN = 1.001  # a moving-average root inside it has piled up on the unit circle: differenced once too often
MAX_CANDIDATES = 94  # as in Hyndman and Khandakar's implementation


@njit(cache=True)
def _far_from_unit_circle(lags: Floats, margin: float) -> bool:
    """Whether 1 - sum lags_i B^i has no root of modulus below `margin`."""
    level = lags.copy()
    factor = 1.0
    for i in range(level.shape[0]):
        factor *= margin
        level[i] *= factor
    below = np.empty(level.shape[0])
    for i in range(level.shape[0] - 1, -1, -1):
        reflection = level[i]
        shrink = 1.0 - reflection * reflection
        if not shrink > 0.0:
            return False
        for j in range(i):
            below[j] = (level[j] + reflection * level[i - 1 - j]) / shrink
        for j in range(i):
            level[j] = below[j]
    return True


@njit(cache=True)
def fit_order(
    w: Floats, x: Floats, shape: Ints, mean: bool, given: Floats, free: Floats, beta: Floats
) -> tuple[float, float, float]:
    """Fit one candidate to a differenced series w [n], differenced regressors x [k, n].

    Fills `free` [MAX_FREE] and `beta` [1 + k] (mean first, 0 without); returns AICc, log-likelihood and sigma^2.
    """
    n = w.shape[0]
    k = x.shape[0]
    count = shape[0] + shape[1] + shape[2] + shape[3]
    columns = np.empty((1 + k + int(mean), n))
    columns[0] = w
    for i in range(k):
        columns[1 + i] = x[i]
    if mean:
        columns[1 + k] = 1.0
    best = np.empty(count)
    coefficients = np.zeros(k + int(mean))
    objective, squares = maximise(columns, np.zeros(0), shape, given[:count].copy(), best, coefficients)
    free[:count] = best
    free[count:] = 0.0
    beta[0] = coefficients[k] if mean else 0.0
    for i in range(k):
        beta[1 + i] = coefficients[i]
    likelihood = -0.5 * (objective + n * (math.log(2.0 * math.pi) + 1.0))
    parameters = count + columns.shape[0]  # the coefficients, mean and regressors, and sigma^2
    if n - parameters - 1 <= 0:
        return math.inf, likelihood, squares / n
    aicc = -2.0 * likelihood + 2.0 * parameters + 2.0 * parameters * (parameters + 1.0) / (n - parameters - 1.0)
    return aicc, likelihood, squares / n


@njit(cache=True)
def _usable(shape: Ints, free: Floats) -> bool:
    r = max(shape[0] + shape[4] * shape[2], shape[1] + shape[4] * shape[3] + 1)
    phi = np.empty(r)
    ma = np.empty(r)
    polynomials(free, shape, phi, ma)
    usable: bool = _far_from_unit_circle(phi, AR_MARGIN) and _far_from_unit_circle(-ma[1:], MA_MARGIN)
    return usable


@njit(cache=True)
def _embed(old: Ints, free: Floats, new: Ints, out: Floats) -> None:
    """Free numbers of a neighbouring order as a start for `new`: shared ones kept, others 0."""
    out[:] = 0.0
    source = 0
    target = 0
    for part in range(4):
        for i in range(min(old[part], new[part])):
            out[target + i] = free[source + i]
        source += old[part]
        target += new[part]


@njit(cache=True)
def search(y: Floats, x: Floats, s: int, order: Ints, free: Floats, beta: Floats) -> tuple[float, float, float]:
    """Choose the order of a complete series y [n] with regressors x [k, n]; `s` 1 without a season.

    Fills `order` [8] (p, d, q, P, D, Q, s, mean), `free` [MAX_FREE], `beta` [1 + k]; returns AICc, log-likelihood
    of the differenced series, sigma^2.
    """
    k = x.shape[0]
    d, seasonal_d = choose_differences(y, s)
    w = difference(y, d, seasonal_d, s)
    dx = np.empty((k, w.shape[0]))
    for i in range(k):
        dx[i] = difference(x[i], d, seasonal_d, s)
    n = w.shape[0]
    season = s > 1 and n > 2 * s
    may_mean = d + seasonal_d <= 1
    top_p = min(MAX_P, n // 3)
    top_seasonal = min(MAX_SEASONAL, n // 3 // s) if season else 0
    seen = np.zeros((MAX_P + 1, MAX_P + 1, MAX_SEASONAL + 1, MAX_SEASONAL + 1, 2), np.bool_)
    candidate = np.empty((6, 5), np.int64)  # p, q, P, Q, mean
    starts = 5
    flag = 1 if may_mean else 0
    candidate[0] = np.array([2, 2, 1, 1, flag])
    candidate[1] = np.array([0, 0, 0, 0, flag])
    candidate[2] = np.array([1, 0, 1, 0, flag])
    candidate[3] = np.array([0, 1, 0, 1, flag])
    candidate[4] = np.array([0, 0, 0, 0, 0])
    moves = np.array(
        [
            [0, 0, -1, 0],
            [0, 0, 0, -1],
            [0, 0, 1, 0],
            [0, 0, 0, 1],
            [0, 0, -1, -1],
            [0, 0, -1, 1],
            [0, 0, 1, -1],
            [0, 0, 1, 1],
            [-1, 0, 0, 0],
            [0, -1, 0, 0],
            [1, 0, 0, 0],
            [0, 1, 0, 0],
            [-1, -1, 0, 0],
            [-1, 1, 0, 0],
            [1, -1, 0, 0],
            [1, 1, 0, 0],
        ]
    )
    best = np.zeros(5, np.int64)
    best_aicc = math.inf
    likelihood = -math.inf
    sigma2 = math.nan
    shape = np.zeros(5, np.int64)
    old_shape = np.zeros(5, np.int64)
    given = np.zeros(MAX_FREE)
    trial = np.zeros(MAX_FREE)
    trial_beta = np.zeros(1 + k)
    one = np.empty(5, np.int64)
    tried = 0
    stage = 0  # below `starts`: the first candidates; then moves; one past the moves: the mean the other way
    while stage < starts + len(moves) + 1 and tried < MAX_CANDIDATES:
        if stage < starts:
            one[:] = candidate[stage]
            one[0] = min(one[0], top_p)
            one[1] = min(one[1], top_p)
            one[2] = min(one[2], top_seasonal)
            one[3] = min(one[3], top_seasonal)
        else:
            one[:] = best
            if stage < starts + len(moves):
                for i in range(4):
                    one[i] += moves[stage - starts, i]
            else:
                one[4] = 1 - one[4]
        stage += 1
        if min(one[:4]) < 0 or max(one[0], one[1]) > top_p or max(one[2], one[3]) > top_seasonal:
            continue
        if one[4] == 1 and not may_mean:
            continue
        if seen[one[0], one[1], one[2], one[3], one[4]]:
            continue
        seen[one[0], one[1], one[2], one[3], one[4]] = True
        tried += 1
        for i in range(4):
            shape[i] = one[i]
            old_shape[i] = best[i]
        shape[4] = s
        _embed(old_shape, free, shape, given)
        aicc, value, variance = fit_order(w, dx, shape, one[4] == 1, given, trial, trial_beta)
        if not math.isfinite(aicc) and not math.isfinite(best_aicc) and tried == 1:
            best[:] = 0  # too short for anything but the plainest model
        if aicc < best_aicc and (one[:4].sum() == 0 or _usable(shape, trial)):
            best_aicc, likelihood, sigma2 = aicc, value, variance
            best[:] = one
            free[:] = trial
            beta[:] = trial_beta
            if stage > starts:
                stage = starts  # try the neighbours of the new best
    if not math.isfinite(sigma2):  # nothing could be compared: a random walk about its mean
        shape[:4] = 0
        shape[4] = s
        best[:] = 0
        one[4] = 0
        best_aicc, likelihood, sigma2 = fit_order(w, dx, shape, one[4] == 1, given, free, beta)
    order[0] = best[0]
    order[1] = d
    order[2] = best[1]
    order[3] = best[2]
    order[4] = seasonal_d
    order[5] = best[3]
    order[6] = s
    order[7] = best[4]
    return best_aicc, likelihood, sigma2

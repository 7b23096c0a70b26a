"""Exact likelihood of a series with missing values, profiled over regression and variance."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.arima.gap import single
from tsrec_models.arima.layout import EXACT, HEAD, START
from tsrec_models.arima.likelihood import profile, squares_floor
from tsrec_models.arima.stationary import start_excess

__all__ = ["gapped_objective", "undifferenced_ones"]

Floats = NDArray[np.float64]


@njit(cache=True)
def undifferenced_ones(n: int, delta: Floats) -> Floats:
    """A series [n] whose difference by delta is 1 everywhere: the regressor of a mean of the differenced series."""
    ones = np.ones(n)
    for t in range(n):
        for j in range(min(t, delta.shape[0])):
            ones[t] += delta[j] * ones[t - 1 - j]
    return ones


@njit(cache=True)
def gapped_objective(y: Floats, phi: Floats, ma: Floats, delta: Floats, beta: Floats) -> tuple[float, float, int]:
    """-2 log-likelihood, sigma^2 and regression profiled out, less n (log 2 pi + 1); sum of squares; count n.

    `y` [c, times]: the series (NaN where missing) and the regressors, not differenced. The filter is linear with gains
    that depend on the gaps alone, so the regressors pass through filters of their own with the same gaps.
    """
    c, n = y.shape
    r = phi.shape[0]
    lags = delta.shape[0]
    m = r + lags
    q = np.zeros((lags + 2 * r + 3, c))
    s = np.zeros((HEAD + m + r * (r + 1) // 2 + r * lags + lags * (lags + 1), c))
    cov = np.empty((m, m))
    inf = np.empty((lags, lags))
    work = np.empty(max(64 * (r + 3), 4 * m + 2 * r + lags, (r + 1) ** 2 + 6 * r + 8))
    out = np.empty(4)
    excess = np.empty((r, r))
    if not start_excess(phi, ma, excess, work):
        return math.inf, 0.0, 0
    for i in range(c):
        for j in range(lags):
            q[j, i] = delta[j]
        for j in range(r):
            q[lags + j, i] = phi[j]
            if j > 0:
                q[lags + r + j - 1, i] = ma[j]
        q[lags + 2 * r, i] = 1.0
        q[lags + 2 * r + 1, i] = lags
        s[0, i] = START if lags > 0 else EXACT
        at = HEAD + m
        for a in range(r):
            for b in range(a, r):
                s[at, i] = excess[a, b]
                at += 1
    cross = np.zeros((c, c))
    log_f = 0.0
    count = 0
    v = np.empty(c)
    for t in range(n):
        missing = math.isnan(y[0, t])
        for i in range(c):
            single(s, q, i, math.nan if missing else y[i, t], r, lags, cov, inf, work, out)
            v[i] = out[0]
        if not math.isnan(v[0]):
            count += 1
            log_f += math.log(out[1])
            for i in range(c):
                for j in range(c):
                    cross[i, j] += v[i] * v[j] / out[1]
    if count == 0:
        return math.inf, 0.0, 0
    squares = max(profile(cross, beta), squares_floor(y[0]))
    return count * math.log(squares / count) + log_f, squares, count

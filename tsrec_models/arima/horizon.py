"""Mean and variance of the next values of many ARIMA series, from their filtered states."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.arima.layout import GAP, HEAD, START

__all__ = ["horizon"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@njit(cache=True)
def horizon(
    s: Floats, q: Floats, rows: Ints, x: Floats, r: int, lags: int, k: int, mean: Floats, variance: Floats
) -> None:
    """Fill mean and variance [n, h] for `rows` [n], future regressors x [n, h, k].

    The error h steps ahead is row G_h of the observation matrix times the h-th power of the transition, applied to
    the error of the state; with P = ma ma' + E its variance is sum_{j<=h} psi_j^2 + G_h E G_h'.
    Infinite while the values seen do not yet fix the lags that differencing needs.
    """
    m = r + lags
    g = np.empty(m)
    state = np.empty(m)
    cov = np.empty((m, m))
    for i in range(rows.shape[0]):
        row = rows[i]
        mu = q[lags + 2 * r - 1, row]
        sigma2 = q[lags + 2 * r, row]
        mode = s[0, row]
        for a in range(m):
            state[a] = s[HEAD + a, row]
            g[a] = 0.0
        g[0] = 1.0
        for a in range(lags):
            g[r + a] = q[a, row]
        certain = _covariance(s, row, r, lags, mode == GAP, cov)
        known = mode != START
        if mode == GAP:
            c = s.shape[0] - lags * (lags + 1) // 2
            for j in range(c, s.shape[0]):
                known &= s[j, row] <= 1e-10
        unseen = mode == START and s[1, row] == 0.0
        total = 0.0
        for t in range(mean.shape[1]):
            w = mu + state[0]
            value = w
            for a in range(lags):
                value += q[a, row] * state[r + a]
            psi = g[0]
            for a in range(1, r):
                psi += g[a] * q[lags + r + a - 1, row]
            total += psi * psi
            extra = 0.0
            if not certain:
                size = m if mode == GAP else r
                for a in range(size):
                    if g[a] != 0.0:
                        for b in range(size):
                            extra += g[a] * cov[a, b] * g[b]
            variance[i, t] = sigma2 * (total + extra) if known else math.inf
            mean[i, t] = math.nan if unseen else value
            for a in range(k):
                mean[i, t] += q[lags + 2 * r + 3 + a, row] * x[i, t, a]
            first = state[0]
            for a in range(r - 1):
                state[a] = q[lags + a, row] * first + state[a + 1]
            state[r - 1] = q[lags + r - 1, row] * first
            for a in range(lags - 1, 0, -1):
                state[r + a] = state[r + a - 1]
            into = 0.0
            for a in range(r):
                into += g[a] * q[lags + a, row]
            newest = 0.0
            if lags > 0:
                state[r] = value
                newest = g[r]
                into += newest
                for a in range(lags):
                    g[r + a] = newest * q[a, row] + (g[r + a + 1] if a + 1 < lags else 0.0)
            for a in range(r - 1, 0, -1):
                g[a] = g[a - 1]
            g[0] = into


@njit(cache=True)
def _covariance(s: Floats, row: int, r: int, lags: int, whole: bool, cov: Floats) -> bool:
    """Unpack the covariance less ma ma'; True where it is zero."""
    c = HEAD + r + lags
    size = 0.0
    for a in range(r):
        for b in range(a, r):
            cov[a, b] = cov[b, a] = s[c, row]
            size += abs(s[c, row])
            c += 1
    if whole:
        for a in range(r):
            for b in range(lags):
                cov[a, r + b] = cov[r + b, a] = s[c, row]
                size += abs(s[c, row])
                c += 1
        for a in range(lags):
            for b in range(a, lags):
                cov[r + a, r + b] = cov[r + b, r + a] = s[c, row]
                size += abs(s[c, row])
                c += 1
    return size == 0.0

"""Exact likelihood of a complete series for LANES parameter vectors at once, the inner loop of estimation.

Fast filter of Morf, Sidhu and Kailath (1974), for Harvey's ARMA state from its stationary start:

    P_{t+1} - P_t = x_t y_t y_t',   h = y_t[0],   F_{t+1} = F_t + x_t h^2,   M_{t+1} = M_t + x_t h T y_t,
    y_{t+1} = T y_t - M_t h / F_t,   x_{t+1} = x_t F_t / F_{t+1},   M = T P Z'

O(r) a step where the covariance recursion takes O(r^2). F falls to 1 and stays there; then only the coefficients that
are not zero matter, which are few in a seasonal model.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.arima.stationary import first_column

__all__ = ["LANES", "lanes_objective", "profile", "squares_floor"]

Floats = NDArray[np.float64]

LANES = 8  # parameter vectors a pass: one vector register of doubles
SETTLED = 1e-9  # F / sigma^2 - 1 below it counts as zero: error of the log-likelihood below 1e-6


@njit(cache=True, fastmath={"contract"})
def _filter_lanes(w: Floats, phi: Floats, ma: Floats, f: Floats, m: Floats, cross: Floats, log_f: Floats) -> None:
    """Sums over t of v_i v_j / F (`cross` [c, c, LANES], lower) and of log F, for the columns of w [c, n].

    `phi`, `ma`, `m` [r, LANES]; `f` [LANES]. `f` and `m` start as P[0, 0] and T P Z' and are overwritten.
    """
    c, n = w.shape
    r = phi.shape[0]
    y = m.copy()
    a = np.zeros((c, r + 1, LANES))
    x = np.empty(LANES)
    inv = np.empty(LANES)
    h = np.empty(LANES)
    xh = np.empty(LANES)
    v = np.empty((c, LANES))
    product = np.ones(LANES)
    for lane in range(LANES):
        x[lane] = -1.0 / f[lane]
    t = 0
    while t < n:
        worst = 0.0
        for lane in range(LANES):
            inv[lane] = 1.0 / f[lane]
            worst = max(worst, f[lane] - 1.0)
            product[lane] *= f[lane]
        if worst < SETTLED:
            for lane in range(LANES):
                product[lane] /= f[lane]
            break
        if t % 16 == 15:
            for lane in range(LANES):
                log_f[lane] += math.log(product[lane])
                product[lane] = 1.0
        for i in range(c):
            for lane in range(LANES):
                v[i, lane] = w[i, t] - a[i, 0, lane]
            for j in range(i + 1):
                for lane in range(LANES):
                    cross[i, j, lane] += v[i, lane] * v[j, lane] * inv[lane]
        for i in range(c):
            first = a[i, 0].copy()
            for j in range(r):
                for lane in range(LANES):
                    a[i, j, lane] = phi[j, lane] * first[lane] + a[i, j + 1, lane] + m[j, lane] * inv[lane] * v[i, lane]
        for lane in range(LANES):
            h[lane] = y[0, lane]
            xh[lane] = x[lane] * h[lane]
        for j in range(r):
            for lane in range(LANES):
                moved = phi[j, lane] * h[lane] + (y[j + 1, lane] if j + 1 < r else 0.0)
                y[j, lane] = moved - m[j, lane] * inv[lane] * h[lane]
                m[j, lane] += xh[lane] * moved
        for lane in range(LANES):
            previous = f[lane]
            f[lane] += xh[lane] * h[lane]
            x[lane] *= previous / f[lane]
        t += 1
    for lane in range(LANES):
        log_f[lane] += math.log(product[lane])
    if t < n:
        _settled_lanes(w, t, phi, ma, a, cross)


@njit(cache=True, fastmath={"contract"})
def _settled_lanes(w: Floats, start: int, phi: Floats, ma: Floats, a: Floats, cross: Floats) -> None:
    """The rest of `_filter_lanes` with F = 1: each value adds to the predictions at its non-zero lags."""
    c, n = w.shape
    r = phi.shape[0]
    ar_lags = np.empty(r, np.int64)
    ma_lags = np.empty(r, np.int64)
    n_ar = 0
    n_ma = 0
    for j in range(r):
        for lane in range(LANES):
            if phi[j, lane] != 0.0:
                ar_lags[n_ar] = j
                n_ar += 1
                break
        if j + 1 < r:
            for lane in range(LANES):
                if ma[j + 1, lane] != 0.0:
                    ma_lags[n_ma] = j
                    n_ma += 1
                    break
    ahead = np.empty((n - start + r + 1, LANES))
    v = np.empty((c, n - start, LANES))
    for i in range(c):
        ahead[:] = 0.0
        ahead[:r] = a[i, :r]
        for t in range(n - start):
            value = w[i, start + t]
            for lane in range(LANES):
                v[i, t, lane] = value - ahead[t, lane]
            for k in range(n_ar):
                j = ar_lags[k]
                for lane in range(LANES):
                    ahead[t + 1 + j, lane] += phi[j, lane] * value
            for k in range(n_ma):
                j = ma_lags[k]
                for lane in range(LANES):
                    ahead[t + 1 + j, lane] += ma[j + 1, lane] * v[i, t, lane]
    for i in range(c):
        for j in range(i + 1):
            for t in range(n - start):
                for lane in range(LANES):
                    cross[i, j, lane] += v[i, t, lane] * v[j, t, lane]


@njit(cache=True)
def lanes_objective(w: Floats, phi: Floats, ma: Floats, value: Floats, beta: Floats, sums: Floats) -> None:
    """-2 log-likelihood, with sigma^2 and the coefficients of w[1:] profiled out, less n (log 2 pi + 1).

    `w` [c, n]: the differenced series and the differenced regressors (a row of ones for a mean); `phi`, `ma`
    [r, LANES] with ma[0] = 1. Fills `value` [LANES] (inf where not stationary), `beta` [c - 1, LANES] and
    `sums` [LANES], the sum of squares at its minimum.
    """
    c, n = w.shape
    r = phi.shape[0]
    f = np.empty(LANES)
    m = np.empty((r, LANES))
    column = np.empty(r)
    work = np.empty((r + 1) ** 2 + 6 * r + 8)
    valid = np.ones(LANES, np.bool_)
    for lane in range(LANES):
        if not first_column(phi[:, lane].copy(), ma[:, lane].copy(), column, work):
            valid[lane] = False
            phi[:, lane] = 0.0
            ma[1:, lane] = 0.0
            column[:] = 0.0
            column[0] = 1.0
        f[lane] = column[0]
        for j in range(r):
            m[j, lane] = phi[j, lane] * column[0] + (column[j + 1] if j + 1 < r else 0.0)
    cross = np.zeros((c, c, LANES))
    log_f = np.zeros(LANES)
    _filter_lanes(w, phi, ma, f, m, cross, log_f)
    normal = np.empty((c, c))
    one_beta = np.empty(c - 1)
    floor = squares_floor(w[0])
    for lane in range(LANES):
        for i in range(c):
            for j in range(i + 1):
                normal[i, j] = normal[j, i] = cross[i, j, lane]
        squares = max(profile(normal, one_beta), floor)
        beta[:, lane] = one_beta
        sums[lane] = squares
        value[lane] = n * math.log(squares / n) + log_f[lane] if valid[lane] else math.inf


@njit(cache=True)
def squares_floor(y: Floats) -> float:
    """The least sum of squares that is more than rounding: a series explained without rest keeps a variance."""
    total = 0.0
    for t in range(y.shape[0]):
        if not math.isnan(y[t]):
            total += y[t] * y[t]
    return 1e-22 * total + 1e-200


@njit(cache=True)
def profile(normal: Floats, beta: Floats) -> float:
    """Least squares from the moments `normal` [c, c] of (y, x_1, ..): fills `beta` [c - 1], returns the residual's.

    A regressor without variance left (a mean under differencing, a column twice) gets the coefficient 0.
    """
    c = normal.shape[0]
    for i in range(c - 1):
        beta[i] = 0.0
    if c == 1:
        return float(normal[0, 0])
    system = normal[1:, 1:].copy()
    right = normal[1:, 0].copy()
    size = np.diag(system).copy()
    used = np.ones(c - 1, np.bool_)
    for i in range(c - 1):  # Gaussian elimination: symmetric, positive semidefinite
        if not system[i, i] > 1e-11 * size[i]:
            used[i] = False
            continue
        for j in range(i + 1, c - 1):
            factor = system[j, i] / system[i, i]
            for k in range(i, c - 1):
                system[j, k] -= factor * system[i, k]
            right[j] -= factor * right[i]
    squares = float(normal[0, 0])
    for i in range(c - 2, -1, -1):
        if used[i]:
            total = right[i]
            for k in range(i + 1, c - 1):
                total -= system[i, k] * beta[k]
            beta[i] = total / system[i, i]
            squares -= right[i] * right[i] / system[i, i]
    return squares

"""Exact start of a stationary ARMA: autocovariances and the covariance of Harvey's state, in units of sigma^2.

Step-down and step-up recursions: Brockwell and Davis, Time Series: Theory and Methods (1991), 5.2.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["arma_autocovariances", "first_column", "start_excess"]

Floats = NDArray[np.float64]


@njit(cache=True)
def arma_autocovariances(phi: Floats, ma: Floats, gamma: Floats, work: Floats) -> bool:
    """Autocovariances gamma[0..] of an ARMA with unit innovation variance; False where it is not stationary.

    `phi` [r] autoregressive, `ma` [r] moving average with ma[0] = 1; `gamma` [any length] is filled;
    `work` needs 2 r + (r + 1)**2 + len(gamma) + r entries.
    """
    r = phi.shape[0]
    p = r
    while p > 0 and phi[p - 1] == 0.0:
        p -= 1
    q = r - 1
    while q > 0 and ma[q] == 0.0:
        q -= 1
    n = gamma.shape[0]
    top = n + q
    levels = work[: (r + 1) * (r + 1)].reshape(r + 1, r + 1)  # levels[k, :k]: the predictor of order k
    auto = work[(r + 1) * (r + 1) : (r + 1) * (r + 1) + top + 1]
    for i in range(p):
        levels[p, i] = phi[i]
    variance = 1.0
    for k in range(p, 0, -1):
        reflection = levels[k, k - 1]
        shrink = 1.0 - reflection * reflection
        if not shrink > 0.0:
            return False
        variance /= shrink
        for i in range(k - 1):
            levels[k - 1, i] = (levels[k, i] + reflection * levels[k, k - 2 - i]) / shrink
    auto[0] = variance
    for k in range(1, top + 1):
        total = 0.0
        if k <= p:
            # The prediction of order k is exact at lag k: gamma(k) = sum_i levels[k, i] gamma(k - 1 - i), by order
            # k - 1 plus the reflection times that order's error variance.
            for i in range(k - 1):
                total += levels[k - 1, i] * auto[k - 1 - i]
            error = auto[0]
            for i in range(k - 1):
                error -= levels[k - 1, i] * auto[i + 1]
            total += levels[k, k - 1] * error
        else:
            for i in range(p):
                total += phi[i] * auto[k - 1 - i]
        auto[k] = total
    for k in range(n):
        gamma[k] = 0.0
    for lag in range(q + 1):
        weight = 0.0
        for i in range(q + 1 - lag):
            weight += ma[i] * ma[i + lag]
        for k in range(n):
            if lag == 0:
                gamma[k] += weight * auto[k]
            else:
                gamma[k] += weight * (auto[k + lag] + auto[abs(k - lag)])
    return True


@njit(cache=True)
def first_column(phi: Floats, ma: Floats, column: Floats, work: Floats) -> bool:
    """Covariance [r] of the stationary state with its first entry, w_t; False where it is not stationary.

    State i is sum_{j>=i} phi_j w_{t-1-(j-i)} + ma_j e_{t-(j-i)} (indices from 0; Harvey 1989, 3.3.2).
    `work` needs (r + 1)**2 + 4 r + 4 entries.
    """
    r = phi.shape[0]
    gamma = work[: r + 1]
    psi = work[r + 1 : 2 * r + 1]
    if not arma_autocovariances(phi, ma, gamma, work[2 * r + 1 :]):
        return False
    for j in range(r):
        psi[j] = ma[j]
        for i in range(j):
            psi[j] += phi[i] * psi[j - 1 - i]
    for i in range(r):
        total = 0.0
        for j in range(i, r):
            total += phi[j] * gamma[1 + j - i] + ma[j] * psi[j - i]
        column[i] = total
    return True


@njit(cache=True)
def start_excess(phi: Floats, ma: Floats, excess: Floats, work: Floats) -> bool:
    """Stationary state covariance less ma ma', [r, r]: what is not yet known beyond the next innovation.

    From P = T P T' + ma ma' the inner entries follow backwards from the first row. `work` as in `first_column`, + r.
    """
    r = phi.shape[0]
    column = work[:r]
    if not first_column(phi, ma, column, work[r:]):
        return False
    for i in range(r):
        excess[0, i] = column[i]
        excess[i, 0] = column[i]
    for i in range(r - 1, 0, -1):
        for j in range(r - 1, i - 1, -1):
            value = phi[i] * phi[j] * column[0] + ma[i] * ma[j]
            if j + 1 < r:
                value += phi[i] * column[j + 1] + phi[j] * (column[i + 1] if i + 1 < r else 0.0) + excess[i + 1, j + 1]
            elif i + 1 < r:
                value += phi[j] * column[i + 1]
            excess[i, j] = value
            excess[j, i] = value
    for i in range(r):
        for j in range(r):
            excess[i, j] -= ma[i] * ma[j]
    return True

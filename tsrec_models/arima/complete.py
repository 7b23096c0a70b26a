"""One step of many series whose lags were all observed: the whole cost of the usual case.

With P = ma ma' + E (units of sigma^2, ma[0] = 1) the covariance recursion needs neither phi nor the lags:

    E'[i, j] = E[i+1, j+1] + (f m_i m_j - m_i g_j - g_i m_j - g_i g_j) / (1 + f),   f = E[0, 0],
                                                                                    m_i = ma[i+1], g_i = E[0, i+1]

since the observed w leaves only past innovations unknown. E shrinks to zero as these become known: the steady state is
E = 0, the plain recursion of innovations.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.arima.layout import HEAD, STEADY

__all__ = ["LANES", "exact_block", "steady_block"]

Floats = NDArray[np.float64]

LANES = 64  # series a block: buffers of a (2,1,2) stay in the first-level cache


@njit(cache=True, fastmath={"contract"})
def steady_block(s: Floats, q: Floats, at: int, n: int, u: Floats, v: Floats, r: int, lags: int, w: Floats) -> None:
    """One value for the series at .. at + n - 1, all steady and observed; `u` [n] values less regressors."""
    a0 = HEAD
    lag0 = HEAD + r
    for i in range(n):
        w[i] = u[i] - q[lags + 2 * r - 1, at + i]
    for j in range(lags):
        for i in range(n):
            w[i] -= q[j, at + i] * s[lag0 + j, at + i]
    for i in range(n):
        v[i] = w[i] - s[a0, at + i]
    for j in range(r - 1):
        for i in range(n):
            s[a0 + j, at + i] = q[lags + j, at + i] * w[i] + s[a0 + j + 1, at + i] + q[lags + r + j, at + i] * v[i]
    for i in range(n):
        s[a0 + r - 1, at + i] = q[lags + r - 1, at + i] * w[i]
    for j in range(lags - 1, 0, -1):
        for i in range(n):
            s[lag0 + j, at + i] = s[lag0 + j - 1, at + i]
    if lags > 0:
        for i in range(n):
            s[lag0, at + i] = u[i]
    for i in range(n):
        s[2, at + i] += 1.0
        s[5, at + i] += v[i] * v[i]


@njit(cache=True, fastmath={"contract"})
def exact_block(
    s: Floats, q: Floats, at: int, n: int, u: Floats, v: Floats, f: Floats, r: int, lags: int, w: Floats
) -> None:
    """As `steady_block` for series in EXACT or STEADY mode; `f` [n] receives F / sigma^2. Settles what has settled.

    `w` [LANES * (r + 3)] is scratch.
    """
    a0 = HEAD
    lag0 = HEAD + r
    e0 = HEAD + r + lags
    ma0 = lags + r - 1  # q[ma0 + i] is ma[i] for i >= 1
    trace = LANES
    for i in range(n):
        w[i] = u[i] - q[lags + 2 * r - 1, at + i]
    for j in range(lags):
        for i in range(n):
            w[i] -= q[j, at + i] * s[lag0 + j, at + i]
    for i in range(n):
        v[i] = w[i] - s[a0, at + i]
        f[i] = 1.0 + s[e0, at + i]
        w[trace + i] = 0.0
    for j in range(r):  # g, the first row of E, before it is overwritten
        g = LANES * (2 + j)
        for i in range(n):
            w[g + i] = s[e0 + j, at + i]
    for j in range(r - 1):
        g = LANES * (3 + j)
        for i in range(n):
            s[a0 + j, at + i] = (
                q[lags + j, at + i] * w[i] + s[a0 + j + 1, at + i] + (q[ma0 + j + 1, at + i] + w[g + i]) * v[i] / f[i]
            )
    for i in range(n):
        s[a0 + r - 1, at + i] = q[lags + r - 1, at + i] * w[i]
    to = e0
    for j in range(r - 1):
        gj = LANES * (3 + j)
        source = to + r - j  # E[j + 1, j + 1]
        for k in range(j, r - 1):
            gk = LANES * (3 + k)
            for i in range(n):
                mj = q[ma0 + j + 1, at + i]
                mk = q[ma0 + k + 1, at + i]
                change = (f[i] - 1.0) * mj * mk - mj * w[gk + i] - w[gj + i] * (mk + w[gk + i])
                s[to + k - j, at + i] = s[source + k - j, at + i] + change / f[i]
        for i in range(n):
            w[trace + i] += s[to, at + i]
            s[to + r - 1 - j, at + i] = 0.0
        to = source
    for i in range(n):
        s[to, at + i] = 0.0
    for j in range(lags - 1, 0, -1):
        for i in range(n):
            s[lag0 + j, at + i] = s[lag0 + j - 1, at + i]
    if lags > 0:
        for i in range(n):
            s[lag0, at + i] = u[i]
    for i in range(n):
        s[2, at + i] += 1.0
        s[4, at + i] += math.log(f[i])
        s[5, at + i] += v[i] * v[i] / f[i]
    settled = lags + 2 * r + 2
    for i in range(n):
        if abs(w[trace + i]) < q[settled, at + i]:
            s[0, at + i] = STEADY
            for j in range(r * (r + 1) // 2):
                s[e0 + j, at + i] = 0.0

"""The Kalman filter of many ARIMA series at once, on the arrays that `Layout` describes.

Series are taken in blocks of LANES, side by side in memory, for the compiler to work on several at a time. A block's
series with complete lags go together through `complete`; those with a missing value one by one through `gap`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.arima.complete import LANES, exact_block, steady_block
from tsrec_models.arima.gap import single
from tsrec_models.arima.layout import EXACT, HEAD, STEADY

__all__ = ["step", "steps"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@njit(cache=True)
def step(
    s: Floats,
    q: Floats,
    rows: Ints,
    y: Floats,
    x: Floats,
    r: int,
    lags: int,
    k: int,
    innovation: Floats,
    variance: Floats,
) -> None:
    """One value y [n] for each of `rows` [n] (distinct), regressors x [n, k]; fills innovation and variance [n].

    `s` [state_width, series] and `q` [parameter_width, series] as in `Layout`.
    """
    n = rows.shape[0]
    u = np.empty(LANES)
    f = np.empty(LANES)
    m = r + lags
    work = np.empty(max(LANES * (r + 3), 4 * m + 2 * r + lags))
    cov = np.empty((m, m))
    inf = np.empty((lags, lags))
    out = np.empty(4)
    width = HEAD + r + lags + r * (r + 1) // 2
    lane_s = np.empty((width, LANES))
    lane_q = np.empty((q.shape[0], LANES))
    lane_v = np.empty(LANES)
    sigma2_at = lags + 2 * r
    beta0 = lags + 2 * r + 3
    pick = np.empty(LANES, np.int64)
    for start in range(0, n, LANES):
        b = min(LANES, n - start)
        steady = 0
        fast = 0
        at = rows[start]
        contiguous = True
        for i in range(b):
            row = rows[start + i]
            value = y[start + i]
            mode = s[0, row]
            seen = math.isfinite(value)
            u[i] = value if seen else math.nan
            contiguous &= row == at + i
            if seen and mode in (STEADY, EXACT):
                pick[fast] = start + i
                fast += 1
                steady += mode == STEADY
        for j in range(k):
            for i in range(b):
                u[i] -= q[beta0 + j, rows[start + i]] * x[start + i, j]
        if fast == b and contiguous:
            if steady == b:
                steady_block(s, q, at, b, u, innovation[start : start + b], r, lags, work)
                for i in range(b):
                    variance[start + i] = q[sigma2_at, at + i]
            else:
                exact_block(s, q, at, b, u, innovation[start : start + b], f, r, lags, work)
                for i in range(b):
                    variance[start + i] = f[i] * q[sigma2_at, at + i]
            continue
        if fast < b:
            taken = 0
            for i in range(b):
                if taken < fast and pick[taken] == start + i:
                    u[taken] = u[i]
                    taken += 1
                    continue
                row = rows[start + i]
                single(s, q, row, u[i], r, lags, cov, inf, work, out)
                innovation[start + i] = out[0]
                variance[start + i] = out[1] * q[sigma2_at, row]
        take = HEAD + r + lags if steady == fast else width
        for j in range(take):
            for i in range(fast):
                lane_s[j, i] = s[j, rows[pick[i]]]
        for j in range(beta0):
            for i in range(fast):
                lane_q[j, i] = q[j, rows[pick[i]]]
        if steady == fast:
            steady_block(lane_s, lane_q, 0, fast, u, lane_v, r, lags, work)
            for i in range(fast):
                f[i] = 1.0
        else:
            exact_block(lane_s, lane_q, 0, fast, u, lane_v, f, r, lags, work)
        for j in range(take):
            for i in range(fast):
                s[j, rows[pick[i]]] = lane_s[j, i]
        for i in range(fast):
            innovation[pick[i]] = lane_v[i]
            variance[pick[i]] = f[i] * lane_q[sigma2_at, i]


@njit(cache=True)
def steps(
    s: Floats,
    q: Floats,
    rows: Ints,
    y: Floats,
    x: Floats,
    r: int,
    lags: int,
    k: int,
    innovation: Floats,
    variance: Floats,
) -> None:
    """`step` for each row of y [times, n], x [times, n, k] in turn; fills innovation and variance [times, n]."""
    for t in range(y.shape[0]):
        step(s, q, rows, y[t], x[t], r, lags, k, innovation[t], variance[t])

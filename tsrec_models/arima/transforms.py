"""From free numbers to coefficients of stationary and invertible polynomials, through partial autocorrelations.

Monahan (1984); x / sqrt(1 + x^2) maps a free number to a partial autocorrelation, as statsmodels does.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["LIMIT", "constrain", "constrain_all", "polynomials", "unconstrain"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LIMIT = 300.0  # of a free number: partial autocorrelations up to 1 - 6e-6, short of the unit circle


@njit(cache=True)
def constrain(free: Floats, out: Floats) -> None:
    """Autoregressive coefficients `out` [k] of the free numbers [k]; for moving averages change the sign."""
    k = free.shape[0]
    old = np.empty(k)
    for i in range(k):
        x = min(max(free[i], -LIMIT), LIMIT)
        reflection = x / math.sqrt(1.0 + x * x)
        for j in range(i):
            old[j] = out[j]
        out[i] = reflection
        for j in range(i):
            out[j] = old[j] - reflection * old[i - 1 - j]


@njit(cache=True)
def constrain_all(free: Floats) -> Floats:
    """`constrain` of each row: [n, k] from [n, k]."""
    out = np.empty(free.shape)
    for i in range(free.shape[0]):
        constrain(free[i], out[i])
    return out


@njit(cache=True)
def unconstrain(coefficients: Floats, free: Floats) -> bool:
    """The inverse of `constrain`; False (and `free` untouched) where the polynomial is not stationary."""
    k = coefficients.shape[0]
    level = coefficients.copy()
    below = np.empty(k)
    reflections = np.empty(k)
    for i in range(k - 1, -1, -1):
        reflection = level[i]
        shrink = 1.0 - reflection * reflection
        if not shrink > 0.0:
            return False
        reflections[i] = reflection
        for j in range(i):
            below[j] = (level[j] + reflection * level[i - 1 - j]) / shrink
        for j in range(i):
            level[j] = below[j]
    for i in range(k):
        free[i] = reflections[i] / math.sqrt(1.0 - reflections[i] * reflections[i])
    return True


@njit(cache=True)
def _product(plain: Floats, seasonal: Floats, s: int, sign: float, out: Floats) -> None:
    """Multiplied-out lags 1 .. of (1 + sign plain)(1 + sign seasonal) into `out`, with the same sign convention."""
    out[:] = 0.0
    for i in range(plain.shape[0]):
        out[i] += plain[i]
    for j in range(seasonal.shape[0]):
        at = s * (j + 1) - 1
        out[at] += seasonal[j]
        for i in range(plain.shape[0]):
            out[at + 1 + i] += sign * seasonal[j] * plain[i]


@njit(cache=True)
def polynomials(free: Floats, shape: Ints, phi: Floats, ma: Floats) -> None:
    """phi [r] and ma [r] (ma[0] = 1) of free numbers [p + q + P + Q], `shape` (p, q, P, Q, s)."""
    p, q, sp, sq, s = shape[0], shape[1], shape[2], shape[3], shape[4]
    plain = np.empty(max(p, q))
    seasonal = np.empty(max(sp, sq))
    constrain(free[:p], plain[:p])
    constrain(free[p + q : p + q + sp], seasonal[:sp])
    _product(plain[:p], seasonal[:sp], s, -1.0, phi)
    constrain(free[p : p + q], plain[:q])
    constrain(free[p + q + sp : p + q + sp + sq], seasonal[:sq])
    for i in range(q):
        plain[i] = -plain[i]
    for i in range(sq):
        seasonal[i] = -seasonal[i]
    ma[0] = 1.0
    _product(plain[:q], seasonal[:sq], s, 1.0, ma[1:])

"""How often to difference a series: KPSS for the trend, the strength of seasonality for the season.

Kwiatkowski et al. (1992) with the bandwidth of Hyndman and Khandakar (2008); seasonal strength 1 - Var(rest) /
Var(season + rest) of Wang, Smith and Hyndman (2006), a season worth differencing above 0.64 (Hyndman's fpp3, 9.1).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["choose_differences", "difference", "kpss", "seasonal_strength"]

Floats = NDArray[np.float64]

KPSS_5_PERCENT = 0.463  # critical value of level stationarity
STRONG_SEASON = 0.64
SEASON_YEARS = 5  # phases averaged on each side: how fast a season may change its shape


@njit(cache=True)
def difference(y: Floats, d: int, seasonal_d: int, s: int) -> Floats:
    """(1 - B)^d (1 - B^s)^D y: [n - d - s D]."""
    w = y.copy()
    for _ in range(seasonal_d):
        w = w[s:] - w[:-s]
    for _ in range(d):
        w = w[1:] - w[:-1]
    return w


@njit(cache=True)
def kpss(y: Floats) -> float:
    """The KPSS statistic of level stationarity; 0 for a constant."""
    n = y.shape[0]
    e = y - y.mean()
    scale = float(np.dot(e, e)) / n
    # What is left of a constant after the mean is taken off are roundings: some 1e-16 of it, squared.
    if not scale > 1e-28 * (y.mean() ** 2 + 1e-300):
        return 0.0
    lags = int(3.0 * math.sqrt(n) / 13.0)
    variance = scale
    for k in range(1, lags + 1):
        variance += 2.0 * (1.0 - k / (lags + 1.0)) * np.dot(e[k:], e[:-k]) / n
    total = 0.0
    partial = 0.0
    for t in range(n):
        partial += e[t]
        total += partial * partial
    return float(total / (n * n * max(variance, 1e-300)))


@njit(cache=True)
def seasonal_strength(y: Floats, s: int) -> float:
    """Share in [0, 1] of the detrended variance that a slowly changing season of period `s` explains."""
    n = y.shape[0]
    if s < 2 or n < 3 * s:
        return 0.0
    half = s // 2
    even = s % 2 == 0
    detrended = np.empty(n - 2 * half)
    for t in range(half, n - half):
        total = 0.0
        for k in range(-half, half + 1):
            weight = 0.5 if even and (k == -half or k == half) else 1.0
            total += weight * y[t + k]
        detrended[t - half] = y[t] - total / s
    m = detrended.shape[0]
    season = np.empty(m)
    for t in range(m):
        total = 0.0
        count = 0
        for k in range(-SEASON_YEARS, SEASON_YEARS + 1):
            at = t + k * s
            if 0 <= at < m:
                total += detrended[at]
                count += 1
        season[t] = total / count
    rest = np.var(detrended - season)
    whole = np.var(detrended)
    return max(0.0, 1.0 - rest / whole) if whole > 0.0 else 0.0


@njit(cache=True)
def choose_differences(y: Floats, s: int) -> tuple[int, int]:
    """(d, D) for a complete series: D of 0 or 1 by the strength of its season, then d of 0 to 2 by KPSS."""
    seasonal_d = 1 if s > 1 and seasonal_strength(y, s) > STRONG_SEASON else 0
    w = difference(y, 0, seasonal_d, s)
    d = 0
    while d < 2 and w.shape[0] > 10 and kpss(w) > KPSS_5_PERCENT:
        w = difference(w, 1, 0, 1)
        d += 1
    return d, seasonal_d

"""Finds the period of a season from the autocorrelations of a series."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tsrec_models.arima.differencing import seasonal_strength
from tsrec_models.arima.filling import fill

__all__ = ["detect_period", "detect_periods"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LONGEST = 400  # periods looked for: a longer one makes the filter's state too wide to be worth it
CYCLES = 4  # of a season that must have been seen
NOTABLE = 0.3  # autocorrelation at the period, after differencing
STRENGTH = 0.4  # share of the detrended variance that the season must explain


def detect_period(y: Floats) -> int:
    """The period of the dominant season of y [n] (NaN is missing), 1 where none is clear.

    The shortest lag whose autocorrelation, of the differenced series, is a peak near the highest of all; multiples
    of a period have peaks just as high, so the shortest of the near-highest is the period itself.
    """
    seen = np.flatnonzero(np.isfinite(y))
    if len(seen) < 4 * CYCLES:
        return 1
    y = fill(np.where(np.isfinite(y), y, np.nan)[seen[0] : seen[-1] + 1], 1, False)
    w = np.diff(y)
    w = w - w.mean()
    spread = np.median(np.abs(w))
    if spread > 0:
        w = np.clip(w, -8 * spread, 8 * spread)  # a single spike must not hide the season
    n = len(w)
    top = min(n // CYCLES, LONGEST)
    power = np.abs(np.fft.rfft(w, 2 * n)) ** 2
    acf = np.fft.irfft(power)[: top + 2]
    if top < 3 or not acf[0] > 0:
        return 1
    # Unbiased for the lag, so that long periods are not at a disadvantage.
    acf = acf / acf[0] * n / (n - np.arange(len(acf)))
    peaks = [k for k in range(2, top + 1) if acf[k] >= acf[k - 1] and acf[k] >= acf[k + 1] and acf[k] > NOTABLE]
    if not peaks:
        return 1
    best = max(acf[k] for k in peaks)
    for k in peaks:
        if acf[k] > 0.8 * best and seasonal_strength(y, k) > STRENGTH:
            return k
    return 1


def detect_periods(series: Sequence[Floats]) -> Ints:
    """`detect_period` of each series: [n]."""
    return np.array([detect_period(np.asarray(y, dtype=np.float64)) for y in series], dtype=np.int64)

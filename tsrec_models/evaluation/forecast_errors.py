"""Errors of point forecasts: MASE and sMAPE as the M4 competition defines them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["absolute_scaled_error", "naive_error", "symmetric_percentage_error"]

Floats = NDArray[np.float64]


def naive_error(past: Floats, period: int) -> float:
    """Mean absolute error of repeating the value one `period` ago, over the past [n]; NaN where there is none."""
    period = period if len(past) > period else 1
    changes = np.abs(past[period:] - past[:-period])
    changes = changes[np.isfinite(changes)]
    error = float(changes.mean()) if len(changes) else np.nan
    return error if error > 0 else np.nan


def absolute_scaled_error(actual: Floats, forecast: Floats, naive: Floats) -> Floats:
    """MASE [series] of forecasts [series, h] (Hyndman and Koehler 2006); missing actual values are left out."""
    result: Floats = np.nanmean(np.abs(actual - forecast), axis=1) / naive
    return result


def symmetric_percentage_error(actual: Floats, forecast: Floats) -> Floats:
    """sMAPE [series] in percent, 0 to 200; where both are zero the forecast is perfect."""
    size = np.abs(actual) + np.abs(forecast)
    error = np.abs(actual - forecast)
    ratio = np.where(size > 0, error / np.where(size > 0, size, 1.0), np.where(np.isnan(size), np.nan, 0.0))
    result: Floats = 200.0 * np.nanmean(ratio, axis=1)
    return result

"""Counts, such as an item's demand a window, on a scale where ARIMA's assumptions hold, and back without bias.

Anscombe (1948): t = 2 sqrt(x + 3/8) of a Poisson count has a variance near 1 whatever its mean. Back from a normal
forecast of t with mean m and variance v: x = t^2 / 4 - 3/8 has the mean (m^2 + v) / 4 - 3/8, not m^2 / 4 - 3/8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsrec_models.arima.conformal import Intervals
from tsrec_models.base import Forecast, ModelError

__all__ = ["count_forecast", "count_intervals", "stabilise"]

Floats = NDArray[np.float64]

OFFSET = 0.375  # Anscombe's 3/8


def stabilise(counts: NDArray[np.int64] | Floats) -> Floats:
    """Counts (0 or more; NaN is missing), any shape, on the scale to model. Raises ModelError for negative ones."""
    counts = np.asarray(counts, dtype=np.float64)
    if (counts < 0).any():
        raise ModelError(f"count {np.nanmin(counts)}: counts cannot be negative; net returns out before counting")
    result: Floats = 2.0 * np.sqrt(counts + OFFSET)
    return result


def count_forecast(forecast: Forecast) -> Forecast:
    """Mean and variance of the counts, given those of the modelled scale, of the same shape."""
    m, v = forecast.mean, forecast.variance
    mean = np.maximum((m * m + v) / 4.0 - OFFSET, 0.0)
    return Forecast(mean, v * (v + 2.0 * m * m) / 8.0)


def count_intervals(intervals: Intervals) -> Intervals:
    """Intervals of the counts: the bounds go back as they are, since the scale keeps their order."""
    return Intervals(_back(intervals.lower), _back(intervals.upper))


def _back(t: Floats) -> Floats:
    t = np.maximum(t, 0.0)
    result: Floats = np.maximum(t * t / 4.0 - OFFSET, 0.0)
    return result

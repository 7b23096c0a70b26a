"""What items will be wanted in the next window: many series of counts at once, a pure function of their past.

Counts are stabilised (`counts`), modelled by ARIMA and forecast with adaptive conformal intervals, which learn on the
second half of the past what the first half's model is worth.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsrec_models.arima.calibrated import CalibratedBank
from tsrec_models.arima.counts import count_forecast, count_intervals, stabilise
from tsrec_models.arima.estimate import estimate
from tsrec_models.arima.order import Order
from tsrec_models.base import ModelError

__all__ = ["DemandForecast", "DemandJob", "forecast_demand"]

Floats = NDArray[np.float64]

#: Windows of an item's past that a forecast needs.
MIN_PAST = 20


@dataclass(frozen=True)
class DemandForecast:
    """Of each series, [n]: mean and interval of the next count."""

    mean: Floats
    lower: Floats
    upper: Floats


@dataclass(frozen=True)
class DemandJob:
    """Counts [times, series], NaN before a series begins; order of the model, coverage of the intervals."""

    counts: Floats
    order: tuple[int, int, int]
    level: float

    @property
    def digest(self) -> bytes:
        """Names the job by what it is made of."""
        content = hashlib.blake2b(np.ascontiguousarray(self.counts).tobytes(), digest_size=16)
        content.update(repr((self.counts.shape, self.order, self.level)).encode())
        return content.digest()

    @property
    def is_cheap(self) -> bool:
        """Whether it takes a millisecond or two: a few items."""
        return bool(self.counts.shape[1] <= 2)

    def solve(self) -> DemandForecast:
        """The forecast."""
        return forecast_demand(self.counts, self.order, self.level)


def forecast_demand(counts: Floats, order: tuple[int, int, int] = (0, 1, 1), level: float = 0.9) -> DemandForecast:
    """Mean and interval of the count after the last of each series; `counts` is [times, series].

    Raises ModelError for a series of fewer than twenty values.
    """
    times, n = counts.shape
    if n == 0:
        return DemandForecast(np.empty(0), np.empty(0), np.empty(0))
    known = np.isfinite(counts).sum(axis=0)
    if known.min() < MIN_PAST:
        raise ModelError(f"a series of {known.min()} counts: at least {MIN_PAST} are needed")
    values = stabilise(counts)
    rows = np.arange(n)
    # A series that never varies has nothing to estimate: a trace of noise makes its smoothing defined, and harmless.
    varies = np.nanmax(values, axis=0) > np.nanmin(values, axis=0)
    wiggle = 1e-3 * np.sin(np.arange(times, dtype=np.float64) ** 2)[:, None]
    values = np.where(varies[None, :], values, values + wiggle)
    fits = estimate([values[np.isfinite(values[:, i]), i] for i in range(n)], Order(*order))
    model = CalibratedBank(fits.bank(), horizons=1, level=level)
    half = times - int(known.min()) // 2
    model.warm_up(values[:half], rows, fits.n_coefficients())
    for t in range(half, times):
        model.step(values[t], rows)
    forecast, intervals = model.forecast(rows)
    back, bounds = count_forecast(forecast), count_intervals(intervals)
    return DemandForecast(back.mean[:, 0], bounds.lower[:, 0], bounds.upper[:, 0])

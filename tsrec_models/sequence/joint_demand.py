"""What each item's demand will be, by ARIMA, in a form that a network can multiply: a few factors of time and items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsrec_models.arima import Order, estimate
from tsrec_models.preparation.log import Log

__all__ = ["BINS", "HORIZON", "RANK", "Demand", "forecast_demand"]

#: Bins of equal length that the log's time is cut into, and bins forecast beyond its end.
BINS, HORIZON = 64, 16

#: Factors of the forecasts.
RANK = 8

#: One order for all: a level that persists and is met with noise (Box and Jenkins, 1970).
_ORDER = Order(1, 0, 1, mean=True)

#: Items forecast by a model of their own, at most, and the events each needs; the others by their mean so far.
_MOST_SERIES = 2000
_FEWEST_EVENTS = 10


@dataclass(frozen=True)
class Demand:
    """One-step forecasts of log(1 + events a bin), less each bin's mean: about factors @ loadings^T.

    start_s and width_s of the bins; factors [BINS + HORIZON, RANK], of which the last HORIZON are beyond the log;
    loadings [n_items, RANK].
    """

    start_s: float
    width_s: float
    factors: NDArray[np.float32]
    loadings: NDArray[np.float32]


def demand_series(log: Log) -> tuple[NDArray[np.float64], float, float]:
    """log(1 + events) of each bin and item [BINS, n_items], the first bin's start and the bins' length in seconds."""
    start, end = float(log.times.min()), float(log.times.max())
    width = max((end - start) / BINS, 1e-3)
    bins = np.minimum(((log.times - start) / width).astype(np.int64), BINS - 1)
    counts = np.bincount(bins * log.n_items + log.items, minlength=BINS * log.n_items)
    return np.log1p(counts.reshape(BINS, log.n_items)), start, width


def forecast_series(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Forecasts [BINS + HORIZON, n_items] of each bin of `y` [BINS, n_items] from the bins before it."""
    n_items = y.shape[1]
    forecasts = np.zeros((BINS + HORIZON, n_items))
    forecasts[1 : BINS + 1] = np.cumsum(y, axis=0) / np.arange(1, BINS + 1)[:, None]
    forecasts[BINS + 1 :] = forecasts[BINS]
    events = np.expm1(y).sum(axis=0)
    chosen = np.argsort(-events, kind="stable")[:_MOST_SERIES]
    chosen = np.sort(chosen[events[chosen] >= _FEWEST_EVENTS])
    if len(chosen):
        bank = estimate([y[:, item] for item in chosen], _ORDER).bank()
        innovations = bank.filter(np.ascontiguousarray(y[:, chosen])).value
        forecasts[:BINS, chosen] = np.nan_to_num(y[:, chosen] - innovations)
        forecasts[BINS:, chosen] = bank.forecast(HORIZON).mean.T
    return forecasts


def forecast_demand(log: Log, loadings: NDArray[np.float32] | None = None) -> Demand:
    """Demand of a log with times; with `loadings` [n_items, RANK] of an earlier one, in the same factors.

    A bin's forecast knows the bins before it alone; the parameters of the models come from the whole log.
    """
    y, start, width = demand_series(log)
    forecasts = forecast_series(y)
    forecasts -= forecasts.mean(axis=1, keepdims=True)
    n_items = log.n_items
    if loadings is None:
        rank = min(RANK, n_items, len(forecasts))
        _, _, right = np.linalg.svd(forecasts, full_matrices=False)
        basis = np.zeros((n_items, RANK))
        basis[:, :rank] = right[:rank].T * np.sqrt(n_items)
        loadings = basis.astype(np.float32)
    factors = (forecasts @ loadings / n_items).astype(np.float32)
    return Demand(start, width, factors, loadings)

"""Maximum likelihood estimates of many series at once, of a given order or of the order that AICc prefers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from tsrec_models.arima.bank import ArimaBank
from tsrec_models.arima.estimate_kernel import estimate_batch
from tsrec_models.arima.filling import Gaps
from tsrec_models.arima.layout import Layout
from tsrec_models.arima.order import Order
from tsrec_models.arima.parameters import Coefficients, pack_parameters
from tsrec_models.arima.season import detect_periods
from tsrec_models.arima.select import MAX_FREE
from tsrec_models.arima.transforms import constrain_all
from tsrec_models.base import ModelError

__all__ = ["Estimates", "estimate"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ORDER_FIELDS = ("p", "d", "q", "P", "D", "Q", "s", "mean")


@dataclass(frozen=True)
class Estimates:
    """Fitted models of n series, in arrays.

    `orders` [n, 8] as in ORDER_FIELDS; `free` [n, MAX_FREE] partial autocorrelations in disguise, see `transforms`;
    `mean` [n] of the differenced series, `beta` [n, k], `sigma2` [n]; `loglikelihood` [n] of the differenced series
    (exact diffuse less its constant where values are missing), `aicc` [n].
    """

    orders: Ints
    free: Floats
    mean: Floats
    beta: Floats
    sigma2: Floats
    loglikelihood: Floats
    aicc: Floats

    def __len__(self) -> int:
        return len(self.orders)

    def take(self, rows: Ints) -> Estimates:
        """The estimates of some series."""
        return Estimates(*(getattr(self, f.name)[rows] for f in fields(Estimates)))

    def n_coefficients(self) -> Floats:
        """How many coefficients were estimated of each series, [n]: lags, mean and regressors, not the variance."""
        lags = self.orders[:, [ORDER_FIELDS.index(name) for name in "pqPQ"]].sum(axis=1)
        count: Floats = (lags + self.orders[:, ORDER_FIELDS.index("mean")] + self.beta.shape[1]).astype(np.float64)
        return count

    def alike(self) -> list[Ints]:
        """Positions of the series that fit one bank well: those without a season, and those of each period.

        A bank is as wide as its widest series, so that one seasonal series would slow all others down.
        """
        seasonal = (self.orders[:, 3:6] > 0).any(axis=1)
        period = np.where(seasonal, self.orders[:, 6], 1)
        return [np.flatnonzero(period == one) for one in np.unique(period)]

    def order(self, i: int) -> Order:
        """Order of series `i`."""
        p, d, q, P, D, Q, s, mean = (int(v) for v in self.orders[i])
        return Order(p, d, q, P, D, Q, s if P or D or Q else 1, bool(mean))

    def groups(self) -> list[tuple[Ints, Coefficients]]:
        """Series of equal order together: their positions and coefficients."""
        found: list[tuple[Ints, Coefficients]] = []
        if not len(self):
            return found
        _, group = np.unique(self.orders, axis=0, return_inverse=True)
        for g in range(int(group.max()) + 1):
            at = np.flatnonzero(group == g)
            order = self.order(int(at[0]))
            parts = np.cumsum([order.p, order.q, order.P, order.Q])
            ar, ma, seasonal_ar, seasonal_ma, _ = np.split(self.free[at], parts, axis=1)
            coefficients = Coefficients(
                order,
                self.sigma2[at],
                constrain_all(ar),
                -constrain_all(ma),
                constrain_all(seasonal_ar),
                -constrain_all(seasonal_ma),
                self.mean[at],
                self.beta[at],
            )
            found.append((at, coefficients))
        return found

    def layout(self) -> Layout:
        """The smallest layout that holds every order."""
        orders = [self.order(int(i)) for i in np.unique(self.orders, axis=0, return_index=True)[1]]
        return Layout(max(o.n_states for o in orders), max(o.n_lags for o in orders), self.beta.shape[1])

    def pack(self, layout: Layout | None = None, steady_error: float = 1e-10) -> Floats:
        """Flat parameters [n, parameter_width] for a bank of that layout."""
        layout = self.layout() if layout is None else layout
        flat = np.empty((len(self), layout.parameter_width))
        for at, coefficients in self.groups():
            flat[at] = pack_parameters([coefficients], layout, steady_error)
        return flat

    def bank(self, layout: Layout | None = None) -> ArimaBank:
        """A bank with these parameters and no history yet."""
        layout = self.layout() if layout is None else layout
        return ArimaBank(len(self), self.pack(layout), layout)


def estimate(
    series: Sequence[Floats],
    order: Order | None = None,
    *,
    x: Sequence[Floats] | None = None,
    period: int | Sequence[int] | None = 1,
    gaps: Gaps = "kalman",
    executor: Executor | None = None,
    chunks: int = 1,
) -> Estimates:
    """Fit each of `series` ([n_i], NaN is missing) by exact maximum likelihood.

    Without `order` the differences are chosen by KPSS and seasonal strength and the rest by AICc, stepwise. `period`
    is that of the season (one for all or one each; 1: none; None: detected from each series). `x[i]` [n_i, k] are
    regressors. With `gaps` kalman the order is searched on the interpolated series and the parameters then estimated
    from what was observed alone; interpolate and mean estimate from the filled series. `executor` spreads the work
    over `chunks` tasks. Too short a series (fewer than 4 values) gets a random walk.

    Raises ModelError for regressors that do not fit or are not finite, an unknown kind of gaps, or too many lags.
    """
    series = [np.asarray(y, dtype=np.float64).ravel() for y in series]
    n = len(series)
    if gaps not in ("kalman", "interpolate", "mean"):
        raise ModelError(f"gaps {gaps!r}: one of kalman, interpolate, mean")
    if order is not None and order.n_coefficients - int(order.mean) > MAX_FREE:
        raise ModelError(f"order {order}: at most {MAX_FREE} lags in all can be estimated")
    if order is not None:
        periods = np.full(n, order.s, dtype=np.int64)
    elif period is None:
        periods = detect_periods(series)
    else:
        periods = np.broadcast_to(np.asarray(period, dtype=np.int64), (n,)).copy()
    k = 0
    if x is not None:
        x = [np.asarray(one, dtype=np.float64) for one in x]
        k = x[0].shape[1] if len(x) else 0
        for i, (one, y) in enumerate(zip(x, series, strict=True)):
            if one.shape != (len(y), k) or not np.isfinite(one).all():
                raise ModelError(f"regressors of series {i}: need finite values of shape {(len(y), k)}")
    fixed = np.full(8, -1, dtype=np.int64)
    if order is not None:
        fixed[:] = [int(getattr(order, name)) for name in ORDER_FIELDS]
    if executor is None or chunks <= 1 or n <= 1:
        return _estimate(series, x, k, periods, fixed, gaps)
    parts = np.array_split(np.arange(n), min(chunks, n))
    tasks = [
        executor.submit(
            _estimate,
            [series[i] for i in part],
            None if x is None else [x[i] for i in part],
            k,
            periods[part],
            fixed,
            gaps,
        )
        for part in parts
    ]
    results = [task.result() for task in tasks]
    return Estimates(*(np.concatenate([getattr(one, f.name) for one in results]) for f in fields(Estimates)))


def _estimate(
    series: Sequence[Floats], x: Sequence[Floats] | None, k: int, periods: Ints, fixed: Ints, gaps: str
) -> Estimates:
    n = len(series)
    offsets = np.concatenate([[0], np.cumsum([len(y) for y in series])]).astype(np.int64)
    flat = np.concatenate(series) if n else np.zeros(0)
    flat = np.where(np.isfinite(flat), flat, np.nan)
    flat_x = np.ascontiguousarray(np.concatenate(x).T) if x is not None and n else np.zeros((k, len(flat)))
    orders = np.zeros((n, 8), dtype=np.int64)
    free = np.zeros((n, MAX_FREE))
    beta = np.zeros((n, 1 + k))
    fits = np.zeros((n, 3))
    estimate_batch(flat, offsets, flat_x, periods, fixed, gaps == "mean", gaps == "kalman", orders, free, beta, fits)
    return Estimates(orders, free, beta[:, 0], beta[:, 1:], fits[:, 2], fits[:, 1], fits[:, 0])

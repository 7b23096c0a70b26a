"""Parameters of a batch of ARIMA models, each of its own order, in one flat array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.arima.layout import EXACT, START, Layout
from tsrec_models.arima.order import Order, difference_coefficients, multiply_out
from tsrec_models.arima.stationary import start_excess
from tsrec_models.base import ModelError

__all__ = ["Coefficients", "pack_parameters", "start_states"]

Floats = NDArray[np.float64]

MAX_MEMORY = 20_000  # steps over which an error in the state may linger; beyond it a series stays exact


def _none(n: int) -> Floats:
    return np.zeros((n, 0))


@dataclass
class Coefficients:
    """Coefficients of n series of one order. Signs as in statsmodels: y = ar y_1 + .. + e + ma e_1 + ..

    `ar` [n, p], `ma` [n, q], `seasonal_ar` [n, P], `seasonal_ma` [n, Q], `mean` [n] of the differenced series,
    `beta` [n, k] of the regressors, `sigma2` [n] variance of the innovations.
    """

    order: Order
    sigma2: Floats
    ar: Floats = field(default_factory=lambda: _none(0))
    ma: Floats = field(default_factory=lambda: _none(0))
    seasonal_ar: Floats = field(default_factory=lambda: _none(0))
    seasonal_ma: Floats = field(default_factory=lambda: _none(0))
    mean: Floats | None = None
    beta: Floats = field(default_factory=lambda: _none(0))

    def __post_init__(self) -> None:
        self.sigma2 = np.atleast_1d(np.asarray(self.sigma2, dtype=np.float64))
        n = self.n
        order = self.order
        for name, width in (("ar", order.p), ("ma", order.q), ("seasonal_ar", order.P), ("seasonal_ma", order.Q)):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            value = value.reshape(n, -1) if value.size else np.zeros((n, 0))
            if value.shape != (n, width):
                raise ModelError(f"{name} of ARIMA {order} has shape {value.shape}, expected {(n, width)}")
            setattr(self, name, value)
        beta = np.asarray(self.beta, dtype=np.float64)
        self.beta = beta.reshape(n, -1) if beta.size else np.zeros((n, 0))
        self.mean = np.zeros(n) if self.mean is None else np.broadcast_to(np.asarray(self.mean, float), (n,)).copy()

    @property
    def n(self) -> int:
        """Number of series."""
        return int(self.sigma2.shape[0])

    def polynomials(self) -> tuple[Floats, Floats]:
        """Multiplied-out phi [n, p + s P] and theta [n, q + s Q]."""
        order = self.order
        return (
            multiply_out(self.ar, self.seasonal_ar, order.s, -1.0),
            multiply_out(self.ma, self.seasonal_ma, order.s, 1.0),
        )


def pack_parameters(batches: Sequence[Coefficients], layout: Layout, steady_error: float = 1e-10) -> Floats:
    """Flat parameters [n, parameter_width] of the batches one after another, padded to `layout`.

    `steady_error` bounds the error of an innovation after the switch to the steady state, per unit of the largest
    past innovation. Raises ModelError where an order does not fit the layout or a series is not stationary.
    """
    r, lags, k = layout
    flat = np.zeros((sum(batch.n for batch in batches), layout.parameter_width))
    at = 0
    for batch in batches:
        order = batch.order
        if order.n_states > r or order.n_lags > lags or batch.beta.shape[1] > k:
            raise ModelError(f"ARIMA {order} needs more room than {layout} has: make the bank with a larger layout")
        phi, theta = batch.polynomials()
        part = flat[at : at + batch.n]
        part[:, : order.n_lags] = difference_coefficients(order)
        part[:, lags : lags + phi.shape[1]] = phi
        part[:, lags + r : lags + r + theta.shape[1]] = theta
        part[:, lags + 2 * r - 1] = batch.mean
        part[:, lags + 2 * r] = batch.sigma2
        part[:, lags + 2 * r + 1] = order.n_lags
        part[:, lags + 2 * r + 3 : lags + 2 * r + 3 + batch.beta.shape[1]] = batch.beta
        at += batch.n
    if not np.isfinite(flat).all() or not (flat[:, lags + 2 * r] > 0).all():
        bad = int(np.flatnonzero(~(np.isfinite(flat).all(axis=1) & (flat[:, lags + 2 * r] > 0)))[0])
        raise ModelError(f"parameters of series {bad} are not finite or sigma2 is not positive: fit it again")
    _set_tolerances(flat, r, lags, steady_error)
    return flat


@njit(cache=True)
def _set_tolerances(flat: Floats, r: int, lags: int, steady_error: float) -> None:
    """The trace of E below which a series may switch: steady_error / (gain norm x memory of the innovations filter).

    An error in the state after the switch is that of the gain, at most trace (1 + |ma|) |T| |v|, and dies out
    with the powers of T - T ma Z, whose first rows are the impulse response of 1 / theta(B).
    """
    response = np.empty(r)
    for i in range(flat.shape[0]):
        ma2 = 1.0
        phi2 = 0.0
        for j in range(r - 1):
            ma2 += flat[i, lags + r + j] ** 2
        for j in range(r):
            phi2 += flat[i, lags + j] ** 2
        # Row h = e_1' (T - T ma Z)^n. In Harvey's form T - T ma Z has -theta_{j+1} in its first column, ones above.
        for j in range(r):
            response[j] = 1.0 if j == 0 else 0.0
        total = 1.0
        settled = False
        for _ in range(MAX_MEMORY):
            first = 0.0
            for j in range(r - 1):
                first -= response[j] * flat[i, lags + r + j]
            for j in range(r - 1, 0, -1):
                response[j] = response[j - 1]
            response[0] = first
            size = 0.0
            for j in range(r):
                size += response[j] ** 2
            size = np.sqrt(size)
            total += size
            if size < 1e-17 * total:
                settled = True
                break
            if size > 1e12:
                break
        bound = total * (1.0 + np.sqrt(ma2)) * (1.0 + np.sqrt(phi2))
        flat[i, lags + 2 * r + 2] = steady_error / bound if settled else 0.0


def start_states(parameters: Floats, layout: Layout) -> Floats:
    """States [n, state_width] before the first value. Raises ModelError where a series is not stationary."""
    states = np.zeros((parameters.shape[0], layout.state_width))
    bad = _start(parameters, states, layout.r, layout.lags, layout.state_columns.index("p_a0a0"))
    if bad >= 0:
        raise ModelError(f"series {bad} is not stationary after differencing: difference once more or fit again")
    return states


@njit(cache=True)
def _start(flat: Floats, states: Floats, r: int, lags: int, e0: int) -> int:
    phi = np.empty(r)
    ma = np.empty(r)
    excess = np.empty((r, r))
    work = np.empty((r + 1) ** 2 + 6 * r + 8)
    for i in range(flat.shape[0]):
        ma[0] = 1.0
        for j in range(r):
            phi[j] = flat[i, lags + j]
            if j > 0:
                ma[j] = flat[i, lags + r + j - 1]
        if not start_excess(phi, ma, excess, work):
            return i
        states[i, 0] = EXACT if flat[i, lags + 2 * r + 1] == 0.0 else START
        c = e0
        for a in range(r):
            for b in range(a, r):
                states[i, c] = excess[a, b]
                c += 1
    return -1

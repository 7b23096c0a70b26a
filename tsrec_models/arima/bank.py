"""A bank of ARIMA filters: many series, each with its own order and parameters, stepped together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsrec_models.arima.horizon import horizon
from tsrec_models.arima.kernels import step, steps
from tsrec_models.arima.layout import STEADY, Layout
from tsrec_models.arima.order import Order
from tsrec_models.arima.parameters import Coefficients, pack_parameters, start_states
from tsrec_models.arima.rounds import rounds
from tsrec_models.base import Forecast, ModelError

__all__ = ["ArimaBank", "Innovations"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Innovations:
    """One-step prediction errors `value` and their predicted `variance`, both [n].

    Both NaN / inf where the value was missing or no forecast existed yet (the first values that differencing needs).
    """

    value: Floats
    variance: Floats

    @property
    def standardised(self) -> Floats:
        """Innovations in units of their predicted standard deviation: [n], standard normal under the model."""
        return self.value / np.sqrt(self.variance)


class ArimaBank:
    """Exact Kalman filters of `n_series` ARIMA models (Harvey 1989, 3.3-3.4), batched.

    Every series starts with `parameters` (one series' worth, or one each); its state is one row of float64, see
    `Layout.state_columns`, taken out and put back by `to_rows` and `from_rows`.

    >>> import numpy as np
    >>> from tsrec_models.arima import ArimaBank, Coefficients, Order
    >>> model = Coefficients(Order(0, 1, 1), sigma2=np.array([1.0]), ma=np.array([[-0.5]]))
    >>> bank = ArimaBank.of([model], n_series=2)
    >>> for y in ([1.0, 5.0], [3.0, 5.0], [3.0, 9.0]):
    ...     innovations = bank.update(np.array(y))
    >>> bank.forecast(2).mean.round(3).tolist()
    [[2.619, 2.619], [7.095, 7.095]]
    """

    name = "arima"

    def __init__(self, n_series: int, parameters: Floats, layout: Layout) -> None:
        parameters = np.atleast_2d(np.asarray(parameters, dtype=np.float64))
        if parameters.shape not in ((1, layout.parameter_width), (n_series, layout.parameter_width)):
            raise ModelError(
                f"parameters have shape {parameters.shape}, expected [1 or {n_series}, {layout.parameter_width}]"
            )
        self.layout = layout
        self.n_series = n_series
        self._default = (parameters[:1].copy(), start_states(parameters[:1], layout))
        states = start_states(parameters, layout)
        self._parameters = np.array(np.broadcast_to(parameters, (n_series, layout.parameter_width)).T, order="C")
        self._states = np.array(np.broadcast_to(states, (n_series, layout.state_width)).T, order="C")
        self._all = np.arange(n_series, dtype=np.int64)
        self._no_x = np.zeros((0, 0))

    @classmethod
    def of(
        cls,
        batches: Sequence[Coefficients],
        n_series: int | None = None,
        layout: Layout | None = None,
        steady_error: float = 1e-10,
    ) -> ArimaBank:
        """A bank of the given models, one series each in order; or `n_series` that all start with the one given."""
        if layout is None:
            layout = Layout(
                max(batch.order.n_states for batch in batches),
                max(batch.order.n_lags for batch in batches),
                max(batch.beta.shape[1] for batch in batches),
            )
        parameters = pack_parameters(batches, layout, steady_error)
        return cls(len(parameters) if n_series is None else n_series, parameters, layout)

    @property
    def state_width(self) -> int:
        """Columns of a row of state."""
        return self.layout.state_width

    @property
    def parameter_width(self) -> int:
        """Columns of a row of parameters."""
        return self.layout.parameter_width

    def fit(self, series: Sequence[Floats], order: Order | None = None, period: int = 1) -> None:
        """Estimate every series' parameters from its past [n_i] (see `estimate`) and filter that past.

        Raises ModelError where an order comes out wider than the layout; `refit.widest_layout` holds every one.
        """
        from tsrec_models.arima.estimate import estimate  # which makes banks itself

        if len(series) != self.n_series:
            raise ModelError(f"{len(series)} series for a bank of {self.n_series}")
        self.set_parameters(self._all, estimate(series, order, period=period).pack(self.layout))
        past = np.full((max(len(y) for y in series), self.n_series), np.nan)
        for i, y in enumerate(series):
            past[len(past) - len(y) :, i] = y
        self.filter(past)

    def resize(self, n_series: int) -> None:
        """Grow or shrink; new series start with the first series' original parameters and no history."""
        parameters, states = self._default
        old = min(self.n_series, n_series)
        grown_p = np.repeat(parameters.T, n_series, axis=1)
        grown_s = np.repeat(states.T, n_series, axis=1)
        grown_p[:, :old] = self._parameters[:, :old]
        grown_s[:, :old] = self._states[:, :old]
        self._parameters, self._states = np.ascontiguousarray(grown_p), np.ascontiguousarray(grown_s)
        self.n_series = n_series
        self._all = np.arange(n_series, dtype=np.int64)

    def to_rows(self, rows: Ints | None = None) -> Floats:
        """States [n, state_width] of `rows`, copied, for a changelog."""
        return np.ascontiguousarray(self._states[:, self._rows(rows)].T)

    def from_rows(self, rows: Ints, states: Floats) -> None:
        """Put states [n, state_width] back, as `to_rows` gave them."""
        rows = self._rows(rows)
        if states.shape != (len(rows), self.state_width):
            raise ModelError(f"states have shape {states.shape}, expected {(len(rows), self.state_width)}")
        self._states[:, rows] = states.T

    def parameters(self, rows: Ints | None = None) -> Floats:
        """Parameters [n, parameter_width] of `rows`, copied."""
        return np.ascontiguousarray(self._parameters[:, self._rows(rows)].T)

    def set_parameters(self, rows: Ints, parameters: Floats, states: Floats | None = None) -> None:
        """Swap in new parameters [n, parameter_width] and the states filtered with them (fresh ones by default)."""
        rows = self._rows(rows)
        if parameters.shape != (len(rows), self.parameter_width):
            raise ModelError(f"parameters have shape {parameters.shape}, expected {(len(rows), self.parameter_width)}")
        fresh = start_states(parameters, self.layout) if states is None else states
        self._parameters[:, rows] = parameters.T
        self.from_rows(rows, fresh)

    def reset(self, rows: Ints | None = None) -> None:
        """Forget the history of `rows`, keep their parameters."""
        rows = self._rows(rows)
        self.from_rows(rows, start_states(self.parameters(rows), self.layout))

    def step(self, y: Floats, rows: Ints | None = None, x: Floats | None = None) -> Innovations:
        """Take one value y [n] for each of `rows` [n], regressors x [n, k]. NaN is a missing value.

        A row may come more than once: its values are taken in the order given.
        """
        every = rows is None
        rows = self._rows(rows)
        y = np.require(y, np.float64, ["C", "W"])
        if y.shape != rows.shape:
            raise ModelError(f"y has shape {y.shape} for {len(rows)} rows")
        x = self._regressors(x, (len(rows),))
        value, variance = np.empty(len(rows)), np.empty(len(rows))
        r, lags, k = self.layout
        for chosen in (None,) if every else rounds(rows, self.n_series):
            if chosen is None:
                step(self._states, self._parameters, rows, y, x, r, lags, k, value, variance)
            else:
                part_v, part_f = np.empty(len(chosen)), np.empty(len(chosen))
                step(self._states, self._parameters, rows[chosen], y[chosen], x[chosen], r, lags, k, part_v, part_f)
                value[chosen], variance[chosen] = part_v, part_f
        return Innovations(value, variance)

    def update(self, y: Floats, rows: Ints | None = None, x: Floats | None = None) -> Floats:
        """As `step`; the innovations [n] alone."""
        return self.step(y, rows, x).value

    def filter(self, y: Floats, rows: Ints | None = None, x: Floats | None = None) -> Innovations:
        """Take a stretch of values y [times, n] (distinct `rows`), x [times, n, k]; innovations [times, n]."""
        rows = self._rows(rows)
        y = np.require(y, np.float64, ["C", "W"])
        if y.ndim != 2 or y.shape[1] != len(rows):
            raise ModelError(f"y has shape {y.shape}, expected [times, {len(rows)}]")
        x = self._regressors(x, y.shape)
        value, variance = np.empty(y.shape), np.empty(y.shape)
        steps(self._states, self._parameters, rows, y, x, *self.layout, value, variance)
        return Innovations(value, variance)

    def forecast(self, h: int, rows: Ints | None = None, x: Floats | None = None) -> Forecast:
        """Mean and variance of the next `h` values of `rows`, future regressors x [n, h, k]: both [n, h].

        The variance is infinite (the mean NaN before the first value) while differencing still lacks values.
        """
        if h < 1:
            raise ModelError(f"horizon {h}: at least 1")
        rows = self._rows(rows)
        x = self._regressors(x, (len(rows), h))
        mean, variance = np.empty((len(rows), h)), np.empty((len(rows), h))
        horizon(self._states, self._parameters, rows, x, *self.layout, mean, variance)
        return Forecast(mean, variance)

    def loglikelihood(self, rows: Ints | None = None) -> Floats:
        """Exact diffuse log-likelihood [n] of the values seen so far (Durbin and Koopman 2012, 7.2.2)."""
        rows = self._rows(rows)
        observed, diffuse, sum_log, squares = self._states[2:6, rows]
        sigma2 = self._parameters[self.layout.lags + 2 * self.layout.r, rows]
        total = (observed + diffuse) * np.log(2 * np.pi) + observed * np.log(sigma2) + sum_log
        result: Floats = -0.5 * (total + squares / sigma2)
        return result

    def steady(self, rows: Ints | None = None) -> NDArray[np.bool_]:
        """Which of `rows` have settled on their steady-state gain: [n]."""
        result: NDArray[np.bool_] = self._states[0, self._rows(rows)] == STEADY
        return result

    def _rows(self, rows: Ints | None) -> Ints:
        if rows is None:
            return self._all
        rows = np.require(rows, np.int64, ["C", "W"])
        if len(rows) and not (rows.min() >= 0 and rows.max() < self.n_series):
            raise ModelError(f"rows {rows.min()} .. {rows.max()}, but the bank has {self.n_series}: resize it first")
        return rows

    def _regressors(self, x: Floats | None, shape: tuple[int, ...]) -> Floats:
        k = self.layout.k
        if k == 0:
            return np.zeros((*shape, 0))
        if x is None or x.shape != (*shape, k):
            got = "none" if x is None else f"shape {x.shape}"
            raise ModelError(f"the bank has {k} regressors: x must have shape {(*shape, k)}, got {got}")
        x = np.require(x, np.float64, ["C", "W"])
        if not np.isfinite(x).all():
            raise ModelError("regressors must be finite: fill them before the update")
        return x

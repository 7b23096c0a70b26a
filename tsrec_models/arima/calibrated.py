"""A bank with adaptive intervals on every horizon: what the stream steps, and what evaluation scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsrec_models.arima.bank import ArimaBank, Innovations
from tsrec_models.arima.conformal import UNFITTED, AdaptiveIntervals, Intervals
from tsrec_models.base import Forecast, ModelError

__all__ = ["CalibratedBank", "Step"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Step:
    """What one value told: its `innovations`, and `covered` [n, horizons]: 1.0, 0.0, or NaN where nothing was due."""

    innovations: Innovations
    covered: Floats


class CalibratedBank:
    """Steps `bank` and holds each horizon's interval to its level, learning as forecasts fall due.

    After every `step` the forecasts of the next `horizons` values stand in `forecast` and `intervals`. State: one row
    a series, that of the bank, of the intervals, the forecasts not yet due, and their clock.
    """

    def __init__(self, bank: ArimaBank, horizons: int = 1, level: float = 0.9) -> None:
        if bank.layout.k and horizons > 1:
            raise ModelError("with regressors only one step ahead: their future is not known")
        self.bank = bank
        self.horizons = horizons
        self.intervals_model = AdaptiveIntervals(bank.n_series, horizons, level)
        self._due = np.full((bank.n_series, horizons, horizons, 2), np.nan)  # [series, made at, ahead, mean/variance]
        self._clock = np.zeros(bank.n_series, dtype=np.int64)

    @property
    def state_width(self) -> int:
        """Columns of a row of state."""
        return self.bank.state_width + self.intervals_model.state_width + 2 * self.horizons**2 + 1

    def step(self, y: Floats, rows: Ints | None = None, x: Floats | None = None) -> Step:
        """Take one value for each of the distinct `rows`; NaN is missing (forecasts due then are not scored)."""
        rows = np.arange(self.bank.n_series) if rows is None else np.asarray(rows, dtype=np.int64)
        y = np.asarray(y, dtype=np.float64)
        clock = self._clock[rows]
        if self.bank.layout.k:
            innovations = self.bank.step(y, rows, x)
            due_error = innovations.value[:, None]
            due_variance = innovations.variance[:, None]
        else:
            ahead = np.arange(self.horizons)
            due = self._due[rows[:, None], (clock[:, None] - 1 - ahead) % self.horizons, ahead]
            innovations = self.bank.step(y, rows)
            due_error = np.where(np.isfinite(y)[:, None], y[:, None] - due[:, :, 0], np.nan)
            due_variance = due[:, :, 1]
        covered = self.intervals_model.observe(due_error, due_variance, rows)
        if not self.bank.layout.k:
            forecast = self.bank.forecast(self.horizons, rows)
            slot = clock % self.horizons
            self._due[rows, slot, :, 0] = forecast.mean
            self._due[rows, slot, :, 1] = forecast.variance
        self._clock[rows] = clock + 1
        return Step(innovations, covered)

    def forecast(self, rows: Ints | None = None, x: Floats | None = None) -> tuple[Forecast, Intervals]:
        """The next `horizons` values of `rows` and their intervals, all [n, horizons]."""
        forecast = self.bank.forecast(self.horizons, rows, x)
        return forecast, self.intervals_model.around(forecast, rows)

    def warm_up(self, y: Floats, rows: Ints, coefficients: Floats | float = UNFITTED) -> None:
        """Filter a past y [times, n], and start the intervals from its errors.

        One step ahead they are the innovations; further ahead, errors of forecasts along the way (every step). Where
        the parameters were fitted on this past, `coefficients` says how many (`Estimates.n_coefficients`).
        """
        errors = np.full((len(y), len(rows), self.horizons), np.nan)
        if self.horizons == 1 or self.bank.layout.k:
            errors[:, :, 0] = np.abs(self.bank.filter(y, rows).standardised)
        else:
            ahead = np.arange(self.horizons)
            made = np.full((self.horizons, len(rows), self.horizons, 2), np.nan)
            for t in range(len(y)):
                due = made[(t - 1 - ahead) % self.horizons, :, ahead].transpose(1, 0, 2)
                errors[t] = np.abs(y[t][:, None] - due[:, :, 0]) / np.sqrt(due[:, :, 1])
                self.bank.step(y[t], rows)
                forecast = self.bank.forecast(self.horizons, rows)
                made[t % self.horizons, :, :, 0] = forecast.mean
                made[t % self.horizons, :, :, 1] = forecast.variance
            # What stands now falls due in the steps to come.
            self._due[rows] = made.transpose(1, 0, 2, 3)
        self._clock[rows] = len(y)
        if self.horizons == 1 and not self.bank.layout.k:
            forecast = self.bank.forecast(1, rows)
            self._due[rows, 0, :, 0], self._due[rows, 0, :, 1] = forecast.mean, forecast.variance
        self.intervals_model.calibrate(np.where(np.isfinite(errors), errors, np.nan), rows, coefficients)

    def to_rows(self, rows: Ints) -> Floats:
        """State [n, state_width] of `rows`, copied."""
        rows = np.asarray(rows, dtype=np.int64)
        return np.concatenate(
            [
                self.bank.to_rows(rows),
                self.intervals_model.to_rows(rows),
                self._due[rows].reshape(len(rows), -1),
                self._clock[rows, None].astype(np.float64),
            ],
            axis=1,
        )

    def from_rows(self, rows: Ints, states: Floats) -> None:
        """Put states back, as `to_rows` gave them."""
        rows = np.asarray(rows, dtype=np.int64)
        if states.shape != (len(rows), self.state_width):
            raise ModelError(f"states have shape {states.shape}, expected {(len(rows), self.state_width)}")
        a = self.bank.state_width
        b = a + self.intervals_model.state_width
        self.bank.from_rows(rows, states[:, :a])
        self.intervals_model.from_rows(rows, states[:, a:b])
        self._due[rows] = states[:, b:-1].reshape(len(rows), self.horizons, self.horizons, 2)
        self._clock[rows] = states[:, -1].astype(np.int64)

    def resize(self, n_series: int) -> None:
        """Grow or shrink; new series are without history."""
        due = np.full((n_series, self.horizons, self.horizons, 2), np.nan)
        clock = np.zeros(n_series, dtype=np.int64)
        kept = min(n_series, self.bank.n_series)
        due[:kept], clock[:kept] = self._due[:kept], self._clock[:kept]
        self._due, self._clock = due, clock
        self.bank.resize(n_series)
        self.intervals_model.resize(n_series)

"""Watches standardised innovations: a model that fits leaves white noise of variance one; a refit is due when not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError

__all__ = ["DriftMonitor"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CLIP = 4.0  # standard deviations: one outlier is an anomaly, not a drift
WIDTH = 5  # columns of state: values seen, last z, moving means of z, z^2 - 1, z z_previous
VARIANCE_OF_SQUARE = 2.0  # of z^2 for a standard normal z


class DriftMonitor:
    """Moving means of z, of z^2 - 1 and of z_t z_{t-1} of each series, each in units of its standard deviation.

    `memory` is in values; `threshold` in standard deviations of a moving mean. With normal innovations and the
    defaults a series in order is reported less than once in some 100,000 values; heavy tails count through z^2.

    Raises ModelError for a memory of less than 10 values.
    """

    def __init__(self, n_series: int, memory: int = 200, threshold: float = 6.0) -> None:
        if memory < 10:
            raise ModelError(f"memory {memory}: at least 10 values")
        self.weight = 2.0 / (memory + 1.0)
        self.memory = memory
        self.threshold = threshold
        self._state = np.zeros((n_series, WIDTH))

    def update(self, standardised: Floats, rows: Ints | None = None) -> NDArray[np.bool_]:
        """Take one standardised innovation [n] for each of the distinct `rows` (NaN skipped); which have drifted."""
        rows = np.arange(len(self._state)) if rows is None else np.asarray(rows, dtype=np.int64)
        state = self._state[rows]
        z = np.clip(standardised, -CLIP, CLIP)
        taken = np.isfinite(z)
        z = np.where(taken, z, 0.0)
        w = np.where(taken, self.weight, 0.0)[:, None]
        values = np.stack([z, z * z - 1.0, z * state[:, 1]], axis=1)
        state[:, 2:] += w * (values - state[:, 2:])
        state[:, 1] = np.where(taken, z, state[:, 1])
        state[:, 0] += taken
        self._state[rows] = state
        drifted: NDArray[np.bool_] = self._scores(state).max(axis=1) > self.threshold
        return drifted

    def scores(self, rows: Ints | None = None) -> Floats:
        """Level, variance and autocorrelation drift of `rows` in standard deviations: [n, 3]."""
        return self._scores(self._state if rows is None else self._state[rows])

    def _scores(self, state: Floats) -> Floats:
        # The mean is young at first: its variance is that of the weights so far.
        spread = self.weight / (2.0 - self.weight) * (1.0 - (1.0 - self.weight) ** (2.0 * state[:, :1]))
        unit = np.sqrt(np.maximum(spread, 1e-12) * np.array([1.0, VARIANCE_OF_SQUARE, 1.0]))
        young = state[:, :1] < self.memory / 4
        result: Floats = np.where(young, 0.0, np.abs(state[:, 2:]) / unit)
        return result

    def reset(self, rows: Ints) -> None:
        """Start again, after a refit."""
        self._state[rows] = 0.0

    def resize(self, n_series: int) -> None:
        """Grow or shrink; new series start without history."""
        grown = np.zeros((n_series, WIDTH))
        kept = min(n_series, len(self._state))
        grown[:kept] = self._state[:kept]
        self._state = grown

"""Watches standardised innovations: a model that fits leaves white noise of variance one; a refit is due when not."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.base import ModelError

__all__ = ["WIDTH", "DriftMonitor", "step_drift"]

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
        """Take standardised innovations [n] of `rows`, in order (NaN skipped); which had drifted then."""
        rows = np.arange(len(self._state)) if rows is None else np.asarray(rows, dtype=np.int64)
        scores = step_drift(self._state, 0, rows, np.asarray(standardised, np.float64), self.memory)
        drifted: NDArray[np.bool_] = scores.max(axis=1, initial=0.0) > self.threshold
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


@njit(cache=True)
def step_drift(  # type: ignore[no-untyped-def,untyped-decorator]  # pragma: no cover
    state, offset, rows, standardised, memory
):
    """Take innovations [n] of `rows` in order, in WIDTH columns of `state` from `offset` on; scores [n, 3] after each.

    A row may come more than once.
    """
    weight = 2.0 / (memory + 1.0)
    scores = np.zeros((len(rows), 3))
    for i in range(len(rows)):
        line = state[rows[i], offset : offset + WIDTH]
        z = min(max(standardised[i], -CLIP), CLIP)
        if not np.isnan(z):
            line[2] += weight * (z - line[2])
            line[3] += weight * (z * z - 1.0 - line[3])
            line[4] += weight * (z * line[1] - line[4])
            line[1] = z
            line[0] += 1.0
        if line[0] >= memory / 4:
            # The mean is young at first: its variance is that of the weights so far.
            spread = max(weight / (2.0 - weight) * (1.0 - (1.0 - weight) ** (2.0 * line[0])), 1e-12)
            scores[i, 0] = abs(line[2]) / np.sqrt(spread)
            scores[i, 1] = abs(line[3]) / np.sqrt(spread * VARIANCE_OF_SQUARE)
            scores[i, 2] = abs(line[4]) / np.sqrt(spread)
    return scores

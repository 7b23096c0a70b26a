"""Drawdown of equity curves, O(1) a value, one row a curve: how far below its peak, how long, and the worst."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.base import ModelError

__all__ = ["Drawdown", "Drawdowns"]

_PEAK, _PEAK_TS, _WORST, _SEEN, _WIDTH = range(5)


@dataclass(frozen=True)
class Drawdowns:
    """After each value, [batch]."""

    amount: NDArray[np.float64]  #: below the peak, in the curve's unit
    fraction: NDArray[np.float64]  #: of the peak; NaN where the peak is not positive
    seconds: NDArray[np.float64]  #: since the peak
    worst: NDArray[np.float64]  #: largest amount so far


class Drawdown:
    """Drawdowns of many curves (profit and loss, or an account's equity)."""

    width = _WIDTH

    def initial_rows(self, n: int) -> NDArray[np.float64]:
        """State of `n` curves without values: [n, width]."""
        return np.zeros((n, _WIDTH))

    def update(
        self,
        state: NDArray[np.float64],
        rows: NDArray[np.int64],
        values: NDArray[np.float64],
        times: NDArray[np.float64],
    ) -> Drawdowns:
        """Take `values` [batch] at `times` [batch], in order; `state` is changed in place. A NaN is no value."""
        if not len(rows) == len(values) == len(times):
            raise ModelError(f"{len(rows)} rows, {len(values)} values and {len(times)} times: give one of each")
        out = np.empty((4, len(values)))
        _update(state, rows, values, times, out)
        return Drawdowns(out[0], out[1], out[2], out[3])


@njit(cache=True)
def _update(state, rows, values, times, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    for i in range(len(rows)):
        line, value = state[rows[i]], values[i]
        if np.isnan(value):
            out[:3, i] = np.nan
            out[3, i] = line[_WORST]
            continue
        if line[_SEEN] == 0.0 or value >= line[_PEAK]:
            line[_PEAK] = value
            line[_PEAK_TS] = times[i]
            line[_SEEN] = 1.0
        fall = line[_PEAK] - value
        line[_WORST] = max(line[_WORST], fall)
        out[0, i] = fall
        out[1, i] = fall / line[_PEAK] if line[_PEAK] > 0.0 else np.nan
        out[2, i] = times[i] - line[_PEAK_TS]
        out[3, i] = line[_WORST]

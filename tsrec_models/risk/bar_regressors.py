"""Regressors of a symbol's returns: what is known of a bar when the next one begins.

`imbalance`: (bought - sold) / (bought + sold) of the bar before; `volume`: the change of its log volume. A row of state
keeps those of the latest bar, and those of every return in the window, from which new parameters are estimated.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.risk.bar_outcome import occurrences
from tsrec_models.risk.bars import Bars

__all__ = ["REGRESSORS", "BarRegressors", "Known"]

REGRESSORS = ("imbalance", "volume")

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


class Known(NamedTuple):
    """Regressors of bars: `before` a bar's return was seen, and `after` it, [n, k]; the bars' log volume [n]."""

    before: Floats
    after: Floats
    log_volume: Floats

    def part(self, which: slice) -> Known:
        """Those of some of the bars."""
        return Known(self.before[which], self.after[which], self.log_volume[which])


class BarRegressors:
    """The regressors `names` in a block of state rows that begins at `offset`; no columns where there are none."""

    def __init__(self, names: tuple[str, ...], window: int, offset: int) -> None:
        if unknown := set(names) - set(REGRESSORS):
            raise ModelError(f"regressors {', '.join(sorted(unknown))}: there are {', '.join(REGRESSORS)}")
        if len(set(names)) < len(names):
            raise ModelError(f"regressors {', '.join(names)}: name each once")
        self.names = names
        self.window = window
        k = len(names)
        self._volume = offset
        self._latest = slice(offset + 1, offset + 1 + k)
        self._ring = slice(self._latest.stop, self._latest.stop + window * k)
        self.width = 1 + k + window * k if k else 0

    def clear(self, state: Floats, rows: Rows) -> None:
        """Rows without a bar."""
        if self.names:
            state[rows, self._volume] = np.nan

    def of(self, state: Floats, rows: Rows, bars: Bars) -> Known:
        """Regressors of bars, in order; `state` is as before the first of them."""
        k = len(self.names)
        if not k:
            return Known(np.zeros((len(rows), 0)), np.zeros((len(rows), 0)), np.zeros(len(rows)))
        _, before = occurrences(rows)
        again = before >= 0
        log_volume = np.log(np.maximum(bars.volume, np.finfo(np.float64).tiny))
        change = log_volume - np.where(again, log_volume[before], state[rows, self._volume])
        columns = {"imbalance": bars.imbalance, "volume": np.nan_to_num(change)}
        after = np.stack([columns[name] for name in self.names], axis=1)
        latest = state[rows, self._latest]
        return Known(np.where(again[:, None], after[before], latest), after, log_volume)

    def remember(self, state: Floats, rows: Rows, counts: Floats, seen: NDArray[np.bool_], known: Known) -> None:
        """Keep them with the rows. counts: a row's returns up to each bar; seen: whether the bar brought one."""
        k = len(self.names)
        if not k:
            return
        # Of a row that comes twice the last assignment holds.
        state[rows, self._latest], state[rows, self._volume] = known.after, known.log_volume
        slot = ((counts[seen] - 1.0) % self.window).astype(np.int64)
        state[rows[seen][:, None], self._ring.start + slot[:, None] * k + np.arange(k)] = known.before[seen]

    def latest(self, state: Floats, rows: Rows) -> Floats | None:
        """What is known of the next bar of `rows`, [n, 1, k], as a forecast wants it; None without regressors."""
        return state[rows, self._latest][:, None, :] if self.names else None

    def past(self, state: Floats, row: int, count: int) -> Floats:
        """Regressors of the returns in the window, oldest first: [min(count, window), k]."""
        ring = state[row, self._ring].reshape(self.window, len(self.names))
        return ring[:count].copy() if count < self.window else np.roll(ring, -(count % self.window), axis=0)

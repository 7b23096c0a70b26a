"""Surveillance of markets alone: price spikes, acceleration and large orders, on rows that the caller keeps.

The same detectors as in `surveillance`, without accounts: a row is a tenth of the size, and lies wherever the caller's
own table has it, so that a batch can be undone and a row goes to a changelog as it is.

>>> import numpy as np
>>> from tsrec_models.risk.market_watch import MARKET_WIDTH, MarketWatch
>>> watch = MarketWatch()
>>> state = np.zeros((1, MARKET_WIDTH))
>>> ts = np.arange(0.0, 1200.0, 0.5)
>>> price = 100.0 + 0.01 * np.sin(ts)
>>> price[-1] = 103.0  # three per cent at once
>>> rows = np.zeros(len(ts), np.int64)
>>> signals = watch.update(state, rows, np.zeros(len(ts), np.int8), price, np.ones(len(ts)), ts, np.arange(len(ts)))
>>> [s.kind for s in signals.signals(str, "SYM-{}".format) if s.value > 100]
['price_spike']
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.risk.surveillance_out import Out, has_room, new_out
from tsrec_models.risk.surveillance_settings import Settings
from tsrec_models.risk.surveillance_signals import SignalBatch
from tsrec_models.risk.surveillance_state import SYMBOL, Table
from tsrec_models.risk.surveillance_symbols import large, price_move

__all__ = ["MARKET", "MARKET_WIDTH", "MarketWatch"]

#: A symbol's row less what only wash trades need; `ready` is 0 until its first trade.
MARKET = np.dtype(
    [("ready", "f8")]
    + [
        (name, SYMBOL[name].base, SYMBOL[name].shape)
        for name in SYMBOL.names or ()
        if name not in ("sizes", "size_total", "recent_sizes", "recent_head")
    ],
    align=True,
)
#: Float64 columns that a row takes.
MARKET_WIDTH = MARKET.itemsize // 8

_OUT_CAPACITY = 1024


class MarketWatch:
    """Detectors of price moves and large orders for many symbols; it holds settings, not state."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._params = self.settings.params()
        self._out = new_out(_OUT_CAPACITY)

    def update(
        self,
        state: NDArray[np.float64],
        rows: NDArray[np.int64],
        side: NDArray[np.int8],
        price: NDArray[np.float64],
        quantity: NDArray[np.float64],
        ts: NDArray[np.float64],
        source: NDArray[np.int64],
    ) -> SignalBatch:
        """Take trades, all [n], in order; `state` is float64 [symbols, MARKET_WIDTH], zeros where nothing traded yet.

        Trades without a quantity are prices only. The result does not depend on how the stream is cut into batches.
        """
        table = state.view(MARKET)[:, 0]
        outs, done = [], 0
        while done < len(rows):
            self._out.n[:] = 0
            done = _run(self._params, table, rows, side, price, quantity, ts, source, done, self._out)
            outs.append(self._out)
            if done < len(rows):
                self._out = new_out(_OUT_CAPACITY)
        return SignalBatch.of(self.settings, outs or [new_out(1)], source)


@njit(cache=True)
def _reset(row: Any) -> None:
    """What a symbol without trades looks like (see `surveillance_state.symbols`)."""
    row.ready = 1.0
    row.price = np.nan
    row.close[:] = np.nan
    row.traded_ts[:] = np.nan
    row.spike_var = np.nan
    row.turn_var = np.nan
    row.lagged_spike_var[:] = np.nan
    row.lagged_turn_var[:] = np.nan
    row.bucket = np.iinfo(np.int64).min
    row.order_ts = -np.inf
    row.order_source = -1
    row.large_from = np.inf


@njit(cache=True)
def _run(
    params: NDArray[np.void],
    table: Table,
    rows: NDArray[np.int64],
    side: NDArray[np.int8],
    price: NDArray[np.float64],
    quantity: NDArray[np.float64],
    ts: NDArray[np.float64],
    source: NDArray[np.int64],
    start: int,
    out: Out,
) -> int:
    """Take trades from `start` on; return how far it came: it stops where `out` is full."""
    p = params[0]
    for i in range(start, len(rows)):
        if not has_room(out):
            return i
        s = rows[i]
        if table[s].ready == 0.0:
            _reset(table[s])
        price_move(p, table, s, side[i], price[i], ts[i], source[i], i, out)
        if quantity[i] > 0.0:
            large(p, table, s, side[i], price[i], quantity[i], ts[i], source[i], i, out)
    return len(rows)

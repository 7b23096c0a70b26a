"""Event-time bars of trades: open, high, low, close, volume, VWAP and order imbalance, batched over symbols.

A bar closes when its symbol's watermark (latest event time less the allowed lateness) passes its end, so what a bar
contains depends on the order of the symbol's trades and never on how they were batched. Symbols that went quiet are
closed by `TimeBars.advance` with the partition's watermark. A trade for a bar already closed is late: it is reported
and changes nothing.

State is one float64 row a symbol, so that a columnar table can hold, checkpoint and restore it as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.base import ModelError

__all__ = ["BUY", "LATE", "REFUSED", "SELL", "TAKEN", "WIDTH", "Bars", "TimeBars"]

BUY, SELL = 1, -1

#: What became of a trade.
TAKEN, LATE, REFUSED = 0, 1, 2

# A row: three numbers of the symbol, then one block for each bar that may be open at once.
_WATERMARK, _CLOSED, _LAST_CLOSE, _HEADER = 0, 1, 2, 3
_NUMBER, _FIRST_TS, _LAST_TS, _OPEN, _HIGH, _LOW, _CLOSE = range(7)
_VOLUME, _NOTIONAL, _BUY, _SELL, _COUNT, _FIELDS = range(7, 13)
_RETURN = _FIELDS  # appended to the fields of a closed bar
#: Columns of a closed bar.
WIDTH = _RETURN + 1
_NONE = -(2.0**52)  # "no bar yet": below every bar number, and exact in float64


@dataclass(frozen=True)
class Bars:
    """Closed bars, in the order they closed; every array is [bars]."""

    rows: NDArray[np.int64]  #: row of the symbol
    fields: NDArray[np.float64]  #: [bars, 13]; the columns have names below
    width_s: float

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def number(self) -> NDArray[np.float64]:
        """Start of the bar over its width: equal numbers of two symbols are the same stretch of time."""
        return self.fields[:, _NUMBER]

    @property
    def start(self) -> NDArray[np.float64]:
        """Start of the bar, epoch seconds."""
        return self.fields[:, _NUMBER] * self.width_s

    @property
    def open(self) -> NDArray[np.float64]:
        return self.fields[:, _OPEN]

    @property
    def high(self) -> NDArray[np.float64]:
        return self.fields[:, _HIGH]

    @property
    def low(self) -> NDArray[np.float64]:
        return self.fields[:, _LOW]

    @property
    def close(self) -> NDArray[np.float64]:
        return self.fields[:, _CLOSE]

    @property
    def volume(self) -> NDArray[np.float64]:
        return self.fields[:, _VOLUME]

    @property
    def count(self) -> NDArray[np.float64]:
        """Trades in the bar."""
        return self.fields[:, _COUNT]

    @property
    def vwap(self) -> NDArray[np.float64]:
        """Volume-weighted average price; the close where the volume is zero."""
        volume = self.fields[:, _VOLUME]
        safe = np.where(volume > 0.0, volume, 1.0)
        return np.where(volume > 0.0, self.fields[:, _NOTIONAL] / safe, self.fields[:, _CLOSE])

    @property
    def imbalance(self) -> NDArray[np.float64]:
        """(bought - sold) / (bought + sold) by the aggressor's side, in [-1, 1]; 0 where no trade names a side."""
        bought, sold = self.fields[:, _BUY], self.fields[:, _SELL]
        total = bought + sold
        return np.where(total > 0.0, (bought - sold) / np.where(total > 0.0, total, 1.0), 0.0)

    @property
    def log_return(self) -> NDArray[np.float64]:
        """Log of this close over the close of the symbol's bar before; NaN for its first bar."""
        return self.fields[:, _RETURN]


class TimeBars:
    """Bars of `width_s` seconds of event time, kept open for `lateness_s` seconds of event time after their end."""

    def __init__(self, width_s: float = 60.0, lateness_s: float = 0.0, offset: int = 0) -> None:
        """`offset` is the first column of the bars within a wider state row."""
        if not (width_s > 0.0 and math.isfinite(width_s)):
            raise ModelError(f"width of a bar is {width_s} s: give a positive number of seconds")
        if not (lateness_s >= 0.0 and math.isfinite(lateness_s)):
            raise ModelError(f"allowed lateness is {lateness_s} s: give zero or a positive number of seconds")
        self.width_s = width_s
        self.lateness_s = lateness_s
        self.offset = offset
        # Open bars end after (latest - lateness) and start before the latest trade: at most this many.
        self.open_bars = math.ceil(lateness_s / width_s) + 2
        self.width = _HEADER + self.open_bars * _FIELDS

    def initial_rows(self, n: int) -> NDArray[np.float64]:
        """State of `n` symbols without trades: [n, offset + width]."""
        state = np.zeros((n, self.offset + self.width))
        self.clear(state, np.arange(n))
        return state

    def clear(self, state: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
        """Make `rows` of `state` symbols without trades."""
        block = np.zeros(self.width)
        block[_WATERMARK] = -np.inf
        block[_CLOSED] = _NONE
        block[_LAST_CLOSE] = np.nan
        block[_HEADER + _NUMBER :: _FIELDS] = _NONE
        state[rows, self.offset : self.offset + self.width] = block

    def add(
        self,
        state: NDArray[np.float64],
        rows: NDArray[np.int64],
        prices: NDArray[np.float64],
        quantities: NDArray[np.float64],
        sides: NDArray[np.int8],
        times: NDArray[np.float64],
    ) -> tuple[Bars, NDArray[np.uint8]]:
        """Take trades, all [batch], in the order they came; return the bars they closed and what became of each.

        `sides` is the aggressor's: BUY, SELL, or 0 where unknown. A price or quantity that is not a positive number
        is REFUSED (a quantity of zero is a quote and is taken).
        """
        room = len(rows) + min(len(rows), len(state)) * self.open_bars
        out_rows = np.empty(room, np.int64)
        out = np.empty((room, _FIELDS + 1))
        fate = np.zeros(len(rows), np.uint8)
        n = _add(
            state, self.offset, self.open_bars, self.width_s, self.lateness_s,
            rows, prices, quantities, sides, times, out_rows, out, fate,
        )  # fmt: skip
        return Bars(out_rows[:n], out[:n], self.width_s), fate

    def advance(self, state: NDArray[np.float64], rows: NDArray[np.int64], watermark: float) -> Bars:
        """Close the bars of `rows` that end at or before `watermark`, epoch seconds."""
        out_rows = np.empty(len(rows) * self.open_bars, np.int64)
        out = np.empty((len(out_rows), _FIELDS + 1))
        n = _advance(state, self.offset, self.open_bars, self.width_s, rows, watermark, out_rows, out)
        return Bars(out_rows[:n], out[:n], self.width_s)


@njit(cache=True)
def _close(state, base, slots, width_s, row, out_rows, out, n):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Close the row's bars that its watermark has passed, oldest first; return how many bars are out now."""
    last = math.floor(state[row, base + _WATERMARK] / width_s) - 1.0  # the newest bar that has ended
    while True:
        oldest = -1
        for k in range(slots):
            at = base + _HEADER + k * _FIELDS
            number = state[row, at]
            if (
                number > _NONE
                and number <= last
                and (oldest < 0 or number < state[row, base + _HEADER + oldest * _FIELDS])
            ):
                oldest = k
        if oldest < 0:
            break
        at = base + _HEADER + oldest * _FIELDS
        out_rows[n] = row
        out[n, :_FIELDS] = state[row, at : at + _FIELDS]
        close = state[row, at + _CLOSE]
        before = state[row, base + _LAST_CLOSE]
        out[n, _RETURN] = math.log(close / before) if before > 0.0 else np.nan
        state[row, base + _LAST_CLOSE] = close
        state[row, at + _NUMBER] = _NONE
        n += 1
    # Time that has passed without a trade is closed too: its trades would be late.
    state[row, base + _CLOSED] = max(state[row, base + _CLOSED], last)
    return n


@njit(cache=True)
def _add(  # type: ignore[no-untyped-def]  # pragma: no cover
    state, base, slots, width_s, lateness_s, rows, prices, quantities, sides, times, out_rows, out, fate
):
    n = 0
    for i in range(len(rows)):
        row, price, quantity, ts = rows[i], prices[i], quantities[i], times[i]
        if not (price > 0.0 and quantity >= 0.0 and price < np.inf and quantity < np.inf and abs(ts) < np.inf):
            fate[i] = REFUSED
            continue
        number = math.floor(ts / width_s)
        if number <= state[row, base + _CLOSED]:
            fate[i] = LATE
            continue
        watermark = ts - lateness_s
        if watermark > state[row, base + _WATERMARK]:
            state[row, base + _WATERMARK] = watermark
            if math.floor(watermark / width_s) - 1.0 > state[row, base + _CLOSED]:
                n = _close(state, base, slots, width_s, row, out_rows, out, n)
        at = base + _HEADER + int(number % slots) * _FIELDS
        if state[row, at + _NUMBER] != number:
            state[row, at + _NUMBER] = number
            state[row, at + _FIRST_TS] = ts
            state[row, at + _LAST_TS] = ts
            state[row, at + _OPEN] = price
            state[row, at + _HIGH] = price
            state[row, at + _LOW] = price
            state[row, at + _CLOSE] = price
            state[row, at + _VOLUME : at + _FIELDS] = 0.0
        else:
            if price > state[row, at + _HIGH]:
                state[row, at + _HIGH] = price
            if price < state[row, at + _LOW]:
                state[row, at + _LOW] = price
            if ts < state[row, at + _FIRST_TS]:
                state[row, at + _FIRST_TS] = ts
                state[row, at + _OPEN] = price
            if ts >= state[row, at + _LAST_TS]:
                state[row, at + _LAST_TS] = ts
                state[row, at + _CLOSE] = price
        state[row, at + _VOLUME] += quantity
        state[row, at + _NOTIONAL] += quantity * price
        if sides[i] > 0:
            state[row, at + _BUY] += quantity
        elif sides[i] < 0:
            state[row, at + _SELL] += quantity
        state[row, at + _COUNT] += 1.0
    return n


@njit(cache=True)
def _advance(state, base, slots, width_s, rows, watermark, out_rows, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    n = 0
    for i in range(len(rows)):
        row = rows[i]
        if watermark > state[row, base + _WATERMARK]:
            state[row, base + _WATERMARK] = watermark
            if math.floor(watermark / width_s) - 1.0 > state[row, base + _CLOSED]:
                n = _close(state, base, slots, width_s, row, out_rows, out, n)
    return n

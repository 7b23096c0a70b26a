"""Surveillance of trades: by account and by market, in event time, one pass of compiled code over a micro-batch.

>>> import numpy as np
>>> from tsrec_models.risk.alerts_book import AlertBook
>>> from tsrec_models.risk.surveillance import Surveillance, Trades
>>> watch = Surveillance()
>>> n = 6
>>> batch = Trades(np.zeros(n, int), np.zeros(n, int), np.array([1, -1] * 3, np.int8), np.full(n, 100.0),
...                np.full(n, 7.3), np.arange(n) * 1.0, np.arange(n))
>>> signals = watch.update(batch).signals(account_name="acc-{}".format, symbol_name="SYM-{}".format)
>>> book = AlertBook(watch.settings.rules())
>>> [(a.kind, a.severity, a.source) for s in signals for a in book.observe(s)]
[('wash_trade', 'warning', 'trades:0:3'), ('wash_trade', 'critical', 'trades:0:5')]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsrec_models.risk.surveillance_kernel import CURSOR, N_ACCOUNTS, N_POSITIONS, SINCE_MARK, run
from tsrec_models.risk.surveillance_out import new_out
from tsrec_models.risk.surveillance_positions import find, reindex
from tsrec_models.risk.surveillance_settings import Settings, SurveillanceError
from tsrec_models.risk.surveillance_signals import SignalBatch, Trades
from tsrec_models.risk.surveillance_state import Table, accounts, grow, pack, positions, symbols, unpack

__all__ = ["Settings", "SignalBatch", "Surveillance", "Trades"]

_OUT_CAPACITY = 4096
#: The year 5138: beyond it a time is in another unit, and would end all windows of its symbol for good.
_LAST_TS = 1e11


class Surveillance:
    """Keeps the state of all accounts, symbols and positions; `update` takes a micro-batch in the order of arrival.

    The result does not depend on how a stream is cut into batches. Rows are given out by the caller; tables grow.
    """

    def __init__(self, settings: Settings | None = None, n_accounts: int = 1024, n_symbols: int = 64) -> None:
        self.settings = settings or Settings()
        self.accounts = accounts(max(1, n_accounts))
        self.symbols = symbols(max(1, n_symbols))
        self.positions = positions(1024)
        self._index = np.full(4096, -1, dtype=np.int64)
        self._params = self.settings.params()
        self._population = np.zeros(2)
        self._clock = np.full(1, -np.inf)
        self._meta = np.zeros(4, dtype=np.int64)
        self._meta[CURSOR] = -1
        self._out = new_out(_OUT_CAPACITY)

    def link(self, rows: NDArray[np.int64]) -> None:
        """Treat the accounts `rows` as one owner for wash trades from now on. Their rings of orders begin anew."""
        self._make_room(rows)
        self.accounts["group"][rows] = rows.min()

    def forget(self, rows: NDArray[np.int64]) -> None:
        """Make `rows` accounts that have not traded; for accounts without open positions and not linked to others."""
        fresh = accounts(len(rows))
        fresh["group"] = rows
        self.accounts[rows] = fresh

    def update(self, trades: Trades) -> SignalBatch:
        """Take a micro-batch; return its signals. Raises SurveillanceError for columns that do not fit together.

        A trade whose amount of money no number holds (from 1e300 on) is passed over: it would end every sum it enters.
        """
        self._check(trades)
        self._make_room(trades.account, trades.symbol)
        outs = []
        done = 0
        while done < len(trades.ts) or self._meta[CURSOR] >= 0:
            self._out.n[:] = 0
            done = run(
                self._params,
                self.accounts,
                self.symbols,
                self._index,
                self.positions,
                self._population,
                self._clock,
                self._meta,
                trades.account,
                trades.symbol,
                trades.side,
                trades.price,
                trades.quantity,
                trades.ts,
                trades.source,
                done,
                self._out,
            )
            outs.append(self._out)
            if done < len(trades.ts) or self._meta[CURSOR] >= 0:
                self._out = new_out(_OUT_CAPACITY)
        return SignalBatch.of(self.settings, outs or [new_out(1)], trades.source)

    def _check(self, trades: Trades) -> None:
        n = len(trades.ts)
        for name in Trades.__slots__:
            if len(getattr(trades, name)) != n:
                raise SurveillanceError(f"trades: column {name} has {len(getattr(trades, name))} values, ts has {n}")
        for name in ("price", "quantity", "ts"):
            if not np.all(np.isfinite(getattr(trades, name))):
                raise SurveillanceError(f"trades: column {name} has values that are not finite; send them away before")
        if n and not (trades.price.min() > 0 and trades.quantity.min() > 0):
            raise SurveillanceError("trades: prices and quantities must be positive; the direction stands in `side`")
        if n and np.abs(trades.ts).max() >= _LAST_TS:
            raise SurveillanceError(f"trades: ts {trades.ts.max():g} is no time in epoch seconds; is it milliseconds?")
        if n and trades.symbol.min() < 0:
            raise SurveillanceError("trades: a negative symbol row")

    def _make_room(self, account: NDArray[np.int64], symbol: NDArray[np.int64] | None = None) -> None:
        if len(account):
            self.accounts = grow(self.accounts, int(account.max()) + 1)
        if symbol is not None and len(symbol):
            self.symbols = grow(self.symbols, int(symbol.max()) + 1)
        self._room_for_positions(len(account))

    def _room_for_positions(self, more: int) -> None:
        n = int(self._meta[N_POSITIONS])
        if n + more <= len(self.positions):
            return
        bigger = positions(2 * (n + more))
        bigger[:n] = self.positions[:n]
        self.positions = bigger
        # A power of two, at most half full.
        self._index = np.full(1 << (2 * len(bigger) - 1).bit_length(), -1, dtype=np.int64)
        reindex(self._index, self.positions, n)

    # --- changelog ---------------------------------------------------------------------------------------------

    def pack_accounts(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """State of account `rows` as bytes [len(rows), width]; positions go by `pack_positions`."""
        return pack(self.accounts, rows)

    def unpack_accounts(self, rows: NDArray[np.int64], packed: NDArray[np.uint8]) -> None:
        """Put account rows back."""
        self._make_room(rows)
        unpack(self.accounts, rows, packed)
        self._meta[N_ACCOUNTS] = max(int(self._meta[N_ACCOUNTS]), int(rows.max()) + 1 if len(rows) else 0)

    def pack_symbols(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """State of symbol `rows` as bytes [len(rows), width]; about 20 KB a row."""
        return pack(self.symbols, rows)

    def unpack_symbols(self, rows: NDArray[np.int64], packed: NDArray[np.uint8]) -> None:
        """Put symbol rows back."""
        self.symbols = grow(self.symbols, int(rows.max()) + 1 if len(rows) else 1)
        unpack(self.symbols, rows, packed)

    def pack_positions(self, account: NDArray[np.int64], symbol: NDArray[np.int64]) -> NDArray[np.float64]:
        """Quantity, average cost and latest mark of positions: [n, 3]; zeros where there is none."""
        out = np.zeros((len(account), 3))
        for i, (a, s) in enumerate(zip(account, symbol, strict=True)):
            row = self._index[find(self._index, self.positions, a, s)]
            if row >= 0:
                held = self.positions[row]
                out[i] = held["quantity"], held["cost"], held["mark"]
        return out

    def positions_of(self, account: NDArray[np.int64]) -> Table:
        """What the account rows hold, by account in the order of rows: POSITION records, flat ones left out."""
        held = self.positions[: int(self._meta[N_POSITIONS])]
        wanted = np.zeros(len(self.accounts), np.bool_)
        wanted[account] = True
        found = held[wanted[held["account"]] & (held["quantity"] != 0.0)]
        ordered: Table = found[np.argsort(found["account"], kind="stable")]
        return ordered

    def unpack_positions(
        self, account: NDArray[np.int64], symbol: NDArray[np.int64], values: NDArray[np.float64]
    ) -> None:
        """Put positions back."""
        self._room_for_positions(len(account))
        for a, s, (quantity, cost, mark) in zip(account, symbol, values, strict=True):
            slot = find(self._index, self.positions, a, s)
            if self._index[slot] < 0:
                self._index[slot] = self._meta[N_POSITIONS]
                self._meta[N_POSITIONS] += 1
            self.positions[self._index[slot]] = (a, s, quantity, cost, mark)

    def pack_clock(self) -> list[float]:
        """What belongs to no row: the structuring population, the last sweep, trades since."""
        return [*self._population.tolist(), float(self._clock[0]), float(self._meta[SINCE_MARK])]

    def unpack_clock(self, values: list[float]) -> None:
        """Put it back."""
        self._population[:] = values[:2]
        self._clock[0] = values[2]
        self._meta[SINCE_MARK] = int(values[3])

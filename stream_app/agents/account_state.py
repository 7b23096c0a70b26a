"""State of the watch over accounts: in memory while it runs, a row an account and a symbol in the changelog.

An account's row is whole: its orders, its scores, its positions and what it has had of each partition of `trades`. So
it fits itself after any crash. Accounts and symbols name each other by numbers that stand in their rows.
"""

from __future__ import annotations

import heapq
import logging

import numpy as np
from numpy.typing import NDArray

from stream_app.state.columns import Column, Columns
from stream_app.state.shard import Shard
from topics.spans import Spans
from tsrec_models.risk.surveillance import Settings, Surveillance
from tsrec_models.risk.surveillance_state import ACCOUNT, SYMBOL

__all__ = ["MAX_POSITIONS", "PartitionAccounts", "account_columns", "population_columns", "traded_columns"]

logger = logging.getLogger(__name__)

#: Open positions of an account that its row holds. One with more loses its smallest at a recovery, and the log says so.
MAX_POSITIONS = 64

#: Key of the one row that belongs to no account.
_EVERYONE = Spans.of([b"everyone"])

#: Of an account, what the marking of positions changes while the account itself does nothing.
_SWEPT = ("peak", "raised", "told")


def account_columns(partitions: int) -> Columns:
    """Columns of an account: about 4.5 KB. partitions: of the topic that its trades come from in the first place."""
    return Columns(
        number=Column(np.int32, initial=-1),
        origin=Column(np.int64, (partitions,), -1),
        state=Column(np.float64, (ACCOUNT.itemsize // 8,)),
        held=Column(np.int32),
        held_symbol=Column(np.int32, (MAX_POSITIONS,)),
        held_values=Column(np.float64, (MAX_POSITIONS, 3)),
    )


def traded_columns() -> Columns:
    """Columns of a symbol as the accounts of a partition trade it: 20 KB, most of it how common each size is."""
    return Columns(number=Column(np.int32, initial=-1), state=Column(np.float64, (SYMBOL.itemsize // 8,)))


def population_columns() -> Columns:
    """What belongs to no account: how often orders of a size fall below the limit, and the time of the last marking."""
    return Columns(values=Column(np.float64, (4,)))


class _Numbers:
    """Dense numbers of the keys of a shard, kept in its column `number`."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        rows = shard.live_rows()
        numbers = shard.column("number")[rows].astype(np.int64)
        self.known, self.rows = numbers[numbers >= 0], rows[numbers >= 0]
        self.next = int(self.known.max()) + 1 if len(self.known) else 0
        self.row_of = np.full(self.next, -1, np.int64)
        self.row_of[self.known] = self.rows
        #: Numbers that were given back, a heap: the lowest goes first, so that they are the same after a recovery.
        self.free: list[int] = np.flatnonzero(self.row_of < 0).tolist()

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of each row, int64 [n]; new rows get the next."""
        column = self.shard.column("number")
        fresh = column[rows] < 0
        if fresh.any():
            new, first = np.unique(rows[fresh], return_index=True)
            new = new[np.argsort(first)]
            reused = [heapq.heappop(self.free) for _ in range(min(len(self.free), len(new)))]
            more = len(new) - len(reused)
            given = np.concatenate([np.array(reused, np.int64), np.arange(self.next, self.next + more)])
            self.shard.touch(new)
            column[new] = given
            self.next += more
            if self.next > len(self.row_of):
                self.row_of = np.concatenate([self.row_of, np.full(max(256, self.next), -1, np.int64)])
            self.row_of[given] = new
        return column[rows].astype(np.int64)

    def give_back(self) -> NDArray[np.int64]:
        """Numbers whose rows were evicted, given back; call in the cut that evicted them, before rows are reused."""
        if self.next - len(self.free) == len(self.shard):
            return np.empty(0, np.int64)
        rows = self.row_of[: self.next]
        live = np.zeros(int(max(rows.max(initial=0), 0)) + 1, np.bool_)
        held = self.shard.live_rows()
        live[held[held < len(live)]] = True
        gone = np.flatnonzero((rows >= 0) & ~live[np.maximum(rows, 0)])
        self.row_of[gone] = -1
        for number in gone.tolist():
            heapq.heappush(self.free, number)
        return gone

    def names(self, numbers: NDArray[np.int64]) -> Spans:
        """The keys of numbers."""
        return self.shard.index.keys(self.row_of[numbers])

    def name(self, number: int) -> str:
        """The key of a number."""
        return (self.shard.index.keys(self.row_of[number : number + 1])[0] or b"").decode()


class PartitionAccounts:
    """The watch over the accounts of one partition; read from its shards and written back to them."""

    def __init__(self, accounts: Shard, traded: Shard, population: Shard, settings: Settings) -> None:
        self.accounts, self.traded, self.population = accounts, traded, population
        self.account_numbers, self.symbol_numbers = _Numbers(accounts), _Numbers(traded)
        self.watch = Surveillance(settings, self.account_numbers.next, self.symbol_numbers.next)
        self._read()
        self._account_changed = np.zeros(len(self.watch.accounts), np.bool_)
        self._symbol_changed = np.zeros(len(self.watch.symbols), np.bool_)
        self._swept = {name: self.watch.accounts[name].copy() for name in _SWEPT}

    def _read(self) -> None:
        rows, numbers = self.account_numbers.rows, self.account_numbers.known
        if len(rows):
            self.watch.unpack_accounts(numbers, _bytes(self.accounts.column("state")[rows]))
            held = self.accounts.column("held")[rows]
            account = np.repeat(numbers, held)
            taken = np.arange(MAX_POSITIONS) < held[:, None]
            symbol = self.accounts.column("held_symbol")[rows][taken].astype(np.int64)
            self.watch.unpack_positions(account, symbol, self.accounts.column("held_values")[rows][taken])
        rows, numbers = self.symbol_numbers.rows, self.symbol_numbers.known
        if len(rows):
            self.watch.unpack_symbols(numbers, _bytes(self.traded.column("state")[rows]))
        row = int(self.population.find(_EVERYONE)[0])
        if row >= 0:
            self.watch.unpack_clock(self.population.column("values")[row].tolist())

    def changed(self, accounts: NDArray[np.int64], symbols: NDArray[np.int64]) -> None:
        """Note that trades of these account and symbol numbers were taken."""
        self._account_changed = _marked(self._account_changed, accounts, len(self.watch.accounts))
        self._symbol_changed = _marked(self._symbol_changed, symbols, len(self.watch.symbols))

    def write_back(self) -> None:
        """Put what changed since the last time into the shards' rows, for the checkpoint."""
        n = self.account_numbers.next
        if not n:
            return
        gone = self.account_numbers.give_back()
        if len(gone):
            self.watch.forget(gone)
        changed = _marked(self._account_changed, np.empty(0, np.int64), len(self.watch.accounts))
        for name in _SWEPT:
            now, then = self.watch.accounts[name], self._swept[name]
            different = now[: len(then)] != then
            changed[: len(then)] |= different.any(axis=1) if different.ndim > 1 else different
        self._account_changed = np.zeros(len(self.watch.accounts), np.bool_)
        self._swept = {name: self.watch.accounts[name].copy() for name in _SWEPT}
        changed[:n] &= self.account_numbers.row_of[:n] >= 0
        numbers = np.flatnonzero(changed[:n])
        if len(numbers):
            self._write_accounts(numbers)
        symbols = np.flatnonzero(self._symbol_changed[: self.symbol_numbers.next])
        self._symbol_changed[:] = False
        if len(symbols):
            rows = self.symbol_numbers.row_of[symbols]
            self.traded.touch(rows)
            self.traded.column("state")[rows] = self.watch.pack_symbols(symbols).view(np.float64)
        if len(numbers) or len(symbols):
            row = self.population.locate(_EVERYONE)
            self.population.touch(row)
            self.population.column("values")[row] = self.watch.pack_clock()

    def _write_accounts(self, numbers: NDArray[np.int64]) -> None:
        rows, shard = self.account_numbers.row_of[numbers], self.accounts
        shard.touch(rows)
        shard.column("state")[rows] = self.watch.pack_accounts(numbers).view(np.float64)
        positions = self.watch.positions_of(numbers)
        place = np.searchsorted(numbers, positions["account"])
        counts = np.bincount(place, minlength=len(numbers))
        if counts.max(initial=0) > MAX_POSITIONS:
            size = np.abs(positions["quantity"]) * positions["mark"]
            order = np.lexsort((-size, place))
            positions, place = positions[order], place[order]
            logger.warning("an account holds %s positions; its row keeps %s", counts.max(), MAX_POSITIONS)
        slot = np.arange(len(place)) - np.searchsorted(place, place)
        kept = slot < MAX_POSITIONS
        at, slot, positions = rows[place[kept]], slot[kept], positions[kept]
        shard.column("held")[rows] = np.minimum(counts, MAX_POSITIONS)
        # Who holds something is not idle, however long ago its last order was.
        shard.column("_ts")[rows] = np.where(counts > 0, np.inf, self.watch.accounts["order_ts"][numbers])
        shard.column("held_symbol")[at, slot] = positions["symbol"]
        for k, name in enumerate(("quantity", "cost", "mark")):
            shard.column("held_values")[at, slot, k] = positions[name]


def _bytes(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values).view(np.uint8)


def _marked(mask: NDArray[np.bool_], numbers: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """`mask`, at least `n` long, true at `numbers`."""
    if n > len(mask):
        mask = np.concatenate([mask, np.zeros(n - len(mask), np.bool_)])
    mask[numbers] = True
    return mask

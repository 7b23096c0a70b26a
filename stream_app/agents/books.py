"""What accounts of a partition hold, valued at the latest closes: the input of portfolio risk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_app.agents.account_state import PartitionAccounts
from stream_app.state.shard import Shard
from topics.spans import Spans

__all__ = ["Books"]

#: Positions that an alert names.
_NAMED = 5


@dataclass(frozen=True)
class Books:
    """Positions of accounts, one after another: account i has those from `offsets[i]` to `offsets[i + 1]`.

    rows: of the symbol in the shard of scenarios; exposures: signed values. gross, net, covered (share of the gross
    value whose symbols have a history), positions: by account.
    """

    accounts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    rows: NDArray[np.int64]
    exposures: NDArray[np.float64]
    gross: NDArray[np.float64]
    net: NDArray[np.float64]
    covered: NDArray[np.float64]
    positions: NDArray[np.int64]
    symbols: Spans

    def __len__(self) -> int:
        return len(self.accounts)

    @classmethod
    def largest(cls, state: PartitionAccounts, scenarios: Shard, most: int, min_exposure: float) -> Books:
        """The accounts with the largest gross value, at most `most`, none below `min_exposure`."""
        everyone = np.arange(state.account_numbers.next)
        held = state.watch.positions_of(everyone)
        known, symbol = np.unique(held["symbol"], return_inverse=True)
        names = state.symbol_numbers.names(known)
        found = scenarios.find(names)
        close = np.where(found >= 0, scenarios.column("close")[found], np.nan)
        price = np.where(np.isfinite(close[symbol]), close[symbol], held["mark"])
        values = held["quantity"] * price
        gross: NDArray[np.float64] = np.bincount(held["account"], np.abs(values), minlength=len(everyone)).astype(float)
        order = np.lexsort((everyone, -gross))[:most]
        chosen = np.sort(order[gross[order] >= max(min_exposure, np.finfo(float).tiny)])
        mine = np.isin(held["account"], chosen)
        place = np.searchsorted(chosen, held["account"][mine])
        values, rows = values[mine], found[symbol[mine]]
        counts = np.bincount(place, minlength=len(chosen))
        # A symbol that no bar has told of yet is part of the exposure and of no scenario.
        has = rows >= 0
        covered = np.bincount(place[has], np.abs(values[has]), minlength=len(chosen)) / gross[chosen]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(place[has], minlength=len(chosen)))])
        return cls(
            chosen, offsets.astype(np.int64), rows[has], values[has], gross[chosen],
            np.bincount(place, values, minlength=len(chosen)).astype(float), np.minimum(covered, 1.0), counts,
            names.take(symbol[mine][has]),
        )  # fmt: skip

    def largest_of(self, i: int) -> list[dict[str, Any]]:
        """The largest positions of the i-th account in plain values."""
        part = np.arange(self.offsets[i], self.offsets[i + 1])
        order = part[np.argsort(-np.abs(self.exposures[part]), kind="stable")][:_NAMED]
        names = self.symbols.take(order).tolist()
        return [
            {"symbol": (name or b"").decode(), "value": float(value)}
            for name, value in zip(names, self.exposures[order].tolist(), strict=True)
        ]

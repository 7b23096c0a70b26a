"""From the kernels' columns to signals that a person can read: names instead of rows, a sentence, the trades."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsrec_models.risk.alerts import Signal
from tsrec_models.risk.surveillance_out import Out
from tsrec_models.risk.surveillance_settings import ACCOUNT_KINDS, KINDS, Settings

__all__ = ["SignalBatch", "Trades"]


@dataclass(frozen=True, slots=True)
class Trades:
    """A micro-batch by columns, all [n]: rows of account (-1: unknown) and symbol, `side` 1 buy, -1 sell, 0 unknown,
    price and quantity (positive), event time in epoch seconds, offset of the record in its partition."""

    account: NDArray[np.int64]
    symbol: NDArray[np.int64]
    side: NDArray[np.int8]
    price: NDArray[np.float64]
    quantity: NDArray[np.float64]
    ts: NDArray[np.float64]
    source: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SignalBatch:
    """Signals of one micro-batch, in the order of the trades that made them; [n], evidence flat."""

    settings: Settings
    table: NDArray[np.void]
    source: NDArray[np.int64]
    evidence: NDArray[np.void]

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def of(cls, settings: Settings, outs: Sequence[Out], source: NDArray[np.int64]) -> SignalBatch:
        """Join what the kernels wrote; `source` [trades] are the offsets of the batch."""
        table = np.concatenate([out.signals[: out.n[0]] for out in outs])
        evidence = np.concatenate([out.evidence[: out.n[1]] for out in outs])
        before = np.cumsum([0] + [int(out.n[1]) for out in outs[:-1]])
        table["evidence_end"] += np.repeat(before, [int(out.n[0]) for out in outs])
        return cls(settings, table, source[table["at"]], evidence)

    def signals(
        self, account_name: Callable[[int], str], symbol_name: Callable[[int], str], log: str = "trades:0"
    ) -> list[Signal]:
        """Signals for the alert book. `log` is `topic:partition` of the batch: `source` becomes `log:offset`."""
        out = []
        start = 0
        for row, offset in zip(self.table, self.source, strict=True):
            kind = KINDS[row["kind"]]
            end = int(row["evidence_end"])
            trades = [_trade(shown, account_name, symbol_name, log) for shown in self.evidence[start:end]]
            start = end
            subject = (account_name if kind in ACCOUNT_KINDS else symbol_name)(int(row["row"]))
            value, threshold = float(row["value"]), float(row["threshold"])
            message = self._sentence(kind, subject, value, threshold, float(row["extra"]), trades)
            source = f"{log}:{offset}"
            ts = float(row["ts"])
            out.append(Signal(kind, subject, value, ts, source, message, {"trades": trades}, threshold))
        return out

    def _sentence(
        self, kind: str, subject: str, value: float, threshold: float, extra: float, trades: list[dict[str, Any]]
    ) -> str:
        """What a person on duty reads first."""
        s = self.settings
        if kind == "velocity":
            usually = f"usually {extra:.0f}" if extra > 0 else "no history"
            return f"{subject}: {value:.0f} orders within {s.velocity_window_s:g} s ({usually}, limit {threshold:.0f})"
        if kind == "wash_trade":
            last = trades[-1]
            who = sorted({t["account_id"] for t in trades if "account_id" in t})
            linked = f" between linked accounts {', '.join(who)}" if len(who) > 1 else ""
            return (
                f"{subject}: {extra:.0f} buy-and-sell pair(s) in {last['symbol']}{linked}, latest "
                f"{last['quantity']:g} at {last['price']:g}; odds against chance 10^{value:.1f}"
            )
        if kind == "structuring":
            low = s.structuring_limit * (1 - s.structuring_band)
            return (
                f"{subject}: {extra:.0f} orders between {low:,.0f} and the limit of {s.structuring_limit:,.0f} within "
                f"{s.structuring_window_s / 3600:g} h; by chance 1 in 10^{value:.1f}"
            )
        if kind == "trade_limit":
            return f"{subject}: an order of {value:,.0f}, limit {threshold:,.0f}"
        if kind == "concentration":
            return f"{subject}: {value:.0%} of an exposure of {extra:,.0f} in one symbol"
        if kind == "loss_limit":
            return f"{subject}: loss of {value:,.0f}, of it realised {-extra:,.0f}; limit {threshold:,.0f}"
        if kind == "drawdown":
            return f"{subject}: {value:,.0f} below the peak of {extra:,.0f}; limit {threshold:,.0f}"
        if kind == "large_trade":
            order = f"a {trades[0]['side']} order" if "side" in trades[0] else "an order"
            return f"{subject}: {order} worth {value:,.0f}, where one in {1 / extra:,.0f} exceeds {threshold:,.0f}"
        first, last = trades[0], trades[-1]
        what = "moved" if kind == "price_spike" else "turned by"
        return (
            f"{subject}: {what} {extra:+.1f} bp within {last['ts'] - first['ts']:.1f} s, from {first['price']:g} to "
            f"{last['price']:g}; more than {threshold:.1f} bp is unusual here"
        )


def _trade(
    row: NDArray[np.void], account_name: Callable[[int], str], symbol_name: Callable[[int], str], log: str
) -> dict[str, Any]:
    """One trade of the evidence as a dict; only what is known of it."""
    shown: dict[str, Any] = {"ts": float(row["ts"]), "symbol": symbol_name(int(row["symbol"]))}
    if row["source"] >= 0:
        shown["source"] = f"{log}:{row['source']}"
    if row["side"]:
        shown["side"] = "buy" if row["side"] > 0 else "sell"
    if row["price"] > 0:
        shown["price"] = float(row["price"])
        if row["quantity"] > 0:
            shown["quantity"] = float(row["quantity"])
    else:  # an order of several fills, known by what it came to
        shown["amount"] = float(row["quantity"])
    if row["account"] >= 0:
        shown["account_id"] = account_name(int(row["account"]))
    return shown

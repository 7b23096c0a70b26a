"""Where the kernels write their signals and the trades that made them; fixed capacity, filled in order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.risk.surveillance_state import RING, Table

__all__ = [
    "EVIDENCE",
    "MAX_EVIDENCE",
    "ROOM",
    "SIGNAL",
    "Out",
    "emit",
    "has_room",
    "level",
    "new_out",
    "show",
    "show_ring",
]

#: Trades shown with one signal at most.
MAX_EVIDENCE = 16
#: Signals that one trade can make at most: one of each kind (of an order that is over, or of one that begins).
ROOM = 10


#: One signal: its trade is the `at`-th of the batch; `extra` is what the message of its kind needs besides.
SIGNAL = np.dtype(
    [
        ("kind", "i1"),
        ("is_raise", "i1"),
        ("row", "i8"),
        ("value", "f8"),
        ("threshold", "f8"),
        ("extra", "f8"),
        ("ts", "f8"),
        ("at", "i8"),
        ("evidence_end", "i8"),
    ],
    align=True,
)
#: One trade or order of a signal's evidence. Price 0: an order whose `quantity` is its amount of money.
EVIDENCE = np.dtype(
    [
        ("source", "i8"),
        ("ts", "f8"),
        ("symbol", "i8"),
        ("account", "i8"),
        ("price", "f8"),
        ("quantity", "f8"),
        ("side", "i1"),
    ],
    align=True,
)


class Out(NamedTuple):
    """Signals [capacity] and evidence [capacity x MAX_EVIDENCE]; `n` [2] holds how many of each there are."""

    n: NDArray[np.int64]
    signals: NDArray[np.void]
    evidence: NDArray[np.void]


def new_out(capacity: int) -> Out:
    """Room for `capacity` signals."""
    return Out(
        np.zeros(2, dtype=np.int64),
        np.zeros(capacity, dtype=SIGNAL),
        np.zeros(capacity * MAX_EVIDENCE, dtype=EVIDENCE),
    )


@njit(cache=True)
def has_room(out: Out) -> bool:
    """Whether all signals of one more trade fit."""
    return bool(out.n[0] + ROOM <= len(out.signals))


@njit(cache=True)
def emit(
    out: Out, kind: int, row: int, is_raise: int, value: float, threshold: float, extra: float, ts: float, at: int
) -> None:
    """One signal without evidence so far; `extra` is what the message of its kind needs besides."""
    i = out.n[0]
    out.signals[i].kind = kind
    out.signals[i].row = row
    out.signals[i].is_raise = is_raise
    out.signals[i].value = value
    out.signals[i].threshold = threshold
    out.signals[i].extra = extra
    out.signals[i].ts = ts
    out.signals[i].at = at
    out.signals[i].evidence_end = out.n[1]
    out.n[0] += 1


@njit(cache=True)
def show(out: Out, source: int, ts: float, symbol: int, side: int, price: float, quantity: float, account: int) -> None:
    """One more trade of the evidence of the latest signal."""
    i = out.n[1]
    out.evidence[i].source = source
    out.evidence[i].ts = ts
    out.evidence[i].symbol = symbol
    out.evidence[i].side = side
    out.evidence[i].price = price
    out.evidence[i].quantity = quantity
    out.evidence[i].account = account
    out.n[1] += 1
    out.signals[out.n[0] - 1].evidence_end = out.n[1]


@njit(cache=True)
def show_ring(out: Out, acc: Table, group: int, account: int, since: float, limit: int) -> None:
    """The latest `limit` orders of `account` since event time `since`, oldest first."""
    head = acc[group].ring_head
    first = max(0, head - RING)
    wanted = 0
    at = head - 1
    start = head
    while at >= first and wanted < limit:
        slot = at % RING
        if acc[group].ring_account[slot] == account and acc[group].ring_ts[slot] >= since:
            wanted += 1
            start = at
        at -= 1
    for k in range(start, head):
        slot = k % RING
        if acc[group].ring_account[slot] == account and acc[group].ring_ts[slot] >= since:
            show(
                out,
                acc[group].ring_source[slot],
                acc[group].ring_ts[slot],
                acc[group].ring_symbol[slot],
                acc[group].ring_side[slot],
                acc[group].ring_price[slot],
                acc[group].ring_quantity[slot],
                account,
            )


@njit(cache=True)
def level(raised: NDArray[np.int8], told: NDArray[np.float64], k: int, value: float, high: float, low: float) -> int:
    """What a level has to say: 1 (crossed `high`, or half as much again as last told), 0 (fell below `low`), -1.

    `raised` and `told` are one row's memory [kinds]. So a level speaks when it crosses a line, not with every trade.
    """
    if value >= high:
        if raised[k] == 0 or value >= 1.5 * told[k]:
            raised[k] = 1
            told[k] = value
            return 1
        return -1
    if raised[k] == 1 and value < low:
        raised[k] = 0
        told[k] = 0.0
        return 0
    return -1

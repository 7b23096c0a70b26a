"""Positions at average cost, their profit and loss, and the limits on loss, drawdown and concentration.

A trade marks the position it changes; a sweep marks all positions with the latest prices, so that a limit is also seen
when the market moves and the account does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.risk.surveillance_out import Out, emit, has_room, level, show_ring
from tsrec_models.risk.surveillance_state import Table

__all__ = ["check_limits", "drop_flat", "find", "mark_all", "reindex", "speak_all", "trade"]

_CONCENTRATION, _LOSS, _DRAWDOWN = 4, 5, 6
#: Fewer positions than this are not worth giving back.
_KEPT = 1024
#: Orders shown with a broken limit: the latest of the account.
_SHOWN = 4


@njit(cache=True)
def find(index: NDArray[np.int64], pos: Table, account: int, symbol: int) -> int:
    """Slot of `index` that holds a position's row, or the empty one (-1) where it belongs: linear probing."""
    mask = len(index) - 1
    h = np.uint64(account) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(symbol) * np.uint64(0xC2B2AE3D27D4EB4F)
    slot: Any = np.int64((h ^ (h >> np.uint64(29))) & np.uint64(mask))
    while index[slot] >= 0 and (pos[index[slot]].account != account or pos[index[slot]].symbol != symbol):
        slot = (slot + 1) & mask
    return slot  # type: ignore[no-any-return]


@njit(cache=True)
def reindex(index: NDArray[np.int64], pos: Table, n: int) -> None:
    """Make the index of the first `n` positions anew."""
    index[:] = -1
    for row in range(n):
        index[find(index, pos, pos[row].account, pos[row].symbol)] = row


@njit(cache=True)
def drop_flat(index: NDArray[np.int64], pos: Table, n: int) -> int:
    """Give back the rows of flat positions where they are more than half; return how many are left.

    Done in a sweep, so that it happens at the same event however a stream is cut into batches.
    """
    flat = 0
    for row in range(n):
        flat += pos[row].quantity == 0.0
    if n < _KEPT or 2 * flat <= n:
        return n
    kept = 0
    for row in range(n):
        if pos[row].quantity != 0.0:
            pos[kept] = pos[row]
            kept += 1
    reindex(index, pos, kept)
    return kept


@njit(cache=True)
def trade(
    acc: Table, index: NDArray[np.int64], pos: Table, n: int, a: int, s: int, side: int, price: float, quantity: float
) -> int:
    """Book a trade: `side` 1 buys, -1 sells. There are `n` positions before; returns how many after."""
    slot = find(index, pos, a, s)
    if index[slot] < 0:
        index[slot] = n
        pos[n].account = a
        pos[n].symbol = s
        pos[n].quantity = 0.0
        pos[n].cost = 0.0
        pos[n].mark = 0.0
        n += 1
    slot = index[slot]
    held, cost, mark = pos[slot].quantity, pos[slot].cost, pos[slot].mark
    acc[a].unrealised -= held * (mark - cost)
    acc[a].exposure -= abs(held) * mark
    signed = side * quantity
    if held * signed >= 0.0:
        cost = (cost * abs(held) + price * quantity) / (abs(held) + quantity)
    else:
        closed = min(abs(held), quantity)
        acc[a].realised += closed * (price - cost) * (1.0 if held > 0.0 else -1.0)
        if quantity > abs(held):
            cost = price
    held += signed
    if abs(held) < 1e-12 * quantity:  # what rounding leaves of a closed position
        held = 0.0
    pos[slot].quantity, pos[slot].cost, pos[slot].mark = held, cost, price
    acc[a].unrealised += held * (price - cost)
    acc[a].exposure += abs(held) * price
    return n


@njit(cache=True)
def check_limits(p: Any, acc: Table, a: int, ts: float, at: int, out: Out) -> None:
    """Speak of loss and drawdown of account `a` where a limit is crossed."""
    equity = acc[a].realised + acc[a].unrealised
    acc[a].peak = max(acc[a].peak, equity)
    said = level(acc[a].raised, acc[a].told, _LOSS, -equity, p.loss_limit, p.clear_share * p.loss_limit)
    if said >= 0:
        emit(out, _LOSS, a, said, -equity, p.loss_limit, acc[a].realised, ts, at)
        show_ring(out, acc, acc[a].group, a, -np.inf, _SHOWN)
    if acc[a].raised[_LOSS] == 1 and acc[a].raised[_DRAWDOWN] == 0:
        return  # one fall, one alert
    fall = acc[a].peak - equity
    said = level(acc[a].raised, acc[a].told, _DRAWDOWN, fall, p.drawdown_limit, p.clear_share * p.drawdown_limit)
    if said >= 0:
        emit(out, _DRAWDOWN, a, said, fall, p.drawdown_limit, acc[a].peak, ts, at)
        show_ring(out, acc, acc[a].group, a, -np.inf, _SHOWN)


@njit(cache=True)
def mark_all(acc: Table, sym: Table, pos: Table, n: int, n_accounts: int) -> None:
    """Mark the `n` positions with its symbol's latest price; sums and the largest exposure by account."""
    for a in range(n_accounts):
        acc[a].unrealised, acc[a].exposure, acc[a].top_exposure, acc[a].top_symbol = 0.0, 0.0, 0.0, -1
    for i in range(n):
        a = pos[i].account
        if pos[i].quantity == 0.0:
            continue
        price = sym[pos[i].symbol].price
        pos[i].mark = price
        acc[a].unrealised += pos[i].quantity * (price - pos[i].cost)
        exposure = abs(pos[i].quantity) * price
        acc[a].exposure += exposure
        if exposure > acc[a].top_exposure:
            acc[a].top_exposure, acc[a].top_symbol = exposure, pos[i].symbol


@njit(cache=True)
def speak_all(p: Any, acc: Table, cursor: NDArray[np.int64], n_accounts: int, ts: float, at: int, out: Out) -> None:
    """Check the limits of all accounts from row `cursor[0]` on; stops where `out` is full, at -1 when done."""
    for a in range(cursor[0], n_accounts):
        if not has_room(out):
            cursor[0] = a
            return
        check_limits(p, acc, a, ts, at, out)
        share = acc[a].top_exposure / acc[a].exposure if acc[a].exposure >= p.concentration_exposure else 0.0
        high = p.concentration_share
        said = level(acc[a].raised, acc[a].told, _CONCENTRATION, share, high, p.clear_share * high)
        if said >= 0:
            emit(out, _CONCENTRATION, a, said, share, high, acc[a].exposure, ts, at)
            show_ring(out, acc, acc[a].group, a, -np.inf, _SHOWN)
    cursor[0] = -1

"""The one pass over a micro-batch of trades: every kind, in the order of the trades."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.risk.structuring import structuring
from tsrec_models.risk.surveillance_out import Out, emit, has_room, show_ring
from tsrec_models.risk.surveillance_positions import check_limits, drop_flat, mark_all, speak_all, trade
from tsrec_models.risk.surveillance_state import RING, Table
from tsrec_models.risk.surveillance_symbols import large, price_move
from tsrec_models.risk.surveillance_velocity import velocity
from tsrec_models.risk.wash import count_size, wash

__all__ = ["CURSOR", "N_ACCOUNTS", "N_POSITIONS", "SINCE_MARK", "run"]

#: Places in `meta`: rows of accounts and of positions in use, trades since the last sweep, where a sweep is (-1: none).
N_ACCOUNTS, N_POSITIONS, SINCE_MARK, CURSOR = 0, 1, 2, 3
_TRADE_LIMIT = 3
#: An amount of money beyond this would end every sum it enters.
_MOST = 1e300
#: A sweep costs a pass over all accounts and their positions: not before an eighth as many trades have come.
_SWEEP_SHARE = 8


@njit(cache=True)
def _push(
    acc: Table, g: int, a: int, s: int, side: int, price: float, quantity: float, ts: float, source: int, paired: int
) -> None:
    slot = acc[g].ring_head % RING
    acc[g].ring_head += 1
    acc[g].ring_account[slot] = a
    acc[g].ring_symbol[slot] = s
    acc[g].ring_side[slot] = side
    acc[g].ring_price[slot] = price
    acc[g].ring_quantity[slot] = quantity
    acc[g].ring_ts[slot] = ts
    acc[g].ring_source[slot] = source
    acc[g].ring_paired[slot] = paired


@njit(cache=True)
def _add_fill(acc: Table, g: int, a: int, s: int, side: int, ts: float) -> int:
    """Slot of the order in the ring that a further fill belongs to; -1 where another one came in between."""
    slot = (acc[g].ring_head - 1) % RING
    same = acc[g].ring_account[slot] == a and acc[g].ring_symbol[slot] == s
    return slot if same and acc[g].ring_side[slot] == side and acc[g].ring_ts[slot] == ts else -1


@njit(cache=True)
def _account(
    p: Any,
    acc: Table,
    sym: Table,
    population: NDArray[np.float64],
    a: int,
    s: int,
    side: int,
    price: float,
    quantity: float,
    ts: float,
    source: int,
    at: int,
    out: Out,
) -> None:
    """Kinds by account, but for its positions."""
    g = acc[a].group
    same = ts == acc[a].order_ts and s == acc[a].order_symbol and side == acc[a].order_side
    before = acc[a].order_amount if same else 0.0
    amount = before + price * quantity
    acc[a].order_ts, acc[a].order_symbol, acc[a].order_side, acc[a].order_amount = ts, s, side, amount
    slot = _add_fill(acc, g, a, s, side, ts) if same else -1
    if slot >= 0:
        filled = acc[g].ring_quantity[slot]
        total = filled + quantity
        mean = (acc[g].ring_price[slot] * filled + price * quantity) / total
        acc[g].ring_quantity[slot], acc[g].ring_price[slot] = total, mean
        if side != 0:
            count_size(sym, s, filled, p.wash_size, -1.0)
            if acc[g].ring_paired[slot] == 0:
                first = acc[g].ring_source[slot]
                acc[g].ring_paired[slot] = wash(p, acc, sym, a, s, side, mean, total, ts, first, False, at, out)
            count_size(sym, s, total, p.wash_size, 1.0)
    else:
        paired = 0
        if side != 0:
            paired = wash(p, acc, sym, a, s, side, price, quantity, ts, source, True, at, out)
            count_size(sym, s, quantity, p.wash_size, 1.0)
        _push(acc, g, a, s, side, price, quantity, ts, source, paired)
    if not same:
        velocity(p, acc, a, ts, at, out)
    structuring(p, acc, population, a, s, side, before, amount, ts, source, at, out)
    if before < p.trade_limit <= amount:
        emit(out, _TRADE_LIMIT, a, 1, amount, p.trade_limit, 0.0, ts, at)
        show_ring(out, acc, g, a, ts, 1)


@njit(cache=True)
def run(
    params: NDArray[np.void],
    acc: Table,
    sym: Table,
    index: NDArray[np.int64],
    pos: Table,
    population: NDArray[np.float64],
    clock: NDArray[np.float64],
    meta: NDArray[np.int64],
    account: NDArray[np.int64],
    symbol: NDArray[np.int64],
    side: NDArray[np.int8],
    price: NDArray[np.float64],
    quantity: NDArray[np.float64],
    ts: NDArray[np.float64],
    source: NDArray[np.int64],
    start: int,
    out: Out,
) -> int:
    """Take trades from `start` on; return how far it came. Stops early where `out` is full: empty it and call again.

    `clock` [1] is the event time of the last sweep over all positions, `meta` [4] counts (see above).
    """
    p = params[0]
    n = len(ts)
    i = start
    while True:
        if meta[CURSOR] >= 0:
            speak_all(p, acc, meta[CURSOR:], meta[N_ACCOUNTS], ts[i - 1], i - 1, out)
            if meta[CURSOR] >= 0:
                return i
        if i == n or not has_room(out):
            return i
        if not price[i] * quantity[i] < _MOST:
            i += 1
            continue
        a, s = account[i], symbol[i]
        price_move(p, sym, s, side[i], price[i], ts[i], source[i], i, out)
        large(p, sym, s, side[i], price[i], quantity[i], ts[i], source[i], i, out)
        meta[SINCE_MARK] += 1
        is_due = ts[i] >= clock[0] + p.mark_every_s
        is_due = is_due and meta[SINCE_MARK] * _SWEEP_SHARE >= meta[N_ACCOUNTS]
        if a >= 0:
            meta[N_ACCOUNTS] = max(meta[N_ACCOUNTS], a + 1)
            _account(p, acc, sym, population, a, s, side[i], price[i], quantity[i], ts[i], source[i], i, out)
            if side[i] != 0:
                n_pos = meta[N_POSITIONS]
                meta[N_POSITIONS] = trade(acc, index, pos, n_pos, a, s, side[i], price[i], quantity[i])
                if not is_due:
                    check_limits(p, acc, a, ts[i], i, out)
        if is_due:
            meta[N_POSITIONS] = drop_flat(index, pos, meta[N_POSITIONS])
            mark_all(acc, sym, pos, meta[N_POSITIONS], meta[N_ACCOUNTS])
            clock[0], meta[SINCE_MARK], meta[CURSOR] = ts[i], 0, 0
        i += 1

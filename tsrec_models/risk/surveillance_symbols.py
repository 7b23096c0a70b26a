"""Market-level kinds, by symbol: price spikes and acceleration, and orders large for their market.

What is usual is learned by symbol while it runs, always from before the window that is judged.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from tsrec_models.risk.surveillance_out import Out, emit, level, show
from tsrec_models.risk.surveillance_state import SPIKE_RING, TAIL_BINS, Table

__all__ = ["large", "price_move"]

_SPIKE, _TURN, _LARGE = 7, 8, 9
_NEVER = np.iinfo(np.int64).min
#: Buckets of a spike's window; a half of it is a leg of the acceleration.
_WINDOW, _LEG = 10, 5
#: Weight of the prior variance, in windows seen, and how many times its own variance one window may add.
_PRIOR_WINDOWS, _CLIP = 10.0, 16.0
#: The tail is fitted on the largest hundredth of the orders, on at least twenty of them.
_TAIL_SHARE, _TAIL_LEAST = 0.01, 20.0
#: Sizes of orders fall as a power of about 1.5 in every market looked at (Gopikrishnan et al. 2000): worth 40 of them.
_TAIL_INDEX, _TAIL_WEIGHT = 1.5, 40.0
_REFIT_EVERY = 64
_DAY_S = 86_400.0
#: Orders are forgotten by halves.
_ORDER_MEMORY = 100_000.0


@njit(cache=True)
def _learn(p: Any, var: float, move: float, windows: int) -> float:
    """Running variance of moves; a loud window adds at most 16 variances, so that a spike does not become usual."""
    rate = max(p.spike_alpha, 1.0 / (_PRIOR_WINDOWS + windows))
    return float(var + rate * (min(move * move, _CLIP * var) - var))


@njit(cache=True)
def _close_buckets(p: Any, sym: Table, s: int, bucket: int) -> None:
    """Close the buckets up to `bucket`, and learn the move of the window that the last traded one ends."""
    last = sym[s].bucket
    slot = last % SPIKE_RING
    sym[s].close[slot] = sym[s].price
    then = (last - _WINDOW) % SPIKE_RING
    move = math.log(sym[s].price / sym[s].close[then])
    stretch = max(1.0, (last * p.spike_bucket_s - sym[s].traded_ts[then]) / (_WINDOW * p.spike_bucket_s))
    sym[s].spike_var = _learn(p, sym[s].spike_var, move / math.sqrt(stretch), sym[s].windows)
    if stretch < 2.0:
        leg = math.log(sym[s].price / sym[s].close[(last - _LEG) % SPIKE_RING])
        sym[s].turn_var = _learn(p, sym[s].turn_var, 2 * leg - move, sym[s].windows)
    sym[s].windows += 1
    traded = sym[s].traded_ts[slot]
    for k in range(min(bucket - last, SPIKE_RING)):
        slot = (last + k) % SPIKE_RING
        sym[s].close[slot] = sym[s].price
        sym[s].traded_ts[slot] = traded
        sym[s].lagged_spike_var[slot] = sym[s].spike_var
        sym[s].lagged_turn_var[slot] = sym[s].turn_var
    sym[s].bucket = bucket


@njit(cache=True)
def price_move(p: Any, sym: Table, s: int, side: int, price: float, ts: float, source: int, at: int, out: Out) -> None:
    """Take a price; speak where its move crosses a line. Trades older than the open bucket are left out."""
    bucket = np.int64(math.floor(ts / p.spike_bucket_s))
    if sym[s].bucket == _NEVER:
        sym[s].close[:] = price
        sym[s].traded_ts[:] = ts
        sym[s].spike_var = p.spike_prior_var
        sym[s].turn_var = p.spike_prior_var
        sym[s].lagged_spike_var[:] = p.spike_prior_var
        sym[s].lagged_turn_var[:] = p.spike_prior_var
        sym[s].bucket = bucket
        sym[s].price = price
        return
    if bucket < sym[s].bucket:
        return
    if bucket > sym[s].bucket:
        _close_buckets(p, sym, s, bucket)
    sym[s].price = price
    sym[s].traded_ts[bucket % SPIKE_RING] = ts
    then = (bucket - _WINDOW) % SPIKE_RING
    move = math.log(price / sym[s].close[then])
    stretch = max(1.0, (ts - sym[s].traded_ts[then]) / (_WINDOW * p.spike_bucket_s))
    usual = math.sqrt(sym[s].lagged_spike_var[then] * stretch)
    high = max(p.spike_move, p.spike_sigmas * usual)
    said = level(sym[s].raised, sym[s].told, 0, abs(move), high, 0.5 * high)
    if said >= 0:
        emit(out, _SPIKE, s, said, abs(move) * 1e4, high * 1e4, move * 1e4, ts, at)
        show(out, -1, sym[s].traded_ts[then], s, 0, sym[s].close[then], 0.0, -1)
        show(out, source, ts, s, side, price, 0.0, -1)
    if stretch >= 2.0:
        return
    turn = 2 * math.log(price / sym[s].close[(bucket - _LEG) % SPIKE_RING]) - move
    high = max(p.spike_move, p.spike_sigmas * math.sqrt(sym[s].lagged_turn_var[then]))
    if sym[s].raised[0] == 1 and sym[s].raised[1] == 0:
        return  # one move, one alert
    said = level(sym[s].raised, sym[s].told, 1, abs(turn), high, 0.5 * high)
    if said >= 0:
        emit(out, _TURN, s, said, abs(turn) * 1e4, high * 1e4, turn * 1e4, ts, at)
        show(out, -1, sym[s].traded_ts[then], s, 0, sym[s].close[then], 0.0, -1)
        show(out, source, ts, s, side, price, 0.0, -1)


@njit(cache=True)
def _tail_bin(amount: float) -> int:
    # Bounded before it becomes an integer: an amount may be infinite.
    place = min(float(TAIL_BINS // 2), 4 * math.log2(amount))
    return min(TAIL_BINS - 1, max(0, math.floor(place) + TAIL_BINS // 2))


@njit(cache=True)
def _refit_tail(p: Any, sym: Table, s: int) -> None:
    """The amount that `large_per_day` orders a day exceed, and no more than a share of `large_tail`: a power law over
    the largest hundredth of the past (Hill 1975)."""
    days = (sym[s].order_ts - sym[s].seen_from) / _DAY_S
    sym[s].large_share = min(p.large_tail, p.large_per_day * days / sym[s].seen_orders)
    need = max(_TAIL_SHARE * sym[s].orders, _TAIL_LEAST)
    k, logs, b = 0.0, 0.0, TAIL_BINS - 1
    while b > 0:
        count = sym[s].tail[b]
        k += count
        logs += count * (b + 0.5)
        if k >= need:
            break
        b -= 1
    spread = (logs / k - b) / 4 * math.log(2.0)  # mean log excess over the lower edge of bin b
    spread = (k * spread + _TAIL_WEIGHT / _TAIL_INDEX) / (k + _TAIL_WEIGHT)
    base = 2.0 ** ((b - TAIL_BINS // 2) / 4)
    wanted = k / (sym[s].orders * sym[s].large_share)
    sym[s].large_from = base * max(1.0, wanted) ** spread


@njit(cache=True)
def large(
    p: Any, sym: Table, s: int, side: int, price: float, quantity: float, ts: float, source: int, at: int, out: Out
) -> None:
    """Add a fill to the current order of symbol `s`; speak when the order is large, again when it has doubled, and when
    it is over, of all that it came to."""
    if sym[s].order_ts == -np.inf:
        sym[s].seen_from = ts
    if ts == sym[s].order_ts and side == sym[s].order_side:
        sym[s].order_amount += price * quantity
    else:
        # Where this trade is large itself, one word for both has to do: its own.
        if 0.0 < sym[s].told[2] < sym[s].order_amount and price * quantity < sym[s].large_from:
            emit(out, _LARGE, s, 1, sym[s].order_amount, sym[s].large_from, sym[s].large_share, sym[s].order_ts, at)
            show(out, sym[s].order_source, sym[s].order_ts, s, sym[s].order_side, 0.0, sym[s].order_amount, -1)
        if sym[s].order_amount > 0.0:
            sym[s].tail[_tail_bin(sym[s].order_amount)] += 1
            sym[s].orders += 1.0
            sym[s].seen_orders += 1.0
            if sym[s].orders >= p.large_warmup and np.int64(sym[s].orders) % _REFIT_EVERY == 0:
                _refit_tail(p, sym, s)
            if sym[s].orders >= _ORDER_MEMORY:
                sym[s].tail[:] = sym[s].tail * np.float32(0.5)
                sym[s].orders = np.sum(sym[s].tail)
        sym[s].order_ts = ts
        sym[s].order_side = side
        sym[s].order_source = source
        sym[s].order_amount = price * quantity
        sym[s].told[2] = 0.0
    amount = sym[s].order_amount
    if amount >= sym[s].large_from and amount >= 2 * sym[s].told[2]:
        sym[s].told[2] = amount
        emit(out, _LARGE, s, 1, amount, sym[s].large_from, sym[s].large_share, ts, at)
        show(out, sym[s].order_source, ts, s, side, 0.0, amount, -1)
        if source != sym[s].order_source:
            show(out, source, ts, s, side, price, quantity, -1)

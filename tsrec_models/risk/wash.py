"""Wash trades: one owner on both sides, so that nothing changes hands but the tape shows trading.

A buy and a sell of the same symbol, size and price, close in time, by one account or linked ones, are a *pair*. By
chance alone pairs are common: most trades of a market have one of a few sizes. So each pair adds its log10 odds, and
each trade that could have made a pair and did not takes some away; the sum (not below zero: Page's CUSUM, 1954) is
compared with a threshold. It is about the log10 of how many accounts' histories one would have to read to see such by
chance.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from tsrec_models.risk.surveillance_out import Out, emit, show
from tsrec_models.risk.surveillance_state import PAIRS, RECENT_SIZES, RING, SIZE_BINS, Table

__all__ = ["count_size", "digits", "size_bin", "size_share", "wash"]

_KIND = 1
#: A washer's two prices differ by a fifth of the tolerance on average.
_PRICE_TIGHTNESS = 5.0
#: Share of a washer's trades that find their pair.
_PAIRED_SHARE = 0.5
#: One order in ten has a size not counted yet; such are spread over the numbers of its significant digits, of which
#: there are 9, 90, 900 … in each of some four decades. So 0.5 is a size to expect, 0.7132 is not. What lies within the
#: tolerance of a size is about as likely as the tolerance is wide: half the sizes of a market lie within one octave.
_UNSEEN, _DECADES = 0.1, 4.0
#: Orders that must have been counted before counts say more than that.
_PRIOR_TOTAL = 60.0
_MOST_DIGITS = 5
#: Sizes are forgotten by halves, so that a share is that of the latest some tens of thousands of orders.
_SIZE_MEMORY = 65_536.0
#: One pair says at most this much, and a miss this little: closing a position is a pair too, and honest.
_MOST, _LEAST = 6.0, -1.0
_LOG10_E = math.log10(math.e)
#: After so many windows without a pair or a miss, a score starts again at zero.
_MEMORY_WINDOWS = 10.0


@njit(cache=True)
def size_bin(quantity: float, tolerance: float) -> int:
    """Counter of a size: sizes within about `tolerance` share one."""
    k = np.uint64(np.int64(math.floor(math.log(quantity) / tolerance)))
    slot: Any = np.int64((k * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(52))
    return slot % SIZE_BINS  # type: ignore[no-any-return]


@njit(cache=True)
def count_size(sym: Table, s: int, quantity: float, tolerance: float, by: float) -> None:
    """Count an order of this size (by -1: take it back, it has grown)."""
    sym[s].sizes[size_bin(quantity, tolerance)] += by
    sym[s].size_total += by
    if by < 0:
        sym[s].recent_head -= 1
    else:
        sym[s].recent_sizes[sym[s].recent_head % RECENT_SIZES] = quantity
        sym[s].recent_head += 1
    if sym[s].size_total > _SIZE_MEMORY:
        sym[s].sizes[:] = sym[s].sizes * np.float32(0.5)
        sym[s].size_total *= 0.5


@njit(cache=True)
def digits(quantity: float) -> int:
    """Significant decimal digits of a size, at most five: 1 for 0.002 or 500, 3 for 1.25."""
    unit = 10.0 ** math.floor(math.log10(quantity))
    for n in range(1, _MOST_DIGITS):
        scaled = quantity / unit * 10.0 ** (n - 1)
        if abs(scaled - math.floor(scaled + 0.5)) < 1e-6 * scaled:
            return n
    return _MOST_DIGITS


@njit(cache=True)
def size_share(sym: Table, s: int, quantity: float, tolerance: float, own: int, own_total: int) -> float:
    """Chance that another order in this symbol has this size, of late or at all.

    The account's own orders are left out (`own` of this
    size, `own_total` in all), or a washer would make its size a common one.
    """
    count = max(0.0, sym[s].sizes[size_bin(quantity, tolerance)] - own)
    seen = count / (max(0.0, sym[s].size_total - own_total) + _PRIOR_TOTAL)
    recent = -own
    for k in range(RECENT_SIZES):
        recent += abs(sym[s].recent_sizes[k] - quantity) <= tolerance * quantity
    seen = max(seen, recent / RECENT_SIZES)
    exact = 1.0 / (_DECADES * 9.0 * 10.0 ** (digits(quantity) - 1))
    return float((1 - _UNSEEN) * seen + _UNSEEN * max(exact, tolerance))


@njit(cache=True)
def _find(
    p: Any, acc: Table, g: int, s: int, side: int, price: float, quantity: float, ts: float
) -> tuple[int, float, int]:
    """Slot of the pair closest in time (-1: none), its lag, and how many orders could have been a pair."""
    best, best_lag, candidates = -1, np.inf, 0
    for slot in range(RING):
        if not _could_pair(p, acc, g, slot, s, side, price, ts):
            continue
        candidates += 1
        lag = abs(ts - acc[g].ring_ts[slot])
        if abs(quantity - acc[g].ring_quantity[slot]) <= p.wash_size * quantity and lag < best_lag:
            best, best_lag = slot, lag
    return best, best_lag, candidates


@njit(cache=True)
def _could_pair(p: Any, acc: Table, g: int, slot: int, s: int, side: int, price: float, ts: float) -> bool:
    """Whether a remembered order has all that a pair needs but the size."""
    row = acc[g]
    return bool(
        row.ring_symbol[slot] == s
        and row.ring_side[slot] == -side
        and row.ring_paired[slot] == 0
        and abs(ts - row.ring_ts[slot]) <= p.wash_window_s
        and abs(price - row.ring_price[slot]) <= p.wash_price * price
    )


@njit(cache=True)
def _own(acc: Table, g: int, s: int, quantity: float, tolerance: float) -> tuple[int, int]:
    """The group's remembered orders in symbol `s`: of this size, and in all."""
    same, total = 0, 0
    for slot in range(RING):
        if acc[g].ring_symbol[slot] == s:
            total += 1
            same += abs(quantity - acc[g].ring_quantity[slot]) <= tolerance * quantity
    return same, total


@njit(cache=True)
def wash(
    p: Any,
    acc: Table,
    sym: Table,
    a: int,
    s: int,
    side: int,
    price: float,
    quantity: float,
    ts: float,
    source: int,
    is_new: bool,
    at: int,
    out: Out,
) -> int:
    """Look for the pair of an order of account `a`, score it, speak. Returns 1 if it is one half of a pair.

    Call before a new order enters the ring of its group, and again with each further fill of it (`is_new` False), with
    the `quantity` so far and the mean price.
    """
    g = acc[a].group
    slot, lag, candidates = _find(p, acc, g, s, side, price, quantity, ts)
    if candidates == 0:
        return 0
    if abs(ts - acc[g].wash_ts) > _MEMORY_WINDOWS * p.wash_window_s:
        acc[g].wash_score, acc[g].wash_pairs, acc[g].raised[_KIND] = 0.0, 0, 0
    acc[g].wash_ts = ts
    own, own_total = _own(acc, g, s, quantity, p.wash_size)
    share = size_share(sym, s, quantity, p.wash_size, own, own_total)
    expected = candidates * share  # chance pairs within the window
    if slot < 0:
        if is_new:
            odds = min(0.0, math.log10(1 - _PAIRED_SHARE) + expected * _LOG10_E)
            acc[g].wash_score += odds
            if acc[g].wash_score <= 0.0:
                acc[g].wash_score, acc[g].wash_pairs, acc[g].raised[_KIND] = 0.0, 0, 0
        return 0
    # Density of the lag to the closest pair: exponential for a washer, that of a Poisson process for chance.
    rate = expected / p.wash_window_s
    odds = math.log10(_PAIRED_SHARE / (p.wash_lag_s * rate)) - (lag / p.wash_lag_s - lag * rate) * _LOG10_E
    # A washer has no reason for a difference in price, chance spreads it over the tolerance. Equal prices say nothing:
    # where the tick is coarse they are the rule.
    apart = abs(price / acc[g].ring_price[slot] - 1.0) / p.wash_price * _PRICE_TIGHTNESS
    odds += min(0.0, math.log10(_PRICE_TIGHTNESS) - apart * _LOG10_E)
    acc[g].wash_score = max(0.0, acc[g].wash_score + min(_MOST, max(_LEAST, odds)))
    acc[g].ring_paired[slot] = 1
    k = acc[g].wash_pairs % PAIRS
    acc[g].pair_source[2 * k] = acc[g].ring_source[slot]
    acc[g].pair_source[2 * k + 1] = source
    acc[g].wash_pairs += 1
    score = acc[g].wash_score
    if score >= p.wash_raise and (acc[g].raised[_KIND] == 0 or score >= 1.25 * acc[g].told[_KIND]):
        acc[g].raised[_KIND] = 1
        acc[g].told[_KIND] = score
        emit(out, _KIND, a, 1, score, p.wash_raise, float(acc[g].wash_pairs), ts, at)
        _show_pairs(acc, g, out)
        if is_new:
            show(out, source, ts, s, side, price, quantity, a)
    return 1


@njit(cache=True)
def _show_pairs(acc: Table, g: int, out: Out) -> None:
    """The orders of the latest pairs that the ring still has, oldest first (the newest is not in it yet)."""
    first = max(0, acc[g].ring_head - RING)
    shown = 0
    for h in range(first, acc[g].ring_head):
        slot = h % RING
        for k in range(min(acc[g].wash_pairs, PAIRS)):
            in_pair = acc[g].ring_source[slot] in (acc[g].pair_source[2 * k], acc[g].pair_source[2 * k + 1])
            if in_pair and shown < 2 * PAIRS - 1:
                shown += 1
                show(
                    out,
                    acc[g].ring_source[slot],
                    acc[g].ring_ts[slot],
                    acc[g].ring_symbol[slot],
                    acc[g].ring_side[slot],
                    acc[g].ring_price[slot],
                    acc[g].ring_quantity[slot],
                    acc[g].ring_account[slot],
                )
                break

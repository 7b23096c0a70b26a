"""Structuring: amounts kept just below a limit, so that each one alone is reported to nobody.

Some orders lie just below any line. What gives a structurer away is that of an account's orders of that size class more
lie in the band below the limit than chance would put there, and hardly any at or above it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.risk.surveillance_out import Out, emit, show
from tsrec_models.risk.surveillance_state import MATERIAL, Table

__all__ = ["rarity", "structuring"]

_KIND = 2
#: Prior of the band's share among material orders: 2 % of 200, about what amounts falling as 1/x have there.
_PRIOR_BAND, _PRIOR_TOTAL = 4.0, 200.0
#: In the band below the limit there must be more than so many times the orders at or above it.
_BELOW_TO_ABOVE = 3


@njit(cache=True)
def rarity(k: int, n: int, share: float) -> float:
    """-log10 of the chance that of `n` orders at least `k` lie in a band that has `share` of all."""
    total = 0.0
    for i in range(k, n + 1):
        log_choose = math.lgamma(n + 1.0) - math.lgamma(i + 1.0) - math.lgamma(n - i + 1.0)
        total += math.exp(log_choose + i * math.log(share) + (n - i) * math.log1p(-share))
    return -math.log10(max(total, 1e-300))


@njit(cache=True)
def structuring(
    p: Any,
    acc: Table,
    population: NDArray[np.float64],
    a: int,
    s: int,
    side: int,
    before: float,
    amount: float,
    ts: float,
    source: int,
    at: int,
    out: Out,
) -> None:
    """Take an order of account `a`, whose fills came to `before` and now come to `amount` (a new order: before is 0).

    `population` [2]: material orders of all accounts, and those of them in the band.
    """
    if amount < p.structuring_material:
        return
    in_band = p.structuring_low <= amount < p.structuring_limit
    if before >= p.structuring_material:
        slot = (acc[a].material_head - 1) % MATERIAL
        if p.structuring_low <= before < p.structuring_limit:
            population[1] -= 1.0
    else:
        slot = acc[a].material_head % MATERIAL
        acc[a].material_head += 1
        acc[a].material_ts[slot] = ts
        acc[a].material_source[slot] = source
        acc[a].material_symbol[slot] = s
        acc[a].material_side[slot] = side
        population[0] += 1.0
    acc[a].material_amount[slot] = amount
    if not in_band:
        return
    population[1] += 1.0
    n, k, above = 0, 0, 0
    for i in range(MATERIAL):
        if acc[a].material_ts[i] > ts - p.structuring_window_s:
            n += 1
            k += p.structuring_low <= acc[a].material_amount[i] < p.structuring_limit
            above += acc[a].material_amount[i] >= p.structuring_limit
    if k < p.structuring_min or k <= _BELOW_TO_ABOVE * above:
        return
    # The account's own orders are left out of what is usual, or a structurer would make it so.
    share = (max(0.0, population[1] - k) + _PRIOR_BAND) / (max(0.0, population[0] - n) + _PRIOR_TOTAL)
    score = rarity(k, n, min(share, 0.99))
    if score < p.structuring_raise:
        return
    emit(out, _KIND, a, 1, score, p.structuring_raise, float(k), ts, at)
    head = acc[a].material_head
    for h in range(max(0, head - MATERIAL), head):
        i = h % MATERIAL
        if (
            acc[a].material_ts[i] > ts - p.structuring_window_s
            and p.structuring_low <= acc[a].material_amount[i] < p.structuring_limit
        ):
            show(
                out,
                acc[a].material_source[i],
                acc[a].material_ts[i],
                acc[a].material_symbol[i],
                acc[a].material_side[i],
                0.0,
                acc[a].material_amount[i],
                a,
            )

"""Velocity: orders of an account in a sliding window of event time, against a limit and against its own habit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from tsrec_models.risk.surveillance_out import MAX_EVIDENCE, Out, emit, level, show_ring
from tsrec_models.risk.surveillance_state import VELOCITY_BUCKETS, Table

__all__ = ["usual_count", "velocity"]

_KIND = 0
_NEVER = np.iinfo(np.int64).min


@njit(cache=True)
def _advance(p: Any, acc: Table, a: int, bucket: int) -> None:
    """Move the window to `bucket`; counts that fall out of it become habit."""
    last = acc[a].velocity_bucket
    if last == _NEVER:
        acc[a].velocity_bucket = bucket
        return
    steps = bucket - last
    for k in range(1, min(steps, VELOCITY_BUCKETS) + 1):
        slot = (last + k) % VELOCITY_BUCKETS
        acc[a].usual_orders = acc[a].usual_orders * p.velocity_decay + acc[a].velocity_counts[slot]
        acc[a].usual_buckets = acc[a].usual_buckets * p.velocity_decay + 1.0
        acc[a].velocity_counts[slot] = 0
    if steps > VELOCITY_BUCKETS:  # the rest of the gap: buckets without orders, in closed form
        decay = p.velocity_decay ** (steps - VELOCITY_BUCKETS)
        acc[a].usual_orders *= decay
        acc[a].usual_buckets = acc[a].usual_buckets * decay + (1 - decay) / (1 - p.velocity_decay)
    acc[a].velocity_bucket = bucket


@njit(cache=True)
def usual_count(acc: Table, a: int) -> float:
    """Orders a window that account `a` usually sends, by what came before the present window; 0 for a new account."""
    # The first window's worth of buckets fell out empty, before the account's first order.
    seen = acc[a].usual_buckets - VELOCITY_BUCKETS
    if seen <= 0.0:
        return 0.0
    return float(acc[a].usual_orders / max(seen, float(VELOCITY_BUCKETS)) * VELOCITY_BUCKETS)


@njit(cache=True)
def _is_burst(p: Any, acc: Table, a: int) -> bool:
    """Whether an account without a habit yet, seen for less than two windows, bursts rather than goes on as it began:
    half the limit within a quarter of the window. With a habit, that is what it is measured by."""
    if acc[a].usual_buckets >= 2 * VELOCITY_BUCKETS:
        return True
    latest = 0
    for k in range(VELOCITY_BUCKETS // 4):
        latest += acc[a].velocity_counts[(acc[a].velocity_bucket - k) % VELOCITY_BUCKETS]
    return bool(latest >= p.velocity_limit / 2)


@njit(cache=True)
def velocity(p: Any, acc: Table, a: int, ts: float, at: int, out: Out) -> None:
    """Count an order; speak where a line is crossed. An order older than the window counts nowhere."""
    bucket = np.int64(math.floor(ts / p.velocity_bucket_s))
    if bucket > acc[a].velocity_bucket:
        _advance(p, acc, a, bucket)
    elif bucket <= acc[a].velocity_bucket - VELOCITY_BUCKETS:
        return
    acc[a].velocity_counts[bucket % VELOCITY_BUCKETS] += 1
    count = 0
    for k in range(VELOCITY_BUCKETS):
        count += acc[a].velocity_counts[k]
    if acc[a].raised[_KIND] == 0 and (count < p.velocity_limit or not _is_burst(p, acc, a)):
        return
    usual = usual_count(acc, a)
    high = max(p.velocity_limit, p.velocity_ratio * usual)
    said = level(acc[a].raised, acc[a].told, _KIND, float(count), high, p.clear_share * high)
    if said >= 0:
        emit(out, _KIND, a, said, float(count), high, usual, ts, at)
        since = ts - VELOCITY_BUCKETS * p.velocity_bucket_s
        show_ring(out, acc, acc[a].group, a, since, MAX_EVIDENCE)

"""Kernels of the decayed sequential rules. A row belongs to an antecedent item; its slots hold what came after it.

Forward decay (Cormode, Shkapenyuk, Srivastava, Xu 2009): a weight is stored as it was at the row's landmark time, and
a later event adds 2^((ts - landmark) / half-life). No stored weight ever changes for the passing of time, so learning
costs the same however long a row slept, and events out of order give the same sums.

Space-saving (Metwally, Agrawal, El Abbadi 2005): in a full row the smallest slot gives way; the newcomer inherits its
weight, and remembers it as its possible error. weight - error never exceeds the truth, and weight never falls below it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["EMPTY", "RuleTable", "Weighing", "contribute", "learn", "rank_rows", "score_rows"]

#: Slot without a rule; also the padding of histories.
EMPTY = -1

#: Half-lives after which a row moves its landmark: 2^40 keeps float32 weights far from overflow, at full precision.
_REBASE = 40.0


class RuleTable(NamedTuple):
    """The rules of all items; row r is item r as an antecedent. Weights are as of the row's landmark."""

    ids: NDArray[np.int32]  # [items, slots], EMPTY behind the last
    weights: NDArray[np.float32]  # [items, slots], never below the truth
    errors: NDArray[np.float32]  # [items, slots], weights - errors is never above the truth
    totals: NDArray[np.float64]  # [items, 2]: sum of the weights the row gave out; sum the item received
    landmarks: NDArray[np.float64]  # [items] epoch seconds; NaN before the first event


class Weighing(NamedTuple):
    """How stored weights become scores; see `RuleSettings`."""

    recency: NDArray[np.float32]  # [m] weight of the j-th latest item of a history
    rate: float  # half-lives a second
    shrink: float
    norm: float
    popularity: float


@njit(cache=True)
def _rebase(row: int, ts: float, rate: float, table: RuleTable) -> float:
    """Weight that an event at `ts` (seconds) adds to `row`, moving the row's landmark when it is far behind."""
    weights, errors, totals, landmarks = table.weights, table.errors, table.totals, table.landmarks
    if rate == 0.0:
        return 1.0
    if np.isnan(landmarks[row]):
        landmarks[row] = ts
    age = (ts - landmarks[row]) * rate
    if age > _REBASE:
        factor = np.float32(2.0**-age)
        for slot in range(weights.shape[1]):
            weights[row, slot] *= factor
            errors[row, slot] *= factor
        totals[row, 0] *= 2.0**-age
        totals[row, 1] *= 2.0**-age
        landmarks[row] = ts
        return 1.0
    unit: float = 2.0**age
    return unit


@njit(cache=True)
def _add(row: int, item: int, weight: np.float32, table: RuleTable) -> None:
    ids, weights, errors = table.ids, table.weights, table.errors
    slots = ids.shape[1]
    smallest = 0
    least = np.float32(np.inf)
    for slot in range(slots):
        held = ids[row, slot]
        if held == item:
            weights[row, slot] += weight
            return
        if held == EMPTY:  # slots fill from the front: nothing lies behind the first empty one
            ids[row, slot] = item
            weights[row, slot] = weight
            errors[row, slot] = 0.0
            return
        if weights[row, slot] < least:
            least = weights[row, slot]
            smallest = slot
    ids[row, smallest] = item
    weights[row, smallest] = least + weight
    errors[row, smallest] = least


@njit(cache=True)
def learn(
    previous: NDArray[np.int64],
    items: NDArray[np.int64],
    times: NDArray[np.float64],
    distance_weights: NDArray[np.float32],
    backward: float,
    rate: float,
    table: RuleTable,
) -> None:
    """Take events in order: `items` [n] at `times` [n] came after `previous` [n, m], the latest first, EMPTY-padded.

    `totals` [items, 2] holds the sum of all weights a row ever gave out, and the sum an item ever received.
    """
    totals = table.totals
    n, m = previous.shape
    width = min(m, len(distance_weights))
    for event in range(n):
        item = items[event]
        ts = times[event]
        inflow = 0.0
        here = _rebase(item, ts, rate, table)
        for j in range(width):
            before = previous[event, j]
            if before == EMPTY:
                break
            unit = _rebase(before, ts, rate, table)
            weight = distance_weights[j] * unit
            _add(before, item, np.float32(weight), table)
            totals[before, 0] += weight
            inflow += distance_weights[j]
            if backward > 0.0:
                reverse = backward * distance_weights[j] * here
                _add(item, before, np.float32(reverse), table)
                totals[item, 0] += reverse
                totals[before, 1] += backward * weight
        totals[item, 1] += inflow * here


@njit(cache=True)
def _decay(row: int, now: float, rate: float, table: RuleTable) -> float:
    if rate == 0.0 or np.isnan(table.landmarks[row]):
        return 1.0
    decay: float = 2.0 ** ((table.landmarks[row] - now) * rate)
    return decay


@njit(cache=True)
def _confidence(row: int, now: float, weighing: Weighing, table: RuleTable) -> float:
    """Factor that turns the stored weights of `row` into decayed, normalised confidences at time `now`."""
    decay: float = _decay(row, now, weighing.rate, table)
    if weighing.norm == 0.0:
        return decay
    mass = table.totals[row, 0] * decay + weighing.shrink
    if mass <= 0.0:
        return 0.0
    confidence: float = decay / mass**weighing.norm
    return confidence


@njit(cache=True)
def _damping(item: int, now: float, weighing: Weighing, table: RuleTable) -> float:
    """Factor against popularity bias: (1 + what the item receives)^-popularity."""
    received: float = table.totals[item, 1] * _decay(item, now, weighing.rate, table)
    damping: float = (1.0 + received) ** -weighing.popularity
    return damping


@njit(cache=True)
def score_rows(
    recent: NDArray[np.int64],
    now: NDArray[np.float64],
    weighing: Weighing,
    table: RuleTable,
    out: NDArray[np.float32],
) -> None:
    """Add to `out` [batch, items] the scores of all items for the histories `recent` [batch, m], the latest first."""
    ids, weights, errors = table.ids, table.weights, table.errors
    batch, m = recent.shape
    slots = ids.shape[1]
    width = min(m, len(weighing.recency))
    for b in range(batch):
        for j in range(width):
            row = recent[b, j]
            if row == EMPTY:
                break
            factor = np.float32(weighing.recency[j] * _confidence(row, now[b], weighing, table))
            for slot in range(slots):
                item = ids[row, slot]
                if item == EMPTY:
                    break
                out[b, item] += factor * (weights[row, slot] - errors[row, slot])
        if weighing.popularity != 0.0:
            for item in range(out.shape[1]):
                if out[b, item] != 0.0:
                    out[b, item] *= np.float32(_damping(item, now[b], weighing, table))


@njit(cache=True)
def rank_rows(
    recent: NDArray[np.int64],
    now: NDArray[np.float64],
    exclude_indptr: NDArray[np.int64],
    exclude: NDArray[np.int64],
    weighing: Weighing,
    table: RuleTable,
    scratch: NDArray[np.float32],
    touched: NDArray[np.int32],
    top: NDArray[np.int64],
    best: NDArray[np.float32],
) -> None:
    """Fill `top` and `best` [batch, k] with the best items, best first; only items that some rule names.

    `scratch` [items] must be zero on entry and is zero again on return; `touched` [>= m * slots] is working space.
    Ties go to the smaller item. `exclude` is ragged: rows `exclude_indptr[b]` to `[b + 1]`.
    """
    ids, weights, errors = table.ids, table.weights, table.errors
    batch, m = recent.shape
    slots = ids.shape[1]
    k = top.shape[1]
    width = min(m, len(weighing.recency))
    for b in range(batch):
        count = 0
        for j in range(width):
            row = recent[b, j]
            if row == EMPTY:
                break
            factor = np.float32(weighing.recency[j] * _confidence(row, now[b], weighing, table))
            if factor == 0.0:
                continue
            for slot in range(slots):
                item = ids[row, slot]
                if item == EMPTY:
                    break
                gain = factor * (weights[row, slot] - errors[row, slot])
                if gain > 0.0:
                    if scratch[item] == 0.0:
                        touched[count] = item
                        count += 1
                    scratch[item] += gain
        for e in range(exclude_indptr[b], exclude_indptr[b + 1]):
            if 0 <= exclude[e] < len(scratch):
                scratch[exclude[e]] = 0.0
        top[b, :] = EMPTY
        best[b, :] = -np.inf
        for t in range(count):
            item = touched[t]
            score = scratch[item]
            scratch[item] = 0.0
            if score == 0.0:
                continue
            if weighing.popularity != 0.0:
                score *= np.float32(_damping(item, now[b], weighing, table))
            if score < best[b, k - 1] or (score == best[b, k - 1] and item > top[b, k - 1]):
                continue
            place = k - 1
            while place > 0 and (
                best[b, place - 1] < score or (best[b, place - 1] == score and top[b, place - 1] > item)
            ):
                best[b, place] = best[b, place - 1]
                top[b, place] = top[b, place - 1]
                place -= 1
            best[b, place] = score
            top[b, place] = item


@njit(cache=True)
def contribute(
    recent: NDArray[np.int64],
    now: NDArray[np.float64],
    targets: NDArray[np.int64],
    weighing: Weighing,
    table: RuleTable,
    out: NDArray[np.float32],
) -> None:
    """Fill `out` [batch, t, m]: what the j-th latest item of history b adds to the score of `targets[b, t]`."""
    ids, weights, errors = table.ids, table.weights, table.errors
    batch, m = recent.shape
    slots = ids.shape[1]
    width = min(m, len(weighing.recency))
    out[:] = 0.0
    for b in range(batch):
        for j in range(width):
            row = recent[b, j]
            if row == EMPTY:
                break
            factor = weighing.recency[j] * _confidence(row, now[b], weighing, table)
            for t in range(targets.shape[1]):
                if targets[b, t] == EMPTY:
                    continue
                for slot in range(slots):
                    if ids[row, slot] == targets[b, t]:
                        gain = factor * (weights[row, slot] - errors[row, slot])
                        if weighing.popularity != 0.0:
                            gain *= _damping(targets[b, t], now[b], weighing, table)
                        out[b, t, j] = gain
                        break

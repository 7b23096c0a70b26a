"""One list out of several: neural and rule candidates weighed together, filtered, and filled up with what trends."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream_app.kernels import releasing

__all__ = ["NEURAL", "RULES", "TRENDING", "Blended", "blend"]

#: Which source brought most of an item's score.
NEURAL, RULES, TRENDING = 0, 1, 2


class Blended(NamedTuple):
    """The lists of a batch: indices and scores [n, k], best first, -1 where a list is shorter; source [n, k] int8."""

    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    sources: NDArray[np.int8]


def blend(
    neural: tuple[NDArray[np.int64], NDArray[np.float32]] | None,
    rules: tuple[NDArray[np.int64], NDArray[np.float32]] | None,
    trending: tuple[NDArray[np.int64], NDArray[np.float32]],
    *,
    neural_weight: float,
    seen: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    category: NDArray[np.int32],
    category_cap: int,
    k: int,
    group: NDArray[np.int64] | None = None,
    minimum: float = 0.0,
) -> Blended:
    """Merge candidates into lists of `k`.

    neural, rules: item indices and scores [n, candidates], -1-padded; neural scores are logits, rule scores weights.
    Each becomes a distribution over its own candidates, and the two are mixed by `neural_weight`. trending: indices
    and scores [t], the same for everyone, used where candidates run out. seen: indices [n, m] that never appear.
    allowed: bool [items], or [groups, items] with the `group` of each row [n]. category: code of each item; at most
    `category_cap` items of one code (0: no cap). minimum: an item of less is not shown, and a list that has any item
    for this user is then not filled up with what trends: a poor list is shorter rather than padded.
    """
    n = len(seen)
    nothing = (np.full((n, 1), -1, np.int64), np.zeros((n, 1), np.float32))
    neural_ids, neural_scores = neural if neural is not None else nothing
    rule_ids, rule_scores = rules if rules is not None else nothing
    weight = 0.0 if neural is None else 1.0 if rules is None else neural_weight
    out = Blended(np.full((n, k), -1, np.int64), np.zeros((n, k), np.float32), np.zeros((n, k), np.int8))
    _blend(
        neural_ids, neural_scores, rule_ids, rule_scores, trending[0], trending[1], np.float32(weight), seen,
        np.atleast_2d(allowed), np.zeros(n, np.int64) if group is None else group, category, category_cap,
        np.float32(minimum), *out,
    )  # fmt: skip
    return out


@releasing(lambda *args: len(args[13]))  # type: ignore[untyped-decorator]
def _blend(  # type: ignore[no-untyped-def]
    neural_ids, neural_scores, rule_ids, rule_scores, trend_ids, trend_scores, weight, seen, masks, group, category,
    cap, minimum, items, scores, sources,
):  # fmt: skip
    n, k = items.shape
    width = neural_ids.shape[1] + rule_ids.shape[1]
    ids = np.empty(width, np.int64)
    value = np.empty(width, np.float32)
    source = np.empty(width, np.int8)
    for i in range(n):
        allowed = masks[group[i]]
        size = 0
        total = np.float32(0.0)
        for j in range(neural_ids.shape[1]):
            if neural_ids[i, j] >= 0:
                # The first is the largest: no exponent overflows.
                share = np.exp(neural_scores[i, j] - neural_scores[i, 0])
                ids[size], value[size], source[size] = neural_ids[i, j], share, NEURAL
                total += share
                size += 1
        has_neural = size > 0
        for j in range(size):
            value[j] *= weight / total
        total = np.float32(0.0)
        for j in range(rule_ids.shape[1]):
            if rule_ids[i, j] >= 0 and rule_scores[i, j] > 0:
                total += rule_scores[i, j]
        neural_size = size
        rest = np.float32(1.0) - weight if has_neural else np.float32(1.0)
        if total > 0:
            for j in range(rule_ids.shape[1]):
                if rule_ids[i, j] < 0 or rule_scores[i, j] <= 0:
                    continue
                share = rest * rule_scores[i, j] / total
                found = -1
                for other in range(neural_size):
                    if ids[other] == rule_ids[i, j]:
                        found = other
                        break
                if found >= 0:
                    if share > value[found]:
                        source[found] = RULES
                    value[found] += share
                else:
                    ids[size], value[size], source[size] = rule_ids[i, j], share, RULES
                    size += 1
        filled = 0
        while filled < k:
            best = -1
            for j in range(size):
                if value[j] > 0 and (best < 0 or value[j] > value[best]):
                    best = j
            if best < 0 or value[best] < minimum:
                break
            if _may(ids[best], items[i], filled, seen[i], allowed, category, cap):
                items[i, filled], scores[i, filled], sources[i, filled] = ids[best], value[best], source[best]
                filled += 1
            value[best] = -1.0
        if filled > 0 and minimum > 0:
            continue
        # What trends stays below whatever was meant for this user.
        floor = scores[i, filled - 1] if filled > 0 else np.float32(1.0)
        top = trend_scores[0] if len(trend_scores) > 0 else np.float32(1.0)
        for j in range(len(trend_ids)):
            if filled == k:
                break
            if trend_ids[j] >= 0 and _may(trend_ids[j], items[i], filled, seen[i], allowed, category, cap):
                items[i, filled], sources[i, filled] = trend_ids[j], TRENDING
                scores[i, filled] = np.float32(0.99) * floor * trend_scores[j] / top
                filled += 1


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _may(item, chosen, filled, seen, allowed, category, cap):  # type: ignore[no-untyped-def]
    """Whether `item` may be added: for sale, not seen, not in the list, its category not full."""
    if item >= len(allowed) or not allowed[item]:
        return False
    for j in range(len(seen)):
        if seen[j] == item:
            return False
    same = 0
    for j in range(filled):
        if chosen[j] == item:
            return False
        if category[chosen[j]] == category[item]:
            same += 1
    return cap == 0 or category[item] < 0 or same < cap

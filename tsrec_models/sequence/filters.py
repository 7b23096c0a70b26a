"""What leaves a list of recommendations; `filters_order` says in which order the rest is shown.

Lists are `ids` [batch, c] and `scores` [batch, c], best first, padded with -1 and -inf, as `topk` gives them; ask it
for more candidates than are to be shown. Every function returns lists of the same shape, closed up to the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.sequence.topk import pack_ragged

__all__ = [
    "ItemFacts",
    "Lists",
    "cap_per_category",
    "drop_items",
    "drop_unavailable",
    "keep_at_least",
]

Lists = tuple[NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True)
class ItemFacts:
    """What is known of each item; indices beyond the arrays are items nothing is known of, which pass every filter."""

    category: NDArray[np.int64]  # [n_items], -1 for none
    available_from: NDArray[np.float64]  # [n_items] epoch seconds, -inf for always
    expires_at: NDArray[np.float64]  # [n_items] epoch seconds, inf for never
    blocked: NDArray[np.bool_]  # [n_items]

    @classmethod
    def nothing(cls, n_items: int) -> ItemFacts:
        """Facts of items of which nothing is known."""
        return cls(
            np.full(n_items, -1, dtype=np.int64),
            np.full(n_items, -np.inf),
            np.full(n_items, np.inf),
            np.zeros(n_items, dtype=np.bool_),
        )


def drop_unavailable(lists: Lists, facts: ItemFacts, now: NDArray[np.float64]) -> Lists:
    """Without items that are blocked, not yet available or expired at `now` [batch], epoch seconds."""
    ids = lists[0]
    known = (ids >= 0) & (ids < len(facts.blocked))
    index = np.where(known, ids, 0)
    if not len(facts.blocked):
        return lists
    moment = now[:, None]
    gone = facts.blocked[index] | (facts.available_from[index] > moment) | (facts.expires_at[index] <= moment)
    return _keep(lists, ~(known & gone))


def drop_items(lists: Lists, items: Sequence[NDArray[np.int64]]) -> Lists:
    """Without `items[b]` in row b: what the user has seen, or asked not to be shown."""
    if len(items) != len(lists[0]):
        raise ModelError(f"{len(lists[0])} lists, but {len(items)} lists of items to drop")
    indptr, flat = pack_ragged(items)
    return _keep(lists, ~_members(lists[0], indptr, flat))


def keep_at_least(lists: Lists, minimum: float | NDArray[np.float32]) -> Lists:
    """Without items that score below `minimum` (one, or one a row): a poor list is shorter rather than padded."""
    bound = np.asarray(minimum, dtype=np.float32)
    return _keep(lists, lists[1] >= (bound[:, None] if bound.ndim else bound))


def cap_per_category(lists: Lists, category: NDArray[np.int64], cap: int) -> Lists:
    """At most `cap` items of a category [n_items]; items without one (-1) are not capped."""
    if cap < 1:
        raise ModelError(f"cap per category must be at least 1, not {cap}")
    return _keep(lists, _under_cap(lists[0], category, cap))


def _keep(lists: Lists, keep: NDArray[np.bool_]) -> Lists:
    ids, scores = lists
    keep = keep & (ids >= 0)
    order = np.argsort(~keep, axis=1, kind="stable")
    keep = np.take_along_axis(keep, order, axis=1)
    return (
        np.where(keep, np.take_along_axis(ids, order, axis=1), -1),
        np.where(keep, np.take_along_axis(scores, order, axis=1), np.float32(-np.inf)),
    )


@njit(cache=True)
def _members(ids: NDArray[np.int64], indptr: NDArray[np.int64], flat: NDArray[np.int64]) -> NDArray[np.bool_]:
    out = np.zeros(ids.shape, dtype=np.bool_)
    for b in range(ids.shape[0]):
        for c in range(ids.shape[1]):
            for e in range(indptr[b], indptr[b + 1]):
                if flat[e] == ids[b, c]:
                    out[b, c] = True
                    break
    return out


@njit(cache=True)
def _under_cap(ids: NDArray[np.int64], category: NDArray[np.int64], cap: int) -> NDArray[np.bool_]:
    out = np.ones(ids.shape, dtype=np.bool_)
    for b in range(ids.shape[0]):
        for c in range(ids.shape[1]):
            item = ids[b, c]
            if item < 0 or item >= len(category) or category[item] < 0:
                continue
            above = 0
            for d in range(c):
                other = ids[b, d]
                if out[b, d] and 0 <= other < len(category) and category[other] == category[item]:
                    above += 1
            out[b, c] = above < cap
    return out

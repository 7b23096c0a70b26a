"""From candidates to the list that is shown: blend, minimum, order, caps. The stream and the replay both do it here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_app.blending import TRENDING, Blended, blend
from tsrec_models.sequence.filters_order import calibrate, class_shares, diversify

__all__ = ["Candidates", "Order", "Rules", "compose"]

Scored = tuple[NDArray[np.int64], NDArray[np.float32]]

_NO_TRENDING = np.empty(0, np.int64), np.empty(0, np.float32)


class Candidates(NamedTuple):
    """What each source names, [n, candidates] ids and scores, or None where it was not asked; trending for all, [t]."""

    neural: Scored | None
    rules: Scored | None
    trending: Scored


@dataclass(frozen=True)
class Rules:
    """The settings by which lists are made of candidates."""

    k: int
    neural_weight: float
    category_cap: int = 0
    minimum_score: float = 0.0
    diversity: float = 0.0
    calibration: float = 0.0

    @property
    def ordered(self) -> bool:
        """Whether lists are shown in another order than that of their scores."""
        return self.diversity > 0 or self.calibration > 0


@dataclass(frozen=True)
class Order:
    """What is needed where lists are ordered: vectors [items, d] of items that resemble each other, unless categories
    say so; classes of popularity [items] and what each user took before, indices [n, any], -1-padded."""

    vectors: NDArray[np.float32] | None = None
    classes: NDArray[np.int64] | None = None
    history: NDArray[np.int64] | None = None


def compose(
    candidates: Candidates,
    rules: Rules,
    *,
    seen: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    category: NDArray[np.int32],
    group: NDArray[np.int64] | None = None,
    order: Order | None = None,
) -> Blended:
    """Lists of `rules.k`; arguments as of `blend`."""
    if not rules.ordered or order is None:
        return blend(
            *candidates, neural_weight=rules.neural_weight, seen=seen, allowed=allowed, group=group, category=category,
            category_cap=rules.category_cap, k=rules.k, minimum=rules.minimum_score,
        )  # fmt: skip
    width = sum(part[0].shape[1] for part in candidates[:2] if part is not None) or 1
    pool = blend(
        candidates.neural, candidates.rules, _NO_TRENDING, neural_weight=rules.neural_weight, seen=seen,
        allowed=allowed, group=group, category=category, category_cap=0, k=width, minimum=rules.minimum_score,
    )  # fmt: skip
    places = _ordered(pool, rules, category, order)
    ids = np.where(places >= 0, np.take_along_axis(pool.items, np.maximum(places, 0), 1), -1)
    # Ranks in place of scores: caps and trending are applied by the same kernel, in the new order.
    ranks = np.broadcast_to(np.arange(width, 0, -1, dtype=np.float32), ids.shape)
    lists = blend(
        None, (ids, np.ascontiguousarray(ranks)), candidates.trending, neural_weight=0.0, seen=seen, allowed=allowed,
        group=group, category=category, category_cap=rules.category_cap, k=rules.k,
    )  # fmt: skip
    return _scored(lists, pool, rules.minimum_score)


def _ordered(pool: Blended, rules: Rules, category: NDArray[np.int32], order: Order) -> NDArray[np.int64]:
    """Places in the pool in the order they are to be shown, [n, width], -1-padded."""
    width = pool.items.shape[1]
    known, place = np.unique(pool.items, return_inverse=True)  # few of all items: the rest need no vector
    place = place.reshape(pool.items.shape).astype(np.int64)
    local = np.where(pool.items >= 0, place, -1)
    scores = np.where(pool.items >= 0, pool.scores, -np.inf).astype(np.float32)
    real = np.maximum(known, 0)
    if rules.calibration > 0 and order.classes is not None and order.history is not None:
        wanted = class_shares(list(order.history), order.classes)
        shown, _ = calibrate((local, scores), width, rules.calibration, order.classes[real], wanted)
    elif order.vectors is not None:
        shown, _ = diversify((local, scores), width, rules.diversity, vectors=order.vectors[real])
    else:
        codes = category[np.minimum(real, len(category) - 1)].astype(np.int64)
        shown, _ = diversify((local, scores), width, rules.diversity, category=codes)
    back = np.full((len(shown), len(known) + 1), -1, np.int64)
    np.put_along_axis(back, np.where(local >= 0, local, len(known)), np.arange(width)[None], 1)
    return np.where(shown >= 0, np.take_along_axis(back, np.where(shown >= 0, shown, len(known)), 1), -1)


def _scored(lists: Blended, pool: Blended, minimum: float) -> Blended:
    """`lists` with the scores and sources that the pool gave their items; what trends stays below them."""
    scores, sources = lists.scores.copy(), lists.sources.copy()
    items = lists.items.copy()
    match = (items[:, :, None] == pool.items[:, None, :]) & (items >= 0)[:, :, None]
    match &= (lists.sources != TRENDING)[:, :, None]
    found = match.any(axis=2)
    at = match.argmax(axis=2)
    scores[found] = np.take_along_axis(pool.scores, at, 1)[found]
    sources[found] = np.take_along_axis(pool.sources, at, 1)[found]
    own = np.where(found, scores, np.inf).min(axis=1)
    ranked = np.where(found, lists.scores, np.inf).min(axis=1)
    filled = (items >= 0) & ~found
    with np.errstate(invalid="ignore"):
        scaled = np.where(np.isfinite(own)[:, None], lists.scores * (own / ranked)[:, None], lists.scores)
    scores[filled] = scaled[filled]
    if minimum > 0:  # shorter rather than padded
        padded = filled & np.isfinite(own)[:, None]
        items[padded], scores[padded] = -1, 0.0
    return Blended(items, scores, sources)

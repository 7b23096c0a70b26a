"""In which order a list is shown: varied (MMR), or as popular and as niche as the user's own history (calibration).

Lists are as in `filters`. Both take more candidates than they show, and give lists of `k`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.sequence.filters import Lists

__all__ = ["calibrate", "class_shares", "diversify", "popularity_classes"]

#: Share of each class that a list's own distribution is mixed with, so that the divergence stays finite (Steck 2018).
_SMOOTHING = 0.01


def diversify(
    lists: Lists,
    k: int,
    trade: float,
    *,
    vectors: NDArray[np.float32] | None = None,
    category: NDArray[np.int64] | None = None,
) -> Lists:
    """The first `k` by maximal marginal relevance (Carbonell, Goldstein 1998): [batch, k].

    Each place goes to the item of the highest (1 - trade) relevance - trade x similarity to the nearest item above it.
    Relevance is the score scaled to [0, 1] within the list. Similarity is the cosine of `vectors` [n_items, d], or 1
    within a `category` [n_items] and 0 across. Items without a vector or category resemble nothing.
    """
    if not 0 <= trade <= 1:
        raise ModelError(f"the trade between relevance and diversity must be in [0, 1], not {trade}")
    if (vectors is None) == (category is None):
        raise ModelError("diversify needs either vectors or categories")
    if vectors is not None:
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = np.ascontiguousarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)
        kinds = np.zeros(0, dtype=np.int64)
    else:
        unit, kinds = np.zeros((0, 1), dtype=np.float32), np.asarray(category, dtype=np.int64)
    ids, scores = _outputs(len(lists[0]), k)
    _marginal(lists[0], lists[1], np.float32(trade), unit, kinds, ids, scores)
    return ids, scores


def calibrate(lists: Lists, k: int, trade: float, classes: NDArray[np.int64], wanted: NDArray[np.float64]) -> Lists:
    """The first `k` so that classes of items appear in the shares the user's own history has (Steck 2018): [batch, k].

    `classes` [n_items] are, against popularity bias, classes of popularity (see `popularity_classes`); `wanted`
    [batch, classes] sums to 1 a row. Greedy: each place goes to the item that leaves the highest
    (1 - trade) mean relevance - trade x KL(wanted || shares of the list).
    """
    if not 0 <= trade <= 1:
        raise ModelError(f"the trade between relevance and calibration must be in [0, 1], not {trade}")
    ids, scores = _outputs(len(lists[0]), k)
    _calibrated(lists[0], lists[1], float(trade), classes, np.ascontiguousarray(wanted, np.float64), ids, scores)
    return ids, scores


def popularity_classes(counts: NDArray[np.float64], shares: Sequence[float] = (0.5, 0.8)) -> NDArray[np.int64]:
    """Class of each item [n_items]: 0 the few items that make up the first half of all events, then mid, then tail."""
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    classes = np.empty(len(counts), dtype=np.int64)
    classes[order] = np.searchsorted(np.asarray(shares) * counts.sum(), before, side="right")
    return classes


def class_shares(histories: Sequence[NDArray[np.int64]], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shares of the classes in each history [batch, classes]; a history without known items has those of all items."""
    n = int(classes.max(initial=0)) + 1
    overall = np.bincount(classes, minlength=n) / max(1, len(classes))
    out = np.tile(overall, (len(histories), 1))
    for row, history in enumerate(histories):
        known = history[(history >= 0) & (history < len(classes))]
        if len(known):
            out[row] = np.bincount(classes[known], minlength=n) / len(known)
    return out


def _outputs(batch: int, k: int) -> Lists:
    if k < 1:
        raise ModelError(f"a list must have at least one place, not {k}")
    return np.full((batch, k), -1, dtype=np.int64), np.full((batch, k), -np.inf, dtype=np.float32)


@njit(cache=True)
def _relevance(scores: NDArray[np.float32], length: int, out: NDArray[np.float32]) -> None:
    low, high = scores[length - 1], scores[0]
    for c in range(length):
        out[c] = (scores[c] - low) / (high - low) if high > low else np.float32(1.0)


@njit(cache=True)
def _similarity(a: int, b: int, unit: NDArray[np.float32], kinds: NDArray[np.int64]) -> np.float32:
    if len(kinds):
        return np.float32(a < len(kinds) and b < len(kinds) and kinds[a] >= 0 and kinds[a] == kinds[b])
    total = np.float32(0.0)
    if a < len(unit) and b < len(unit):
        for d in range(unit.shape[1]):
            total += unit[a, d] * unit[b, d]
    return total


@njit(cache=True)
def _marginal(
    ids: NDArray[np.int64],
    scores: NDArray[np.float32],
    trade: np.float32,
    unit: NDArray[np.float32],
    kinds: NDArray[np.int64],
    out: NDArray[np.int64],
    out_scores: NDArray[np.float32],
) -> None:
    width = ids.shape[1]
    relevance, nearest = np.empty(width, dtype=np.float32), np.empty(width, dtype=np.float32)
    taken = np.empty(width, dtype=np.bool_)
    for b in range(ids.shape[0]):
        length = 0
        while length < width and ids[b, length] >= 0:
            length += 1
        if length == 0:
            continue
        _relevance(scores[b], length, relevance)
        nearest[:] = 0.0
        taken[:] = False
        for place in range(min(out.shape[1], length)):
            best, value = -1, np.float32(-np.inf)
            for c in range(length):
                gain = (np.float32(1.0) - trade) * relevance[c] - trade * nearest[c]
                if not taken[c] and gain > value:
                    best, value = c, gain
            taken[best] = True
            out[b, place], out_scores[b, place] = ids[b, best], scores[b, best]
            for c in range(length):
                if not taken[c]:
                    nearest[c] = max(nearest[c], _similarity(ids[b, c], ids[b, best], unit, kinds))


@njit(cache=True)
def _calibrated(
    ids: NDArray[np.int64],
    scores: NDArray[np.float32],
    trade: float,
    classes: NDArray[np.int64],
    wanted: NDArray[np.float64],
    out: NDArray[np.int64],
    out_scores: NDArray[np.float32],
) -> None:
    width, n_classes = ids.shape[1], wanted.shape[1]
    relevance = np.empty(width, dtype=np.float32)
    taken = np.empty(width, dtype=np.bool_)
    counts = np.empty(n_classes, dtype=np.float64)
    for b in range(ids.shape[0]):
        length = 0
        while length < width and ids[b, length] >= 0:
            length += 1
        if length == 0:
            continue
        _relevance(scores[b], length, relevance)
        taken[:] = False
        counts[:] = 0.0
        for place in range(min(out.shape[1], length)):
            best, value = -1, -np.inf
            for c in range(length):
                if taken[c]:
                    continue
                kind = classes[ids[b, c]] if ids[b, c] < len(classes) else n_classes - 1
                divergence = 0.0
                for q in range(n_classes):
                    if wanted[b, q] > 0.0:
                        share = (counts[q] + (q == kind)) / (place + 1.0)
                        mixed = (1.0 - _SMOOTHING) * share + _SMOOTHING * wanted[b, q]
                        divergence += wanted[b, q] * np.log(wanted[b, q] / mixed)
                gain = (1.0 - trade) * relevance[c] - trade * divergence
                if gain > value:
                    best, value = c, gain
            taken[best] = True
            kind = classes[ids[b, best]] if ids[b, best] < len(classes) else n_classes - 1
            counts[kind] += 1.0
            out[b, place], out_scores[b, place] = ids[b, best], scores[b, best]

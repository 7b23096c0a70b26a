"""Metrics of ranked lists: where the next item stood, and what the lists look like as a whole."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "EXCLUDED",
    "accuracy",
    "catalog_coverage",
    "gini",
    "hit",
    "novelty",
    "reciprocal_gain",
    "reciprocal_rank",
    "target_ranks",
]

#: Rank of a target that was excluded from its own list: it can never be hit.
EXCLUDED = np.iinfo(np.int64).max


@njit(cache=True)
def target_ranks(
    scores: NDArray[np.float32], targets: NDArray[np.int64], indptr: NDArray[np.int64], excluded: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rank, 0 the best, of `targets` [rows] among `scores` [rows, n_items] without the excluded items.

    `excluded` is ragged by `indptr` [rows + 1]. Ties count against the target, so that a model that scores everything
    alike earns nothing; a NaN score is the worst there is. A target that is itself excluded has rank EXCLUDED.
    """
    ranks = np.empty(len(targets), dtype=np.int64)
    n = scores.shape[1]
    for row in range(len(targets)):
        line = scores[row]
        target = targets[row]
        start, stop = indptr[row], indptr[row + 1]
        banned = target < 0 or target >= n
        for e in range(start, stop):
            if excluded[e] == target:
                banned = True
        if banned:
            ranks[row] = EXCLUDED
            continue
        value = line[target]
        if np.isnan(value):
            value = np.float32(-np.inf)
        above = -1  # the target itself is among those at least as good
        for item in range(n):
            above += line[item] >= value
        if np.isnan(line[target]):
            above += 1
        for e in range(start, stop):
            item = excluded[e]
            if 0 <= item < n and line[item] >= value:
                first = True  # an item excluded twice is still one item
                for before in range(start, e):
                    if excluded[before] == item:
                        first = False
                        break
                above -= first
        ranks[row] = above
    return ranks


def hit(ranks: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """1 where the target is among the first `k`. With one target a row this is hit rate and recall alike."""
    return (ranks < k).astype(np.float64)


def reciprocal_gain(ranks: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """NDCG at `k` of one relevant item: 1 / log2(rank + 2), 0 beyond (Järvelin, Kekäläinen 2002)."""
    inside = ranks < k
    return np.where(inside, 1.0 / np.log2(np.where(inside, ranks, 0) + 2.0), 0.0)


def reciprocal_rank(ranks: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """1 / (rank + 1) within the first `k`, 0 beyond."""
    inside = ranks < k
    return np.where(inside, 1.0 / (np.where(inside, ranks, 0) + 1.0), 0.0)


def accuracy(ranks: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """The four metrics of a report, each [rows]; their means are the figures."""
    return {
        "hr@10": hit(ranks, 10),
        "ndcg@10": reciprocal_gain(ranks, 10),
        "mrr@20": reciprocal_rank(ranks, 20),
        "recall@20": hit(ranks, 20),
    }


def catalog_coverage(lists: NDArray[np.int64], n_items: int) -> float:
    """Share of all items that stand in at least one of `lists` [rows, k]; -1 is an empty place."""
    return len(np.unique(lists[lists >= 0])) / n_items if n_items else 0.0


def gini(lists: NDArray[np.int64], n_items: int) -> float:
    """Inequality of how often each item is recommended: 0 all alike, towards 1 the same few for everyone."""
    counts = np.sort(np.bincount(lists[lists >= 0].ravel(), minlength=n_items)).astype(np.float64)
    total = counts.sum()
    if not total:
        return 0.0
    position = np.arange(1, n_items + 1)
    return float((2 * position - n_items - 1) @ counts / (n_items * total))


def novelty(lists: NDArray[np.int64], popularity: NDArray[np.int64]) -> float:
    """Mean self-information in bits of the recommended items (Zhou et al. 2010): -log2 of their share of events.

    `popularity` [n_items] counts training events; one is added to each, so that an item never seen has a finite value.
    """
    share = (popularity + 1.0) / (popularity.sum() + len(popularity))
    named = lists[lists >= 0]
    return float(-np.log2(share[named]).mean()) if named.size else 0.0

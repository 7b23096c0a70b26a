"""The best items of models that score every item: blocks of scores, exclusion, selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.sequence.topk import SCORE_BLOCK_BYTES, exclude_scores, pack_ragged, select_topk

__all__ = ["dense_topk"]

Scores = Callable[[NDArray[np.float32], NDArray[np.float64] | None], NDArray[np.float32]]


def dense_topk(
    scores: Scores,
    n_items: int,
    state: NDArray[np.float32],
    k: int,
    exclude: Sequence[NDArray[np.int64]] | None,
    at: NDArray[np.float64] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The `k` best of `scores(state, at)` [batch, n_items], as `SequenceRecommender.topk` has it."""
    if k < 1:
        raise ModelError(f"topk: k must be at least 1, not {k}")
    if exclude is not None and len(exclude) != len(state):
        raise ModelError(f"topk: {len(state)} states but {len(exclude)} lists to exclude")
    ids, best = np.empty((len(state), k), np.int64), np.empty((len(state), k), np.float32)
    indptr, excluded = pack_ragged(exclude if exclude is not None else [np.zeros(0, np.int64)] * len(state))
    block = max(1, SCORE_BLOCK_BYTES // (4 * max(1, n_items)))
    for first in range(0, len(state), block):
        rows = slice(first, first + block)
        line = scores(state[rows], None if at is None else at[rows])
        exclude_scores(line, first, indptr, excluded)
        select_topk(line, ids[rows], best[rows])
    return ids, best

"""Exact top k of a score matrix, one pass over each row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["SCORE_BLOCK_BYTES", "exclude_scores", "pack_ragged", "select_topk"]

#: Scores of a block of users stay in the second-level cache between the product and the selection.
SCORE_BLOCK_BYTES = 1 << 20

#: Items compared with the threshold at once: a few vector registers wide.
_STRIDE = 64


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def select_topk(scores: NDArray[np.float32], ids: NDArray[np.int64], best: NDArray[np.float32]) -> None:
    """Fill `ids` and `best` [rows, k] with the k largest of each row of `scores` [rows, n], best first.

    Ties go to the smaller index. -inf is never selected: what remains of a row is -1 and -inf.
    """
    rows, n = scores.shape
    k = ids.shape[1]
    for row in range(rows):
        line = scores[row]
        top = best[row]
        top_ids = ids[row]
        top[:] = -np.inf
        top_ids[:] = -1
        threshold = top[k - 1]
        start = 0
        while start < n:
            stop = min(start + _STRIDE, n)
            hits = 0
            for j in range(start, stop):
                hits += line[j] > threshold
            if hits > 0:
                for j in range(start, stop):
                    value = line[j]
                    if value > threshold:
                        place = k - 1
                        while place > 0 and top[place - 1] < value:
                            top[place] = top[place - 1]
                            top_ids[place] = top_ids[place - 1]
                            place -= 1
                        top[place] = value
                        top_ids[place] = j
                        threshold = top[k - 1]
            start = stop


@njit(cache=True)  # type: ignore[untyped-decorator]
def exclude_scores(
    scores: NDArray[np.float32], first: int, indptr: NDArray[np.int64], items: NDArray[np.int64]
) -> None:
    """Set to -inf, in row r of `scores`, the items of ragged row `first + r`; indices out of range are ignored."""
    rows, n = scores.shape
    for row in range(rows):
        for j in range(indptr[first + row], indptr[first + row + 1]):
            item = items[j]
            if 0 <= item < n:
                scores[row, item] = -np.inf


def pack_ragged(lists: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lists of different lengths as one array and its row pointers: (indptr [rows + 1], values)."""
    indptr = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(part) for part in lists], out=indptr[1:])
    values = np.concatenate(lists).astype(np.int64, copy=False) if len(lists) else np.empty(0, np.int64)
    return indptr, values

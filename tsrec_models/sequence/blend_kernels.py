"""What a member's scores say of an item, in a form in which members of different kinds can be added up.

Two numbers an item: the logarithm of its share, and its score against the row's best. Logits give their log-softmax;
counts their part of the row's sum. Both are cut off at a floor, so that no member can veto an item by a zero.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["add_evidence", "evidence_at", "row_statistics"]

#: Share of a row below which an item has no evidence at all, and its logarithm.
_LEAST_SHARE = 1e-5
_FLOOR = np.float32(np.log(_LEAST_SHARE))

#: Logits this far below the best are 0 against it, without computing an exponential.
_NEGLIGIBLE = np.float32(8.0)


@njit(cache=True)
def row_statistics(scores: NDArray[np.float32], counts: bool) -> NDArray[np.float32]:
    """Total and best of each row [batch, 2]; for logits the logarithm of the total."""
    batch, n = scores.shape
    out = np.zeros((batch, 2), dtype=np.float32)
    for b in range(batch):
        line = scores[b]
        best = np.float32(-np.inf)
        for i in range(n):
            best = max(best, line[i])
        total = 0.0
        for i in range(n):
            if counts:
                total += line[i]
            elif best - line[i] < 20.0:
                total += np.exp(line[i] - best)
        out[b, 0] = total if counts else best + np.log(max(total, 1e-30))
        out[b, 1] = best
    return out


@njit(cache=True)
def _evidence(score: np.float32, total: np.float32, best: np.float32, counts: bool) -> tuple[np.float32, np.float32]:
    if counts:
        if total <= 0.0 or score <= 0.0:
            return _FLOOR, np.float32(0.0)
        share = score / total
        return np.float32(np.log(share + np.float32(_LEAST_SHARE))), score / best
    ratio = np.float32(np.exp(score - best)) if best - score < _NEGLIGIBLE else np.float32(0.0)
    return max(score - total, _FLOOR), ratio


@njit(cache=True)
def evidence_at(
    scores: NDArray[np.float32],
    statistics: NDArray[np.float32],
    counts: bool,
    ids: NDArray[np.int64],
    column: int,
    out: NDArray[np.float32],
) -> None:
    """Fill `out[b, c, column : column + 2]` with the evidence for item `ids[b, c]`; -1 is passed over."""
    for b in range(ids.shape[0]):
        for c in range(ids.shape[1]):
            if ids[b, c] >= 0:
                out[b, c, column], out[b, c, column + 1] = _evidence(
                    scores[b, ids[b, c]], statistics[b, 0], statistics[b, 1], counts
                )


@njit(cache=True)
def add_evidence(
    scores: NDArray[np.float32],
    statistics: NDArray[np.float32],
    counts: bool,
    weights: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Add to `out` [batch, items] the evidence times `weights` [batch, 2]."""
    batch, n = scores.shape
    for b in range(batch):
        for i in range(n):
            share, ratio = _evidence(scores[b, i], statistics[b, 0], statistics[b, 1], counts)
            out[b, i] += weights[b, 0] * share + weights[b, 1] * ratio

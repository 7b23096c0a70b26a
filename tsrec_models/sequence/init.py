"""Item vectors before training: truncated SVD of the positive PMI of decayed forward co-occurrence.

PMI factorisation is what skip-gram converges to (Levy and Goldberg, 2014); a network that starts there begins with
items that follow one another already close together.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse

from tsrec_models.preparation.log import Log
from tsrec_models.sequence.topk import select_topk

__all__ = ["cooccurrence", "nearest_items", "ppmi", "ppmi_vectors"]

#: Power iterations of the randomised range finder; two are enough for the slow spectrum of co-occurrences.
_POWER_ITERATIONS = 2
_OVERSAMPLING = 10


@njit(cache=True)  # type: ignore[untyped-decorator]
def _count_pairs(indptr: NDArray[np.int64], window: int) -> int:
    total = 0
    for user in range(len(indptr) - 1):
        length = indptr[user + 1] - indptr[user]
        for i in range(length):
            total += min(window, length - 1 - i)
    return total


@njit(cache=True)  # type: ignore[untyped-decorator]
def _fill_pairs(
    indptr: NDArray[np.int64],
    items: NDArray[np.int64],
    window: int,
    decay: float,
    rows: NDArray[np.int32],
    cols: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> None:
    at = 0
    for user in range(len(indptr) - 1):
        for i in range(indptr[user], indptr[user + 1]):
            weight = 1.0
            for j in range(i + 1, min(i + 1 + window, indptr[user + 1])):
                rows[at] = items[i]
                cols[at] = items[j]
                weights[at] = weight
                weight *= decay
                at += 1


def cooccurrence(log: Log, decay: float, window: int) -> sparse.csr_array:
    """Weight [n_items, n_items] of item j following item i within `window` events: decay^(gap - 1), summed."""
    pairs = _count_pairs(log.indptr, window)
    rows, cols = np.empty(pairs, np.int32), np.empty(pairs, np.int32)
    weights = np.empty(pairs, np.float32)
    _fill_pairs(log.indptr, log.items, window, decay, rows, cols, weights)
    matrix = sparse.csr_array((weights, (rows, cols)), shape=(log.n_items, log.n_items))
    matrix.setdiag(0.0)
    matrix.eliminate_zeros()
    return matrix


def ppmi(counts: sparse.csr_array) -> sparse.csr_array:
    """Positive pointwise mutual information of a count matrix: max(0, log(c_ij * sum / (row_i * col_j)))."""
    coo = counts.tocoo()
    total = float(coo.data.sum())
    row_sums = np.asarray(counts.sum(axis=1)).ravel()
    col_sums = np.asarray(counts.sum(axis=0)).ravel()
    values = np.log(coo.data * total / (row_sums[coo.row] * col_sums[coo.col]))
    keep = values > 0
    return sparse.csr_array((values[keep].astype(np.float32), (coo.row[keep], coo.col[keep])), shape=counts.shape)


def ppmi_vectors(log: Log, width: int, *, decay: float, window: int, seed: int) -> NDArray[np.float32]:
    """Vectors [n_items, width] with unit variance over all entries; items that never co-occur get small noise.

    The matrix is made symmetric first, because one vector an item serves both as input and as output.
    """
    rng = np.random.default_rng(seed)
    counts = cooccurrence(log, decay, window)
    vectors = np.zeros((log.n_items, width), np.float32)
    if counts.nnz:
        matrix = ppmi(sparse.csr_array(counts + counts.T))
        left, values = _randomised_eigen(matrix, min(width, log.n_items), rng)
        vectors[:, : left.shape[1]] = left * np.sqrt(np.maximum(values, 0.0))
    scale = float(vectors.std())
    if scale > 0:
        vectors /= scale
    empty = ~vectors.any(axis=1)
    vectors[empty] = 0.1 * rng.standard_normal((int(empty.sum()), width))
    return vectors


def nearest_items(vectors: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The `k` items closest by cosine to each item, itself left out: [n_items, k]."""
    n = len(vectors)
    k = min(k, n - 1)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    result = np.empty((n, k), np.int64)
    best = np.empty((512, k), np.float32)
    for first in range(0, n, 512):
        scores = unit[first : first + 512] @ unit.T
        scores[np.arange(len(scores)), np.arange(first, first + len(scores))] = -np.inf
        select_topk(scores, result[first : first + 512], best[: len(scores)])
    return result


def _randomised_eigen(
    matrix: sparse.csr_array, rank: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Leading eigenpairs of a symmetric matrix (Halko, Martinsson and Tropp, 2011): ([n, rank], [rank])."""
    n = matrix.shape[0]
    basis = matrix @ rng.standard_normal((n, min(n, rank + _OVERSAMPLING))).astype(np.float32)
    for _ in range(_POWER_ITERATIONS):
        basis, _ = np.linalg.qr(matrix @ basis)
    basis, _ = np.linalg.qr(basis)
    small = basis.T @ (matrix @ basis)
    values, rotation = np.linalg.eigh((small + small.T) / 2)
    leading = np.argsort(-np.abs(values))[:rank]
    return (basis @ rotation[:, leading]).astype(np.float32), np.abs(values[leading]).astype(np.float32)

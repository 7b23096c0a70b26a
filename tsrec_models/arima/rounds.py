"""Splits a micro-batch in which a row comes more than once into rounds of distinct rows."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["rounds"]

Ints = NDArray[np.int64]


@njit(cache=True)
def _occurrences(rows: Ints, seen: Ints, rank: Ints) -> int:
    most = 0
    for i in range(rows.shape[0]):
        rank[i] = seen[rows[i]]
        seen[rows[i]] += 1
        most = max(most, seen[rows[i]])
    return most


def rounds(rows: Ints, n_rows: int) -> list[Ints | None]:
    """Positions in `rows` of every first occurrence, every second, ..; [None] where all are distinct."""
    rank = np.empty(len(rows), dtype=np.int64)
    most = _occurrences(rows, np.zeros(n_rows, dtype=np.int64), rank)
    if most <= 1:
        return [None]
    by_rank = np.argsort(rank, kind="stable")
    return list(np.split(by_rank, np.cumsum(np.bincount(rank, minlength=most))[:-1]))

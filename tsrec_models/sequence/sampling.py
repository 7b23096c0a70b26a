"""Negatives shared by all positions of a batch, drawn from a flattened popularity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError

__all__ = ["NegativeSampler"]

#: Popularity is raised to this power (word2vec: Mikolov et al., 2013), so that the tail is met too.
POWER = 0.75


class NegativeSampler:
    """Draws items in proportion to popularity^POWER + 1; knows the log probability of each."""

    def __init__(self, popularity: NDArray[np.int64]) -> None:
        if not len(popularity):
            raise ModelError("negatives need at least one item")
        weights = popularity.astype(np.float64) ** POWER + 1.0
        self._cumulative = np.cumsum(weights)
        self.log_probability = np.log(weights / self._cumulative[-1]).astype(np.float32)

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """`n` items with replacement: [n]."""
        points = rng.random(n) * self._cumulative[-1]
        drawn: NDArray[np.int64] = np.searchsorted(self._cumulative, points, side="right")
        return np.minimum(drawn, len(self._cumulative) - 1)

"""Vectors for items that a model was not trained on, from what a catalog says of them: title, category, price.

A ridge regression from features to the model's own item vectors is fitted on the items that have both, and gives
vectors to the others (the "cold start by content" of Gantner et al. 2010, with features hashed as by Weinberger et al.
2009, so that a word never met before has its place too).
"""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tsrec_models.base import ModelError

__all__ = ["WIDTH", "ContentMap", "item_content"]

#: Columns that features are hashed into: some thousand distinct words meet few others there.
WIDTH = 1024

#: Strengths of the ridge that are tried, relative to the mean variance of a direction of the features.
_RIDGES = tuple(10.0**power for power in range(-3, 4))

_WORD = re.compile(r"\w+")

#: Price bands an octave: neighbouring bands differ by a fifth.
_BANDS = 4


def item_content(
    titles: Sequence[str | None], categories: Sequence[str | None], prices: Sequence[float | None], width: int = WIDTH
) -> sparse.csr_array:
    """Features of items, float32 [items, width]: words and letter triples of titles, category, price band.

    Each kind of feature that an item has is a row of length 1 before the kinds are added up, so that a long title does
    not drown a category. Hashed to a column and a sign by CRC-32: the same in every process.
    """
    indptr: list[int] = [0]
    columns: list[int] = []
    values: list[float] = []
    for title, category, price in zip(titles, categories, prices, strict=True):
        row: dict[int, float] = {}
        words = _WORD.findall(title.lower()) if title else []
        _add(row, [f"w {word}" for word in words], width)
        _add(row, [f"t {pair[i : i + 3]}" for pair in (f"^{w}$" for w in words) for i in range(len(pair) - 2)], width)
        _add(row, [f"p {a} {b}" for a, b in itertools.pairwise(words)], width)
        if category:
            _add(row, [f"c {category}"], width)
        if price is not None and price > 0 and math.isfinite(price):
            band = round(_BANDS * math.log2(price))
            _add(row, [f"b {band + shift}" for shift in (-1, 0, 1)], width)  # neighbours share two of three
        columns += row.keys()
        values += row.values()
        indptr.append(len(columns))
    return sparse.csr_array(
        (np.asarray(values, np.float32), np.asarray(columns, np.int64), np.asarray(indptr, np.int64)),
        shape=(len(titles), width),
    )


def _add(row: dict[int, float], names: list[str], width: int) -> None:
    """Add a kind of feature, of length 1."""
    own: dict[int, float] = {}
    for name in names:
        h = zlib.crc32(name.encode())
        column = h % width
        own[column] = own.get(column, 0.0) + (1.0 if h & 0x80000000 else -1.0)
    length = math.sqrt(sum(value * value for value in own.values()))
    if length > 0:
        for column, value in own.items():
            row[column] = row.get(column, 0.0) + value / length


@dataclass(frozen=True)
class ContentMap:
    """vector = mean + features @ weights; `explained`: share of the vectors' variance foretold of items left out."""

    weights: NDArray[np.float32]  # [width, d]
    mean: NDArray[np.float32]  # [d]
    ridge: float
    explained: float

    @classmethod
    def fit(cls, features: sparse.csr_array, vectors: NDArray[np.float32]) -> ContentMap:
        """The map from features [items, width] to vectors [items, d]; its strength by leaving each item out.

        Raises ModelError with fewer than two items.
        """
        n = len(vectors)
        if n < 2:
            raise ModelError(f"content: {n} items with features and vectors are too few to learn from")
        mean = vectors.mean(axis=0)
        target = (vectors - mean).astype(np.float64)
        # One decomposition serves every strength; the error of leaving an item out follows from the diagonal of the hat
        # matrix (Golub, Heath, Wahba 1979).
        dense = features.toarray().astype(np.float64)
        squares, right = np.linalg.eigh(dense.T @ dense)
        real = squares > squares[-1] * 1e-10
        squares, right = squares[real], right[:, real]
        left = dense @ right / np.sqrt(squares)
        turned = left.T @ target
        scale = float(squares.mean())
        best = (np.inf, 0.0)
        for ridge in _RIDGES:
            strength = ridge * scale
            shrink = squares / (squares + strength)
            leverage = np.minimum((left**2) @ shrink, 1.0 - 1e-9)
            left_out = (target - left @ (shrink[:, None] * turned)) / (1.0 - leverage[:, None])
            best = min(best, (float((left_out**2).sum()), strength))
        error, strength = best
        weights = right @ ((np.sqrt(squares) / (squares + strength))[:, None] * turned)
        total = float((target**2).sum())
        return cls(
            weights.astype(np.float32), mean.astype(np.float32), strength, 1.0 - error / total if total > 0 else 0.0
        )

    def vectors(self, features: sparse.csr_array) -> NDArray[np.float32]:
        """Vectors of items by their features: float32 [items, d]."""
        out: NDArray[np.float32] = np.asarray(features @ self.weights, np.float32) + self.mean
        return out

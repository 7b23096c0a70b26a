"""Other sequences that might have been: crop, reorder, mask, substitute (CL4SRec: Xie et al., 2022; CoSeRec, 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Augmentation", "corrupt_inputs", "crop_windows", "reorder_windows"]

#: A crop keeps at least this share of a sequence; a reordering shuffles at most this share of it.
MIN_CROP = 0.5
MAX_REORDER = 0.3


@dataclass(frozen=True)
class Augmentation:
    """Probabilities of each change, and for substitution the items that may replace each item [n_items, choices]."""

    crop: float = 0.0
    mask: float = 0.0
    reorder: float = 0.0
    substitute: float = 0.0
    similar: NDArray[np.int64] | None = None

    @property
    def changes_order(self) -> bool:
        return self.reorder > 0


def crop_windows(
    starts: NDArray[np.int64], stops: NDArray[np.int64], probability: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Windows cut to a random contiguous part, each with the given probability; at least two events stay."""
    lengths = stops - starts
    share = MIN_CROP + (1 - MIN_CROP) * rng.random(len(starts))
    kept = np.maximum(np.minimum(lengths, 2), np.round(lengths * share).astype(np.int64))
    kept = np.where(rng.random(len(starts)) < probability, kept, lengths)
    first = starts + np.floor(rng.random(len(starts)) * (lengths - kept + 1)).astype(np.int64)
    return first, first + kept


@njit(cache=True)  # type: ignore[untyped-decorator]
def reorder_windows(
    items: NDArray[np.int64], lengths: NDArray[np.int64], probability: float, share: float, seed: int
) -> None:
    """Shuffle, in place, a random stretch of rows of padded `items` [batch, length]."""
    np.random.seed(seed)
    for row in range(items.shape[0]):
        stretch = int(lengths[row] * share)
        if stretch < 2 or np.random.random() >= probability:
            continue
        first = np.random.randint(0, lengths[row] - stretch + 1)
        for i in range(stretch - 1, 0, -1):
            j = np.random.randint(0, i + 1)
            a, b = first + i, first + j
            items[row, a], items[row, b] = items[row, b], items[row, a]


def corrupt_inputs(
    items: NDArray[np.int64], augmentation: Augmentation, unknown: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Input items [batch, length] with some replaced by similar items and some by `unknown`; targets stay true."""
    result = items
    if augmentation.substitute > 0 and augmentation.similar is not None:
        chosen = rng.random(items.shape) < augmentation.substitute
        choice = rng.integers(0, augmentation.similar.shape[1], items.shape)
        result = np.where(chosen, augmentation.similar[np.minimum(items, unknown - 1), choice], result)
    if augmentation.mask > 0:
        result = np.where(rng.random(items.shape) < augmentation.mask, unknown, result)
    return result

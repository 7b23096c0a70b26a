"""Drift of all inputs of a model at once: the population stability index of each, over the latest `window` cases.

Where `PsiWatch` slides value by value, a panel takes rows of inputs, counts them in halves of the window, and looks
after each half: cheap for many inputs and many cases, the same however cases are batched, and its state is one row of
float64. What an input was in training (`Reference`) is kept with the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.risk.drift import PsiWatch, psi

__all__ = ["DriftPanel", "Look", "Reference"]

#: From this index on an input is of another population, by the usual rule of thumb.
DRIFTED = 0.25


@dataclass(frozen=True)
class Reference:
    """One input as it was in training: counts by quantile (numbers) or level (text), missing and unseen apart."""

    name: str
    watch: PsiWatch

    @classmethod
    def of(cls, name: str, values: NDArray[Any]) -> Reference | None:
        """From training values [n]; None where there was no value at all."""
        seen = np.isfinite(values).any() if values.dtype.kind == "f" else any(value is not None for value in values)
        return cls(name, PsiWatch.of(values, window=1)) if seen else None

    def row(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        row = self.watch.row()
        return {"name": self.name, "then": row["then"], "edges": row["edges"], "levels": row["levels"]}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Reference:
        """From `row`'s values. Raises ModelError where they do not fit together."""
        return cls(str(row["name"]), PsiWatch(row["then"], 1, row["edges"], row["levels"]))


@dataclass(frozen=True)
class Look:
    """What a full half-window showed: after the case at `at` in the batch, the index of each input [inputs]."""

    at: int
    psi: NDArray[np.float64]


class DriftPanel:
    """Watches inputs in the order of `references`; state is one float64 row [width], zeros at first."""

    def __init__(self, references: Sequence[Reference], window: int = 1000) -> None:
        if window < 2 or window % 2:
            raise ModelError(f"window of {window} cases: give an even number")
        if not references:
            raise ModelError("a drift panel needs inputs to watch")
        self.names = [reference.name for reference in references]
        self.window = window
        self._references = list(references)
        self._then = [np.array(reference.watch.row()["then"]) for reference in references]
        self._sizes = np.array([len(then) for then in self._then])
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)])[:-1]
        self._bins = int(self._sizes.sum())
        #: cases in this half; whether there is a half before; counts of both.
        self.width = 2 + 2 * self._bins
        # What chance makes of so few cases, with room.
        self._chance = 4.0 * (self._sizes - 1) / window

    def bins(self, x: NDArray[np.float64]) -> NDArray[np.int64]:
        """Bins [n, inputs] of numeric inputs x [n, inputs]; NaN is missing."""
        out = np.empty(x.shape, np.int64)
        for j, reference in enumerate(self._references):
            edges = np.array(reference.watch.edges)
            column = x[:, j]
            out[:, j] = np.where(
                np.isnan(column), len(edges) + 1, np.searchsorted(edges, column, side="right")
            )  # fmt: skip
        return out

    def bins_of(self, features: Mapping[str, Any]) -> NDArray[np.int64]:
        """Bins [inputs] of one case given by name; a field not given is missing, text where a number was wanted too."""
        found = []
        for reference in self._references:
            value = features.get(reference.name)
            if reference.watch.levels is None and isinstance(value, str):
                value = None
            found.append(reference.watch.bin_of(value))
        return np.array(found, np.int64)

    def update(self, state: NDArray[np.float64], bins: NDArray[np.int64]) -> list[Look]:
        """Take cases [n, inputs] by their bins, in order; a look for each half-window that became full."""
        half, looks, begin = self.window // 2, [], 0
        counts = state[2:].reshape(2, self._bins)  # this half, the half before
        while begin < len(bins):
            end = min(len(bins), begin + half - int(state[0]))
            np.add.at(counts[0], (bins[begin:end] + self._starts).ravel(), 1.0)
            state[0] += end - begin
            if int(state[0]) == half:
                if state[1]:
                    looks.append(Look(end - 1, self._index(counts.sum(axis=0))))
                state[0], state[1] = 0.0, 1.0
                counts[1], counts[0] = counts[0], 0.0
            begin = end
        return looks

    def drifted(self, look: Look) -> NDArray[np.int64]:
        """Inputs that moved: index above 0.25 and above what chance makes of the window; worst first."""
        moved = np.flatnonzero(look.psi > np.maximum(DRIFTED, self._chance))
        return moved[np.argsort(-look.psi[moved], kind="stable")]

    def _index(self, now: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = zip(self._starts, self._sizes, self._then, strict=True)
        return np.array([psi(now[start : start + size], then) for start, size, then in parts])

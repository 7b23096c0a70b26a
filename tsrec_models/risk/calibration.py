"""From scores to probabilities that hold: Platt's sigmoid, isotonic steps, and how far off they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from tsrec_models.base import ModelError

__all__ = ["Isotonic", "Platt", "best_threshold", "brier_score", "calibration_error"]


@dataclass(frozen=True, slots=True)
class Platt:
    """probability = 1 / (1 + exp(-(slope x margin + offset))) (Platt 1999, with his smoothed targets)."""

    slope: float
    offset: float

    @classmethod
    def fit(cls, margin: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> Platt:
        """Fit to margins (log odds) [n] that the labels [n] had no part in. Raises ModelError without both classes."""
        n_pos = int(np.count_nonzero(is_positive))
        n_neg = len(is_positive) - n_pos
        if n_pos == 0 or n_neg == 0:
            raise ModelError(f"calibration: {n_pos} positives and {n_neg} negatives; both are needed")
        target = np.where(is_positive, (n_pos + 1) / (n_pos + 2), 1 / (n_neg + 2))

        def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            z = w[0] * margin + w[1]
            apart = expit(z) - target
            value = np.sum(np.logaddexp(0, z) - target * z)
            return float(value), np.array([np.sum(apart * margin), np.sum(apart)])

        found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS")
        return cls(float(max(found.x[0], 1e-3)), float(found.x[1]))

    def apply(self, margin: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of margins [n]."""
        return np.asarray(expit(self.slope * margin + self.offset))

    def row(self) -> dict[str, float]:
        """Plain values, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Platt:
        return cls(float(row["slope"]), float(row["offset"]))


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Monotone steps through the observed rates (pool adjacent violators), linear between their middles."""

    scores: tuple[float, ...]
    rates: tuple[float, ...]

    @classmethod
    def fit(cls, score: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> Isotonic:
        """Fit to scores [n] that the labels [n] had no part in; rates are smoothed by one pseudo-case a class."""
        order = np.argsort(score, kind="stable")
        blocks: list[list[float]] = []  # sum of scores, positives, cases
        for s, y in zip(score[order], is_positive[order], strict=True):
            blocks.append([float(s), float(y), 1.0])
            while len(blocks) > 1 and blocks[-2][1] * blocks[-1][2] >= blocks[-1][1] * blocks[-2][2]:
                last = blocks.pop()
                blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
        scores = [b[0] / b[2] for b in blocks]
        rates = [(b[1] + 0.5) / (b[2] + 1.0) for b in blocks]
        return cls(tuple(scores), tuple(np.maximum.accumulate(rates).tolist()))

    def apply(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of scores [n]."""
        return np.interp(score, self.scores, self.rates)


def brier_score(probability: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> float:
    """Mean squared distance of probability and outcome (Brier 1950)."""
    return float(np.mean((probability - is_positive) ** 2))


def calibration_error(probability: NDArray[np.float64], is_positive: NDArray[np.bool_], bins: int = 10) -> float:
    """Mean distance of predicted and observed rate over `bins` groups of equal size, weighted by size (ECE)."""
    order = np.argsort(probability, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return float(sum(abs(probability[p].mean() - is_positive[p].mean()) * len(p) for p in parts if len(p)) / len(order))


def best_threshold(p: NDArray[np.float64], is_bad: NDArray[np.bool_]) -> float:
    """Probability from which on calling a case bad gives the best F1."""
    order = np.argsort(-p, kind="stable")
    hits = np.cumsum(is_bad[order])
    f1 = 2 * hits / (np.arange(1, len(p) + 1) + hits[-1])
    return float(p[order][int(np.argmax(f1))])

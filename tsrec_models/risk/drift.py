"""Drift of a model's inputs: the population stability index of what comes in against what it was trained on.

PSI = sum over bins of (now - then) x ln(now / then). Rules of thumb: below 0.1 stable, above 0.25 another population.
The index of a sliding window is kept up to date in O(1) a value, whatever the number of bins: it is a sum of terms of
which one value changes two.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> watch = PsiWatch.of(rng.normal(size=5000), window=1000)
>>> for value in rng.normal(size=1000): _ = watch.update(value)
>>> watch.psi < 0.05
True
>>> for value in rng.normal(1.0, size=1000): _ = watch.update(value)
>>> watch.psi > 0.25
True
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError

__all__ = ["PsiWatch", "psi"]

#: Added to every count, so that an empty bin does not make the index infinite.
SMOOTHING = 0.5
#: Sums are made anew after so many values: rounding must not add up.
REFRESH = 65_536


def psi(now: NDArray[np.float64], then: NDArray[np.float64]) -> float:
    """The index of two vectors of counts [bins], each smoothed by half a case a bin."""
    p, q = now + SMOOTHING, then + SMOOTHING
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((p - q) * np.log(p / q)))


class PsiWatch:
    """Watches one input: number or text. `update` takes a value and returns the index over the latest `window` values.

    Bins of a number are the quantiles of its training values, with one more for missing; those of text are its levels,
    with one for missing and one for all that was never seen.
    """

    def __init__(
        self, then: Sequence[float], window: int, edges: Sequence[float] = (), levels: Sequence[str] | None = None
    ) -> None:
        bins = len(levels) + 2 if levels is not None else len(edges) + 2
        if len(then) != bins or window < 1:
            raise ModelError(f"drift watch: {len(then)} counts for {bins} bins, window {window}: do not fit together")
        self.edges, self.levels, self.window = list(edges), levels, window
        self._place = {level: k for k, level in enumerate(levels or ())}
        self._then = [float(c) for c in then]
        total = sum(self._then) + SMOOTHING * bins
        self._log_share = [math.log((c + SMOOTHING) / total) for c in self._then]
        self._share = [math.exp(v) for v in self._log_share]
        self._ring = np.full(window, -1, dtype=np.int32)
        self._seen = 0
        self._refresh()

    @classmethod
    def of(cls, values: NDArray[Any], window: int = 1000, bins: int = 10) -> PsiWatch:
        """A watch for values like these [n]: floats (NaN is missing) or text (None is missing)."""
        if values.dtype.kind == "f":
            finite = values[np.isfinite(values)]
            if not len(finite):
                raise ModelError("drift watch: no value to compare with")
            edges = np.unique(np.quantile(finite, np.linspace(0, 1, bins + 1)[1:-1]))
            counts = np.bincount(np.searchsorted(edges, finite, side="right"), minlength=len(edges) + 1)
            return cls([*counts.tolist(), len(values) - len(finite)], window, edges.tolist())
        levels, counts = np.unique([str(v) for v in values if v is not None], return_counts=True)
        missing = sum(v is None for v in values)
        return cls([*counts.tolist(), missing, 0], window, levels=[str(level) for level in levels])

    def bin_of(self, value: Any) -> int:
        """The bin of a value; None and NaN are missing."""
        missing = value is None or (isinstance(value, float) and math.isnan(value))
        if self.levels is None:
            return len(self.edges) + 1 if missing else bisect_right(self.edges, value)
        return len(self.levels) if missing else self._place.get(str(value), len(self.levels) + 1)

    def update(self, value: Any) -> float:
        """Take a value; return the index."""
        slot = self._seen % self.window
        old = int(self._ring[slot])
        if old >= 0:
            self._move(old, -1.0)
        new = self.bin_of(value)
        self._ring[slot] = new
        self._move(new, 1.0)
        self._seen += 1
        if self._seen % REFRESH == 0:
            self._refresh()
        return self.psi

    @property
    def filled(self) -> int:
        """Values in the window: with few of them the index is high by chance, about (bins - 1) / values."""
        return min(self._seen, self.window)

    @property
    def psi(self) -> float:
        """The index of the window; 0 before the first value."""
        if self._seen == 0:
            return 0.0
        # With p = c / n: sum (p - q) (ln p - ln q), written out; what does not depend on the counts is constant.
        n = self._total
        return self._c_log_c / n - math.log(n) - self._c_log_q / n - (self._q_log_c - math.log(n)) + self._constant

    @property
    def drifted(self) -> bool:
        """Whether the index is above 0.25 and above what chance makes of so few values."""
        bins = len(self._then)
        return self.psi > max(0.25, 4 * (bins - 1) / max(1, self.filled))

    def _move(self, k: int, by: float) -> None:
        old = self._counts[k]
        new = old + by
        self._counts[k] = new
        self._total += by
        self._c_log_c += new * math.log(new) - old * math.log(old)
        self._c_log_q += by * self._log_share[k]
        self._q_log_c += self._share[k] * (math.log(new) - math.log(old))

    def _refresh(self) -> None:
        held = self._ring[self._ring >= 0]
        counts = np.bincount(held, minlength=len(self._then)) + SMOOTHING
        self._counts = counts.tolist()
        self._total = float(counts.sum())
        log_q, q = np.array(self._log_share), np.array(self._share)
        self._c_log_c = float(np.sum(counts * np.log(counts)))
        self._c_log_q = float(np.sum(counts * log_q))
        self._q_log_c = float(np.sum(q * np.log(counts)))
        self._constant = float(np.sum(q * log_q))

    def row(self) -> dict[str, Any]:
        """Plain values, fit for JSON, from which the watch goes on."""
        return {
            "then": self._then,
            "window": self.window,
            "edges": self.edges,
            "levels": self.levels,
            "ring": self._ring.tolist(),
            "seen": self._seen,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> PsiWatch:
        watch = cls(row["then"], row["window"], row["edges"], row["levels"])
        watch._ring[:] = row["ring"]
        watch._seen = row["seen"]
        watch._refresh()
        return watch

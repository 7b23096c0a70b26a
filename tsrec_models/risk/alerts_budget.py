"""A threshold from a target such as "at most 20 warnings a day", set on the past and used on what comes after it.

An alert is not a value over a line: values over it in one cooldown are one alert. So the past is cut, per subject, into
blocks as long as the cooldown, and the threshold is the level that the wanted number of block maxima exceed. Where the
target asks for more than the past can show (a rarer level than its highest values), the tail is extended by a
generalised Pareto distribution over a high threshold (peaks over threshold: Pickands 1975; Davison and Smith 1990).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import genpareto

from tsrec_models.risk.alerts import AlertError

__all__ = ["BudgetThreshold", "RollingBudget", "block_maxima", "threshold_for_budget"]

DAY_S = 86_400.0
#: With this many block maxima over a level, its empirical rate is good to about 30 %; below it the tail is fitted.
MIN_OVER_EMPIRICAL = 10
#: Block maxima that the Pareto tail is fitted on: fewer are too noisy for its shape, more are no longer tail.
MIN_TAIL, MAX_TAIL_SHARE = 30, 0.10
#: Key of the row with the threshold in force.
_NOW = "now"


@dataclass(frozen=True, slots=True)
class BudgetThreshold:
    """A threshold, what it was set on, and what it promises. Use it for events after `fitted_until` only."""

    threshold: float
    per_day: float
    expected_per_day: float
    fitted_until: float
    days: float
    blocks: int
    method: str
    shape: float | None = None

    def check_usable(self, ts: float) -> None:
        """Raises AlertError where the threshold would be used on the data that it was set on."""
        if ts <= self.fitted_until:
            raise AlertError(
                f"threshold set on data up to ts {self.fitted_until:.3f} used at ts {ts:.3f}: "
                "score only what came after, or set it on older data"
            )


def block_maxima(
    ts: NDArray[np.float64], values: NDArray[np.float64], subjects: NDArray[np.int64], block_s: float
) -> NDArray[np.float64]:
    """Highest value of each subject in each block of `block_s` seconds; empty blocks have none. All inputs [n]."""
    if len(ts) == 0:
        return np.empty(0)
    blocks = np.floor(ts / block_s).astype(np.int64)
    order = np.lexsort((values, blocks, subjects))
    s, b, v = subjects[order], blocks[order], values[order]
    last = np.ones(len(v), dtype=bool)
    last[:-1] = (s[1:] != s[:-1]) | (b[1:] != b[:-1])
    return v[last]


def threshold_for_budget(
    ts: NDArray[np.float64],
    values: NDArray[np.float64],
    per_day: float,
    subjects: NDArray[np.int64] | None = None,
    cooldown_s: float = 300.0,
) -> BudgetThreshold:
    """The threshold at which past values would have given `per_day` alerts a day.

    `ts` [n] epoch seconds, `values` [n] (higher is worse; NaN is left out), `subjects` [n] rows (None: one subject).
    Raises AlertError for an empty past or a budget that is not positive.
    """
    if not per_day > 0:
        raise AlertError(f"budget of {per_day} alerts a day: must be positive")
    keep = np.isfinite(values) & np.isfinite(ts)
    ts, values = ts[keep], values[keep]
    rows = np.zeros(len(ts), dtype=np.int64) if subjects is None else subjects[keep]
    if len(ts) < 2 or ts.max() <= ts.min():
        raise AlertError("no threshold from the past: fewer than two values at different times; collect more first")
    days = max((ts.max() - ts.min()) / DAY_S, cooldown_s / DAY_S)
    maxima = np.sort(block_maxima(ts, values, rows, cooldown_s))[::-1]
    wanted = per_day * days  # block maxima that may exceed the threshold in a past as long as this one
    until = float(ts.max())
    if wanted >= len(maxima):
        lowest = float(maxima[-1])
        return BudgetThreshold(lowest, per_day, len(maxima) / days, until, days, len(maxima), "all")
    if wanted >= MIN_OVER_EMPIRICAL or len(maxima) < MIN_TAIL:
        over = max(1, math.floor(wanted))
        # Strictly above the next lower value: ties must not break the budget.
        level = float(np.nextafter(maxima[over], math.inf))
        got = float(np.count_nonzero(maxima >= level)) / days
        return BudgetThreshold(level, per_day, got, until, days, len(maxima), "quantile")
    n_tail = max(MIN_TAIL, math.floor(MAX_TAIL_SHARE * len(maxima)))
    n_tail = min(n_tail, len(maxima) - 1)
    base = float(maxima[n_tail])
    excess = maxima[:n_tail] - base
    if excess[0] <= 0:
        return BudgetThreshold(float(np.nextafter(base, math.inf)), per_day, 0.0, until, days, len(maxima), "quantile")
    shape, _, scale = genpareto.fit(excess, floc=0.0)
    shape = float(np.clip(shape, -0.5, 1.0))  # beyond these a few values make the fit, not the tail
    level = base + float(genpareto.isf(wanted / n_tail, shape, 0.0, scale))
    return BudgetThreshold(level, per_day, per_day, until, days, len(maxima), "pareto", shape)


class RollingBudget:
    """Sets the threshold anew at each day's start, on the `days` before it; it never sees the day it is used on.

    `fallback` is used until `min_days` have been seen. A value counts once a subject and block of `cooldown_s`; of each
    day the `keep` highest are kept, many more than the budget can ask for. State: a row a day, `take_changes`,
    `restore`.
    """

    def __init__(
        self,
        per_day: float,
        fallback: float,
        days: int = 30,
        min_days: int = 3,
        cooldown_s: float = 300.0,
        keep: int = 4096,
    ) -> None:
        if not per_day > 0 or min_days < 1 or days < min_days:
            raise AlertError("rolling budget: per_day must be positive and 1 <= min_days <= days")
        if keep < 4 * per_day:
            raise AlertError(f"rolling budget: {keep} values a day kept for {per_day:g} warnings; keep four times more")
        self.per_day, self.fallback, self.days, self.min_days = per_day, fallback, days, min_days
        self.cooldown_s, self.keep = cooldown_s, keep
        self.threshold = fallback
        self.fitted: BudgetThreshold | None = None
        self._maxima: dict[int, dict[tuple[int, int], float]] = {}
        self._day: int | None = None
        self._changed: set[int] = set()
        self._changed_now = False

    def threshold_at(self, ts: float) -> float:
        """The threshold in force at `ts`; set anew where `ts` begins a later day."""
        day = math.floor(ts / DAY_S)
        if self._day is None or day > self._day:
            self._day = day
            self._refit(day)
            self._changed_now = True
        return self.threshold

    def add(self, ts: float, value: float, subject: int = 0) -> None:
        """Remember a value for thresholds of later days."""
        day = math.floor(ts / DAY_S)
        blocks = self._maxima.setdefault(day, {})
        key = (subject, math.floor(ts / self.cooldown_s))
        if value > blocks.get(key, -math.inf):
            blocks[key] = value
            self._changed.add(day)
            if len(blocks) > 2 * self.keep:
                self._maxima[day] = self._highest(blocks)

    def take_changes(self) -> dict[str, dict[str, Any] | None]:
        """Rows of the days that changed since the last call; None for one that is over."""
        changes: dict[str, dict[str, Any] | None] = {}
        for day in sorted(self._changed):
            if day not in self._maxima:
                changes[str(day)] = None
                continue
            highest = self._maxima[day] = self._highest(self._maxima[day])
            subjects, blocks = zip(*highest, strict=True)
            changes[str(day)] = {
                "subjects": list(subjects), "blocks": list(blocks), "values": list(highest.values()),
            }  # fmt: skip
        self._changed.clear()
        if self._changed_now:
            # Kept as it was set: what came late for a day that is over must not move it after a restart.
            changes[_NOW] = {"day": self._day, "threshold": self.threshold}
            self._changed_now = False
        return changes

    def restore(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Take rows back."""
        for day, row in rows.items():
            if day == _NOW:
                self._day, self.threshold = row["day"], row["threshold"]
                continue
            keys = zip(row["subjects"], row["blocks"], strict=True)
            self._maxima[int(day)] = dict(zip(keys, row["values"], strict=True))
        self._changed.clear()

    def _highest(self, blocks: dict[tuple[int, int], float]) -> dict[tuple[int, int], float]:
        if len(blocks) <= self.keep:
            return blocks
        order = sorted(blocks.items(), key=lambda entry: (-entry[1], entry[0]))
        return dict(order[: self.keep])

    def _refit(self, day: int) -> None:
        for old in [d for d in self._maxima if d < day - self.days]:
            del self._maxima[old]
            self._changed.add(old)
        past = [d for d in self._maxima if d < day]
        if len(past) < self.min_days:
            return
        keys = [(key, value) for d in sorted(past) for key, value in sorted(self._highest(self._maxima[d]).items())]
        ts = np.array([(block + 0.5) * self.cooldown_s for (_, block), _ in keys])
        subjects = np.array([subject for (subject, _), _ in keys], dtype=np.int64)
        values = np.array([value for _, value in keys])
        self.fitted = threshold_for_budget(ts, values, self.per_day, subjects, self.cooldown_s)
        self.threshold = self.fitted.threshold

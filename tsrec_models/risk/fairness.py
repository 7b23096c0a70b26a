"""Whether a score treats groups alike: how many of each are turned down, and how often wrongly.

There is no one fair score: equal selection and equal error rates cannot all hold where the groups' rates of default
differ (Kleinberg et al. 2016). So the figures are given side by side, with how many cases they rest on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["GroupRates", "gaps", "group_rates"]


@dataclass(frozen=True, slots=True)
class GroupRates:
    """One group: its size, share called bad (`selection`), share of its bad cases found (`true_positive`), share of its
    good cases turned down (`false_positive`), observed and predicted rate of bad cases. NaN where there is no case."""

    group: str
    n: int
    selection: float
    true_positive: float
    false_positive: float
    observed: float
    predicted: float

    def row(self) -> dict[str, Any]:
        """Plain values, rounded for people."""
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}


def group_rates(
    probability: NDArray[np.float64], is_bad: NDArray[np.bool_], group: NDArray[Any], threshold: float
) -> list[GroupRates]:
    """Rates of each group at calling a case bad from `threshold` on; all inputs [n], largest group first."""
    names, rows = np.unique([str(g) for g in group], return_inverse=True)
    called = probability >= threshold
    found = []
    for k, name in enumerate(names):
        mine = rows == k
        bad, good = mine & is_bad, mine & ~is_bad
        found.append(
            GroupRates(
                str(name),
                int(mine.sum()),
                float(called[mine].mean()),
                float(called[bad].mean()) if bad.any() else float("nan"),
                float(called[good].mean()) if good.any() else float("nan"),
                float(is_bad[mine].mean()),
                float(probability[mine].mean()),
            )
        )
    return sorted(found, key=lambda r: (-r.n, r.group))


def gaps(rates: list[GroupRates], min_n: int = 30) -> dict[str, float]:
    """Largest difference between groups of at least `min_n` cases, of each rate; and the ratio of the lowest to the
    highest acceptance (below 0.8 the rule of four fifths speaks of adverse impact)."""
    counted = [r for r in rates if r.n >= min_n]

    def gap(name: str) -> float:
        values = [v for v in (getattr(r, name) for r in counted) if not np.isnan(v)]
        return float(max(values) - min(values)) if len(values) > 1 else 0.0

    accepted = [1 - r.selection for r in counted]
    ratio = min(accepted) / max(accepted) if len(accepted) > 1 and max(accepted) > 0 else 1.0
    return {
        "selection": gap("selection"),
        "true_positive": gap("true_positive"),
        "false_positive": gap("false_positive"),
        "acceptance_ratio": float(ratio),
    }

"""Why these items: what each past item adds by the rules, exactly, and to the model's share, by leaving it out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsrec_models.sequence.reasons import leave_one_out
from tsrec_models.sequence.rules import EMPTY, Rules

__all__ = ["Because", "Explanation", "contributions", "explain"]

#: Past items named for each item of a list.
_MOST = 3


@dataclass(frozen=True)
class Because:
    """One past item; `place` 1 is the latest. by_rules adds up over all past items to the rules' score of the target;
    by_model is the fall of the logarithm of the target's share when the model does not see this item."""

    item_id: str
    place: int
    by_rules: float | None
    by_model: float | None


@dataclass(frozen=True)
class Explanation:
    """The reasons of one item, strongest first. rules_score: of the target, the sum of all contributions."""

    item_id: str
    rules_score: float | None
    because: list[Because]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def explain(
    targets: list[str],
    history: list[str],
    times: NDArray[np.float64] | None = None,
    *,
    model: Any = None,
    model_items: list[str] | None = None,
    by_rules: NDArray[np.float64] | None = None,
    most: int = _MOST,
) -> list[Explanation]:
    """Reasons for `targets` in a `history` (oldest first, with its times).

    model, model_items: a recommender and the ids of its items, or None. by_rules: what each of the latest items adds to
    the rules' score of each target [targets, recent], latest first (see `contributions`). All histories with an item
    left out are encoded in one batch. Past items are ordered by their share of the two together, each scaled by its
    largest, so that neither drowns the other.
    """
    n = len(history)
    rule_parts = np.zeros((len(targets), n))
    if by_rules is not None:
        width = min(n, by_rules.shape[1])
        rule_parts[:, n - width :] = by_rules[:, :width][:, ::-1]
    model_parts = np.zeros((len(targets), n))
    known: dict[str, int] = {}
    if model is not None and model_items is not None:
        known = {name: i for i, name in enumerate(model_items)}
        places = np.array([known.get(name, -1) for name in history], np.int64)
        wanted = [row for row, name in enumerate(targets) if name in known]
        seen = places >= 0  # what the model does not know leaves its state as it is
        if wanted and seen.any():
            model_parts[np.ix_(np.array(wanted), np.flatnonzero(seen))] = leave_one_out(
                model, places[seen], np.array([known[targets[row]] for row in wanted]),
                times=None if times is None else times[seen],
            )  # fmt: skip
    return [
        _explanation(
            target, history, rule_parts[row] if by_rules is not None else None,
            model_parts[row] if target in known else None, most,
        )
        for row, target in enumerate(targets)
    ]  # fmt: skip


def contributions(
    rules: Rules, history: NDArray[np.int64], targets: NDArray[np.int64], now: float | None = None
) -> NDArray[np.float64]:
    """What each of the latest items adds to the rules' score of each target: [targets, window], latest first."""
    recent = np.full(rules.settings.window, EMPTY, np.int64)
    taken = history[::-1][: len(recent)]
    recent[: len(taken)] = taken
    parts = rules.contributions(recent[None], targets[None], None if now is None else np.array([now]))
    out: NDArray[np.float64] = parts[0].astype(np.float64)
    return out


def _explanation(
    target: str,
    history: list[str],
    by_rules: NDArray[np.float64] | None,
    by_model: NDArray[np.float64] | None,
    most: int,
) -> Explanation:
    weight = np.zeros(len(history))
    for part in (by_rules, by_model):
        if part is not None and len(part) and part.max() > 0:
            weight += np.maximum(part, 0.0) / part.max()
    because = [
        Because(
            history[i], len(history) - i, None if by_rules is None else float(by_rules[i]),
            None if by_model is None else float(by_model[i]),
        )
        for i in np.argsort(-weight, kind="stable")[:most].tolist()
        if weight[i] > 0
    ]  # fmt: skip
    return Explanation(target, None if by_rules is None else float(by_rules.sum()), because)

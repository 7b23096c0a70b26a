"""How much the network's word counts beside the rules' in the live blend: chosen on validation events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_app.agents.profiles import RECENT
from stream_app.blending import blend
from stream_app.list_making import CANDIDATES
from stream_app.listing import serving_rules
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.rules import EMPTY
from tsrec_models.sequence.rules_recommender import RulesRecommender
from tsrec_models.sequence.training_holdout import Holdout

__all__ = ["WEIGHTS", "Weighed", "choose_weight"]

#: Weights that are tried: 0 is the rules alone, 1 the network alone.
WEIGHTS = tuple(round(0.05 * i, 2) for i in range(21))

#: Users that the choice looks at: the error of a hit rate of 0.3 is 0.006 then.
_USERS = 6_000

_BLOCK = 512
_K = 10


@dataclass(frozen=True)
class Weighed:
    """The chosen weight of the network, and NDCG@10 and HR@10 of the blended lists at each that was tried."""

    weight: float
    ndcg: dict[float, float]
    hit_rate: dict[float, float]

    def as_dict(self) -> dict[str, Any]:
        """For a manifest."""
        at = self.weight
        return {
            "neural_weight": at,
            "blend": {"ndcg@10": self.ndcg[at], "hr@10": self.hit_rate[at]},
            "rules": {"ndcg@10": self.ndcg[0.0], "hr@10": self.hit_rate[0.0]},
            "neural": {"ndcg@10": self.ndcg[1.0], "hr@10": self.hit_rate[1.0]},
            "curve": {f"{weight:g}": round(value, 5) for weight, value in self.ndcg.items()},
        }


def choose_weight(model: Any, train: Log, holdout: Holdout, *, seed: int = 0) -> Weighed:
    """The weight with the best NDCG@10 of the lists that the stream would show.

    model: trained without the events of `holdout`. The rules are those of the stream, taught the events of `train` in
    their order; candidates, history and blending are the stream's too. What the user took is left out of the lists if
    the holdout says so.
    """
    rules = RulesRecommender.fit(train, serving_rules(train)).rules
    holdout = holdout.sample(_USERS, seed)
    popular = np.argsort(-np.bincount(train.items, minlength=train.n_items), kind="stable")[:CANDIDATES]
    trending = popular, np.linspace(1.0, 0.5, len(popular)).astype(np.float32)
    gains = {weight: [np.zeros(0)] for weight in WEIGHTS}
    for first in range(0, len(holdout), _BLOCK):
        rows = slice(first, first + _BLOCK)
        histories = [history[-RECENT:] for history in holdout.histories[rows]]
        times = None if holdout.times is None else [stamps[-RECENT:] for stamps in holdout.times[rows]]
        targets = holdout.targets[rows]
        seen = _latest(histories, RECENT) if holdout.exclude_seen else np.full((len(histories), 1), EMPTY, np.int64)
        neural = model.topk(model.encode(histories, times), CANDIDATES, [row[row >= 0] for row in seen])
        # A list is asked for at the last event, as in the stream.
        now = None if times is None else np.array([stamps[-1] if len(stamps) else rules.latest for stamps in times])
        by_rules = rules.topk(_latest(histories, rules.settings.window), CANDIDATES, now=now)
        for weight in WEIGHTS:
            lists = blend(
                neural if weight > 0 else None, by_rules if weight < 1 else None, trending, neural_weight=weight,
                seen=seen, allowed=np.ones(train.n_items, np.bool_), category=np.full(train.n_items, -1, np.int32),
                category_cap=0, k=_K,
            ).items  # fmt: skip
            found = lists == targets[:, None]
            gains[weight].append(np.where(found.any(axis=1), 1.0 / np.log2(found.argmax(axis=1) + 2.0), 0.0))
    gained = {weight: np.concatenate(parts) for weight, parts in gains.items()}
    ndcg = {weight: float(values.mean()) for weight, values in gained.items()}
    return Weighed(
        max(WEIGHTS, key=lambda weight: ndcg[weight]),
        ndcg,
        {weight: float((values > 0).mean()) for weight, values in gained.items()},
    )


def _latest(histories: list[NDArray[np.int64]], width: int) -> NDArray[np.int64]:
    """The last `width` items of each, latest first, EMPTY-padded."""
    out = np.full((len(histories), width), EMPTY, np.int64)
    for row, history in zip(out, histories, strict=True):
        taken = history[::-1][:width]
        row[: len(taken)] = taken
    return out

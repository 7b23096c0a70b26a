"""The list that the stream would show to a user of a log: the same rules, model, blend and filters; no broker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_app.agents.profiles import RECENT
from stream_app.agents.trends import SLOTS
from stream_app.blending import blend
from stream_app.list_making import CANDIDATES
from tsrec_models.artifacts import Artifact
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.rules import EMPTY, Rules, RuleSettings
from tsrec_models.sequence.rules_recommender import RulesRecommender

__all__ = ["Made", "list_for", "serving_rules"]


@dataclass(frozen=True)
class Made:
    """Items in the log's numbers, best first, with scores; the history they follow from, oldest first."""

    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    history: NDArray[np.int64]
    times: NDArray[np.float64] | None
    rules: Rules
    now: float


def serving_rules(log: Log) -> RuleSettings:
    """The stream's rules; where a log has no times nothing ages."""
    return RuleSettings(slots=SLOTS) if log.has_times else RuleSettings(slots=SLOTS, half_life_s=None)


def list_for(log: Log, user: int, artifact: Artifact | None, k: int) -> Made:
    """The list after the user's last event, with rules taught the whole log; items of the history are left out."""
    rules = RulesRecommender.fit(log, serving_rules(log)).rules
    end = log.indptr[user + 1]
    begin = max(log.indptr[user], end - RECENT)
    history = log.items[begin:end]
    times = log.times[begin:end] if log.has_times else None
    now = float(log.times[end - 1]) if log.has_times else rules.latest
    recent = np.full((1, rules.settings.window), EMPTY, np.int64)
    taken = history[::-1][: recent.shape[1]]
    recent[0, : len(taken)] = taken
    neural, weight = None, 0.0
    if artifact is not None:
        place = {name: i for i, name in enumerate(log.item_ids.tolist())}
        to_log = np.array([place.get(name, -1) for name in artifact.item_ids], np.int64)
        own = {int(i): j for j, i in enumerate(to_log.tolist()) if i >= 0}
        known = np.array([own.get(int(i), -1) for i in history], np.int64)
        stamps = None if times is None else [times[known >= 0]]
        state = artifact.model.encode([known[known >= 0]], stamps)
        # What the log does not know cannot be named by it.
        foreign = np.flatnonzero(to_log < 0)
        ids, scores = artifact.model.topk(state, CANDIDATES, [np.concatenate([known[known >= 0], foreign])])
        neural = np.where(ids >= 0, to_log[ids], -1), scores
        weight = float(artifact.manifest.settings.get("neural_weight", 0.5))
    popular = np.argsort(-np.bincount(log.items, minlength=log.n_items), kind="stable")[: CANDIDATES + k]
    lists = blend(
        neural, rules.topk(recent, CANDIDATES, now=np.array([now])),
        (popular, np.linspace(1.0, 0.5, len(popular)).astype(np.float32)), neural_weight=weight, seen=history[None],
        allowed=np.ones(log.n_items, np.bool_), category=np.full(log.n_items, -1, np.int32), category_cap=0, k=k,
    )  # fmt: skip
    kept = lists.items[0] >= 0
    return Made(lists.items[0][kept], lists.scores[0][kept], history, times, rules, now)

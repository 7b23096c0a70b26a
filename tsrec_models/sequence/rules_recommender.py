"""The decayed sequential rules as a member of the family of sequence recommenders."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tsrec_models.preparation.log import Log
from tsrec_models.sequence.recent_items import RecentItems, previous_items
from tsrec_models.sequence.rules import Rules, RuleSettings, RuleTable

__all__ = ["RulesRecommender"]

#: Events whose histories are laid out at once when a log is replayed: some ten megabytes.
_REPLAY_BLOCK = 100_000

#: What the most popular item adds to a score, as a share of the row's best: it orders items that no rule names.
_FILL = 1e-6


class RulesRecommender(RecentItems):
    """Scores by the rules; items that no rule names come after the others, in order of popularity."""

    name: ClassVar[str] = "rules"

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules.n_items, rules.settings.window)
        self.rules = rules

    @classmethod
    def fit(cls, log: Log, settings: RuleSettings | None = None) -> RulesRecommender:
        """Replay a log in the order of its times. Without times nothing decays: there is no age to go by."""
        rules = Rules(log.n_items, settings)
        model = cls(rules)
        model.learn(log, log.time_order())
        return model

    def learn(self, log: Log, rows: NDArray[np.int64]) -> None:
        """Take the events at `rows` of a log, in that order, each with what its user took before."""
        times = log.times if log.has_times else np.zeros(len(log))
        for start in range(0, len(rows), _REPLAY_BLOCK):
            block = rows[start : start + _REPLAY_BLOCK]
            self.rules.update(previous_items(log, block, self.width), log.items[block], times[block])
        self.n_items = self.rules.n_items

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The table of the rules, for an artifact."""
        return {**self.rules.export_rows(np.arange(self.n_items))._asdict(), "latest": np.array([self.rules.latest])}

    def config(self) -> dict[str, Any]:
        """The settings: plain values."""
        return {"n_items": self.n_items, "settings": asdict(self.rules.settings)}

    @classmethod
    def from_arrays(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], device: str = "auto") -> Self:
        """The model of an artifact; it learns on from there."""
        rules = Rules(config["n_items"], RuleSettings(**config["settings"]))
        columns = {name: arrays[name] for name in RuleTable._fields}
        rules.import_rows(np.arange(rules.n_items), RuleTable(**columns))
        rules.latest = float(arrays["latest"][0])
        return cls(rules)

    def score_recent(self, recent: NDArray[np.int64], at: NDArray[np.float64]) -> NDArray[np.float32]:
        now = np.where(np.isnan(at), self.rules.latest, at) if self.rules.settings.half_life_s else at
        scores = self.rules.scores(recent, now)
        fill = self.rules.popularity()
        fill *= _FILL / max(float(fill.max(initial=0.0)), 1e-30)
        best = scores.max(axis=1, initial=0.0, keepdims=True)
        scores += np.where(best > 0.0, best, np.float32(1.0)) * fill
        return scores

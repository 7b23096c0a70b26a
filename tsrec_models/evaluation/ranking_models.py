"""How a model is fitted to a task and its settings chosen: recipes, and those of the counting models.

A recipe works in two steps, so that members of a blend are weighed on questions none of them has seen: `prepare` fits
to what precedes the validation questions and chooses settings on these, `finish` fits to all training events.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from tsrec_models.base import ModelError
from tsrec_models.evaluation.protocols import Split
from tsrec_models.evaluation.ranking import ScoringRecommender, ask
from tsrec_models.evaluation.ranking_metrics import reciprocal_gain
from tsrec_models.evaluation.ranking_search import coordinate_search
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.item_to_item import ItemToItem
from tsrec_models.sequence.popularity import Popularity, RecentPopularity, Trending
from tsrec_models.sequence.rules import RuleSettings
from tsrec_models.sequence.rules_recommender import RulesRecommender
from tsrec_models.sequence.session_knn import KnnSettings, SessionKnn

__all__ = ["COUNTING", "Recipe", "Task", "trial_score"]

#: Cells of the score matrix of one trial at most, and questions; more validation questions are sampled down to these.
_TRIAL_CELLS = 1e8
_TRIAL_QUESTIONS = 4000

#: Slots of all rows of the rules at most: 400 MB.
_RULE_SLOTS = 3.2e7


@dataclass(frozen=True)
class Task:
    """What is to be learned, by when. `deadline` is in monotonic seconds; None: take the time it takes.

    `checkpoints` is a folder in which networks write how far they are, and from which they go on.
    """

    split: Split
    seed: int = 0
    deadline: float | None = None
    checkpoints: Path | None = None

    @cached_property
    def validation(self) -> Split:
        """The split inside the training events; choices are made on its questions."""
        return self.split.validation()

    @cached_property
    def trial(self) -> Split:
        """As many validation questions as a quick trial can answer."""
        return self.validation.sample(
            min(_TRIAL_QUESTIONS, max(500, int(_TRIAL_CELLS / self.split.log.n_items))), self.seed
        )

    def until(self, share: float) -> float | None:
        """The time at which `share` of what is left will have passed."""
        now = time.monotonic()
        return None if self.deadline is None else now + share * max(0.0, self.deadline - now)

    def hurried(self, share: float) -> Task:
        """The same task with `share` of the time that is left."""
        task = replace(self, deadline=self.until(share))
        vars(task).update(validation=self.validation, trial=self.trial)  # cut once
        return task


class Recipe(Protocol):
    """How a model is fitted to a task."""

    def prepare(self, task: Task) -> ScoringRecommender:
        """Fit to the training events of the validation split, choosing settings on its questions."""
        ...

    def finish(self, task: Task) -> ScoringRecommender:
        """Fit to all training events with the settings chosen; `prepare` has been called."""
        ...


def trial_score(model: ScoringRecommender, task: Task) -> float:
    """NDCG at 20 on the trial questions: what settings are chosen by."""
    return float(reciprocal_gain(ask(model, task.trial).ranks, 20).mean())


@dataclass
class Plain:
    """A model without settings to choose."""

    fit: Callable[[Log], ScoringRecommender]

    def prepare(self, task: Task) -> ScoringRecommender:
        return self.fit(task.validation.train)

    def finish(self, task: Task) -> ScoringRecommender:
        return self.fit(task.split.train)


@dataclass
class Searched:
    """A model whose settings are chosen by coordinate search on the trial questions."""

    fit: Callable[[Log, Any], ScoringRecommender]
    start: Callable[[Log], Any]
    choices: Callable[[Log], dict[str, list[Any]]]
    settings: Any = field(default=None, init=False)

    @property
    def notes(self) -> list[str]:
        """What was chosen, for people."""
        return [f"chosen on validation: {self.settings}"]

    def prepare(self, task: Task) -> ScoringRecommender:
        train = task.validation.train
        self.settings, _ = coordinate_search(
            self.start(train),
            self.choices(train),
            lambda settings: trial_score(self.fit(train, settings), task),
            deadline=task.until(0.2),
        )
        return self.fit(train, self.settings)

    def finish(self, task: Task) -> ScoringRecommender:
        return self.fit(task.split.train, self.settings)


class RulesFit:
    """Fits rules, learning anew only where the settings change what is learned."""

    def __init__(self) -> None:
        self._log: Log | None = None
        self._learned: RulesRecommender | None = None

    def __call__(self, log: Log, settings: RuleSettings) -> RulesRecommender:
        if self._learned is not None and self._log is log:
            try:
                return RulesRecommender(self._learned.rules.weighed(settings))
            except ModelError:
                pass  # other rules are needed
        self._log, self._learned = log, RulesRecommender.fit(log, settings)
        return self._learned


def _rule_start(log: Log) -> RuleSettings:
    slots = next((slots for slots in (256, 128) if slots * log.n_items <= _RULE_SLOTS), 64)
    return RuleSettings(slots=slots, half_life_s=None)


def _rule_choices(log: Log) -> dict[str, list[Any]]:
    span = float(log.times.max() - log.times.min()) if log.has_times and len(log) else 0.0
    half_lives = [None, *(span * share for share in (1.0, 0.5, 0.25, 0.1, 0.03))] if span > 0 else [None]
    return {
        "backward": [0.0, 0.1, 0.3, 0.6],
        "half_life_s": half_lives,
        "distance_power": [1.0, 0.5, 0.75, 1.5],
        "window": [10, 5, 20],
        "norm": [0.5, 0.25, 0.75, 1.0],
        "recency_power": [1.0, 0.7, 1.4, 2.0],
        "popularity": [0.0, 0.05, 0.1, 0.2, 0.35],
    }


def _knn_choices(log: Log) -> dict[str, list[Any]]:
    return {
        "before": [0.5, 0.2, 1.0],
        "half_life": [0.5, 0.2, 2.0],
        "length_norm": [0.5, 0.0, 0.25],
        "match_decay": [3.0, 1.5, 6.0, 20.0],
        "query_decay": [2.0, 1.0, 4.0],
        "idf": [0.5, 1.0, 2.0],
        "popularity": [0.1, 0.0, 0.25],
    }


#: Recipes of the counting models by name.
COUNTING: dict[str, Callable[[], Recipe]] = {
    "popularity": lambda: Plain(Popularity.fit),
    "popularity-7d": lambda: Plain(RecentPopularity.fit),
    "popularity-decayed": lambda: Plain(Trending.fit),
    "item-to-item": lambda: Plain(ItemToItem.fit),
    "rules": lambda: Searched(RulesFit(), _rule_start, _rule_choices),
    "session-knn": lambda: Searched(SessionKnn.fit, lambda _: KnnSettings(), _knn_choices),
}

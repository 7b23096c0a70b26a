"""Asking a recommender the questions of a split: every item is ranked, for every question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.evaluation.bootstrap import bootstrap_means
from tsrec_models.evaluation.protocols import Questions, Split
from tsrec_models.evaluation.ranking_metrics import accuracy, catalog_coverage, gini, novelty, target_ranks
from tsrec_models.sequence.topk import exclude_scores, pack_ragged, select_topk
from tsrec_models.sequence.training_holdout import LONGEST_HISTORY

__all__ = ["Answers", "ScoringRecommender", "ask", "question_scores", "report"]

#: Scores held at once: 64 MB.
_CELLS = 16_000_000

#: Length of the lists kept for coverage, Gini and novelty.
_LIST = 10


class ScoringRecommender(Protocol):
    """A sequence recommender that can score every item; see `tsrec_models.base.SequenceRecommender`."""

    @property
    def n_items(self) -> int:
        """Items are 0 .. n_items - 1."""
        ...

    def encode(
        self, histories: Sequence[NDArray[np.int64]], times: Sequence[NDArray[np.float64]] | None = None
    ) -> NDArray[np.float32]: ...

    def scores(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of all items [batch, n_items]."""
        ...


@dataclass(frozen=True)
class Answers:
    """What a model said: the rank of each answer [questions], and its lists [questions, 10]."""

    ranks: NDArray[np.int64]
    lists: NDArray[np.int64]

    def figures(self) -> dict[str, float]:
        """Means of the metrics of `accuracy`."""
        return {name: float(values.mean()) for name, values in accuracy(self.ranks).items()}


def question_scores(model: ScoringRecommender, block: Questions, n_items: int) -> NDArray[np.float32]:
    """Scores [questions, n_items]; items the model does not know are at -inf."""
    asked = block.latest(LONGEST_HISTORY)
    scores = model.scores(model.encode(asked.histories, asked.times))
    if scores.shape[1] < n_items:
        unknown = np.full((len(scores), n_items - scores.shape[1]), -np.inf, dtype=np.float32)
        scores = np.hstack([scores, unknown])
    return np.ascontiguousarray(scores[:, :n_items], dtype=np.float32)


def ask(model: ScoringRecommender, split: Split) -> Answers:
    """Rank every item for every question of `split`.

    Raises ModelError if there is no question.
    """
    if not len(split):
        raise ModelError(f"protocol {split.protocol}: the log leaves no question to ask; it needs longer histories")
    n_items = split.log.n_items
    ranks, lists = np.empty(len(split), np.int64), np.empty((len(split), _LIST), np.int64)
    best = np.empty((len(split), _LIST), np.float32)
    size = max(1, min(1024, _CELLS // n_items))
    for number, block in enumerate(split.blocks(size)):
        rows = slice(number * size, number * size + len(block.targets))
        scores = question_scores(model, block, n_items)
        seen = block.histories if split.exclude_seen else [block.targets[:0]] * len(block.targets)
        indptr, excluded = pack_ragged(seen)
        ranks[rows] = target_ranks(scores, block.targets, indptr, excluded)
        exclude_scores(scores, 0, indptr, excluded)
        select_topk(scores, lists[rows], best[rows])
    return Answers(ranks, lists)


def report(answers: Answers, split: Split, *, seed: int = 0) -> dict[str, object]:
    """Figures, their 95 % intervals, and coverage, Gini and novelty of the lists of ten."""
    values = accuracy(answers.ranks)
    intervals = bootstrap_means(np.stack(list(values.values()), axis=1), split.users, seed=seed)
    popularity = np.bincount(split.train.items, minlength=split.log.n_items)
    return {
        **{name: round(float(column.mean()), 5) for name, column in values.items()},
        "intervals": {
            name: [round(float(low), 5), round(float(high), 5)]
            for name, (low, high) in zip(values, intervals, strict=True)
        },
        "coverage@10": round(catalog_coverage(answers.lists, split.log.n_items), 4),
        "gini@10": round(gini(answers.lists, split.log.n_items), 4),
        "novelty@10": round(novelty(answers.lists, popularity), 3),
        "questions": len(split),
        "cold": int((popularity[split.targets] == 0).sum()),
    }

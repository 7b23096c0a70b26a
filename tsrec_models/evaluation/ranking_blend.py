"""Learning the weights of a blend: a conditional logit (McFadden 1974) over the items that any member puts forward.

The members were fitted to what precedes the validation questions, so their evidence on these is as honest as it will
be in use. Each question's choice set is its answer and the best items of every member.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from tsrec_models.evaluation.protocols import Split
from tsrec_models.evaluation.ranking import ScoringRecommender
from tsrec_models.evaluation.ranking_metrics import reciprocal_gain
from tsrec_models.evaluation.ranking_models import Recipe, Task
from tsrec_models.sequence.blend import Blend
from tsrec_models.sequence.topk import exclude_scores, pack_ragged, select_topk
from tsrec_models.sequence.training_holdout import LONGEST_HISTORY

__all__ = ["BlendRecipe", "Choices", "choice_sets", "fit_weights"]

#: Items that each member puts forward for a question.
_NOMINEES = 60

#: Validation questions that weights are learned from at most.
_QUESTIONS = 6000

#: Scores held at once.
_CELLS = 8_000_000

#: Share of the time for preparing members. The rest is for the weights, and for networks to learn the validation
#: events: without that a network falls behind the counts, which learn them in a second, and the weights no longer fit.
_PREPARING_SHARE = 0.7

#: Pull of the common weights to equal ones, and of the gates' own weights to zero. The first only breaks ties between
#: members that say the same; the second makes a gate's own weight cost what a gain of a hundredth in log-likelihood is.
_RIDGE = 1e-4
_GATE_RIDGE = 1e-2


@dataclass(frozen=True)
class Choices:
    """Choice sets: the answer in the first column, -1 for no item."""

    ids: NDArray[np.int64]  # [questions, candidates]
    features: NDArray[np.float32]  # [questions, candidates, features]
    gates: NDArray[np.float64]  # [questions, gates]
    reachable: NDArray[np.bool_]  # [questions] whether any member put the answer forward
    users: NDArray[np.int64]  # [questions]

    def scores(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores [questions, candidates] under weights [gates, features]; -inf where there is no item."""
        row_weights = (self.gates @ weights).astype(np.float32)
        scores: NDArray[np.float64] = np.einsum("qcf,qf->qc", self.features, row_weights).astype(np.float64)
        scores[self.ids < 0] = -np.inf
        return scores

    def ndcg(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """NDCG at 20 of each question; an answer nobody put forward earns nothing."""
        scores = self.scores(weights)
        ranks = (scores[:, 1:] >= scores[:, :1]).sum(axis=1)
        return reciprocal_gain(ranks, 20) * self.reachable

    def select(self, rows: NDArray[Any]) -> Choices:
        """The choice sets of some questions."""
        return Choices(self.ids[rows], self.features[rows], self.gates[rows], self.reachable[rows], self.users[rows])


def choice_sets(blend: Blend, split: Split) -> Choices:
    """The choice sets of every question of `split`, with the evidence of the members of `blend`."""
    n_items = blend.n_items
    parts = []
    size = max(1, min(512, _CELLS // n_items))
    for number, block in enumerate(split.blocks(size)):
        asked = block.latest(LONGEST_HISTORY)
        state = blend.encode(asked.histories, asked.times)
        seen = block.histories if split.exclude_seen else [block.targets[:0]] * len(block.targets)
        indptr, excluded = pack_ragged(seen)
        own, *states = np.split(state, np.cumsum(blend.widths[:-1]), axis=1)
        nominees = []
        for member, part in zip(blend.members, states, strict=True):
            scores = blend.member_scores(member, part, None)
            exclude_scores(scores, 0, indptr, excluded)
            ids = np.empty((len(scores), _NOMINEES), np.int64)
            select_topk(scores, ids, np.empty(ids.shape, np.float32))
            nominees.append(ids)
        ids = np.hstack(nominees)
        reachable = (ids == block.targets[:, None]).any(axis=1)
        ids = _distinct(ids, block.targets)
        users = split.users[number * size : number * size + len(ids)]
        parts.append(Choices(ids, blend.features(state, ids), blend.gates(own), reachable, users))
    width = max(part.ids.shape[1] for part in parts)
    return Choices(
        np.concatenate([_padded(part.ids, width, -1) for part in parts]),
        np.concatenate([_padded(part.features, width, 0) for part in parts]),
        np.concatenate([part.gates for part in parts]),
        np.concatenate([part.reachable for part in parts]),
        np.concatenate([part.users for part in parts]),
    )


def _distinct(ids: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each row's target, then its other items once each, -1 for the rest; columns empty in every row are left out."""
    ids = np.sort(ids, axis=1)
    repeated = np.zeros(ids.shape, dtype=np.bool_)
    repeated[:, 1:] = ids[:, 1:] == ids[:, :-1]
    ids[repeated | (ids == targets[:, None])] = -1
    ids = -np.sort(-ids, axis=1)
    used = int((ids >= 0).sum(axis=1).max(initial=0))
    return np.hstack([targets[:, None], ids[:, :used]])


def _padded(array: NDArray[Any], width: int, value: int) -> NDArray[Any]:
    padding = [(0, 0), (0, width - array.shape[1])] + [(0, 0)] * (array.ndim - 2)
    return np.pad(array, padding, constant_values=value)


def fit_weights(choices: Choices, start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights [gates, features] of highest penalised likelihood, from the questions whose answer is reachable."""
    known = choices.select(choices.reachable)
    if not len(known.ids):
        return start
    empty = known.ids < 0
    pull = np.full(start.shape, _GATE_RIDGE)
    pull[0] = _RIDGE
    chosen = known.features[:, 0, :].astype(np.float64)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(start.shape)
        scores = known.scores(weights)
        best = scores.max(axis=1, keepdims=True)
        exponentials = np.where(empty, 0.0, np.exp(scores - best))
        total = exponentials.sum(axis=1, keepdims=True)
        value = float((np.log(total) + best - scores[:, :1]).mean())
        shares = (exponentials / total).astype(np.float32)
        slope = np.einsum("qc,qcf->qf", shares, known.features) - chosen  # [questions, features]
        away = weights - start
        gradient = known.gates.T @ slope / len(slope) + pull * away
        return value + 0.5 * float((pull * away**2).sum()), gradient.ravel()

    solution = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    weights: NDArray[np.float64] = solution.x.reshape(start.shape)
    return weights


def _each(
    members: dict[str, Recipe], task: Task, do: Callable[[Recipe, Task], ScoringRecommender]
) -> list[ScoringRecommender]:
    """What `do` makes of every member, the time that is left shared out evenly among those to come."""
    models = []
    for left, recipe in zip(range(len(members), 0, -1), members.values(), strict=True):
        models.append(do(recipe, task.hurried(1.0 / left)))
    return models


def _enough(recipe: Recipe, task: Task) -> bool:
    return bool(getattr(recipe, "enough", lambda _: True)(task))


@dataclass
class BlendRecipe:
    """Members prepared one by one, weights learned on the validation questions, members finished.

    `spare` members take only time that the others leave, and stay out where one of these was stopped by the clock.
    """

    members: dict[str, Recipe]
    spare: dict[str, Recipe] = field(default_factory=dict)
    weights: NDArray[np.float64] | None = field(default=None, init=False)
    _weighing: list[str] = field(default_factory=list, init=False)
    _left_out: list[str] = field(default_factory=list, init=False)

    def prepare(self, task: Task) -> Blend:
        self._leave_out(task)
        preparing = task.hurried(_PREPARING_SHARE)
        models = _each(self.members, preparing, lambda recipe, own: recipe.prepare(own))
        if self.spare and not any(getattr(recipe, "out_of_time", False) for recipe in self.members.values()):
            models += _each(self.spare, preparing, lambda recipe, own: recipe.prepare(own))
            self.members |= self.spare
        blend = Blend(models, None, np.bincount(task.validation.train.items, minlength=task.split.log.n_items))
        choices = choice_sets(blend, task.validation.sample(_QUESTIONS, task.seed))
        self.weights = blend.weights = self._choose(choices, blend.weights)
        return blend

    def finish(self, task: Task) -> Blend:
        models = _each(self.members, task, lambda recipe, own: recipe.finish(own))
        support = np.bincount(task.split.train.items, minlength=task.split.log.n_items)
        return Blend(models, self.weights, support)

    @property
    def notes(self) -> list[str]:
        """What became of the members, and how the weights were found, for people."""
        return self._notes_of_members() + self._weighing

    def _leave_out(self, task: Task) -> None:
        """Go on without members that have nothing to learn from; a member that says so has an `enough` to ask."""
        everyone = self.members | self.spare
        self._left_out = [name for name, recipe in everyone.items() if not _enough(recipe, task)]
        self.members = {name: recipe for name, recipe in self.members.items() if name not in self._left_out}
        self.spare = {name: recipe for name, recipe in self.spare.items() if name not in self._left_out}

    def _notes_of_members(self) -> list[str]:
        left_out = [f"{name}: left out, the log is too small for it" for name in self._left_out]
        return left_out + [
            f"{name}: {note}" for name, recipe in self.members.items() for note in getattr(recipe, "notes", [])
        ]

    def _choose(self, choices: Choices, start: NDArray[np.float64]) -> NDArray[np.float64]:
        """Learned weights, unless cross-validation says that a member alone, or equal weights, do better."""
        rivals = {"equal weights": start}
        for place, name in enumerate(self.members):
            alone = np.zeros_like(start)
            alone[0, 2 * place] = 1.0
            rivals[name] = alone
        figures = {name: float(choices.ndcg(weights).mean()) for name, weights in rivals.items()}
        first = choices.users % 2 == 0  # by user: questions of one user are alike
        learned = np.concatenate(
            [choices.select(~half).ndcg(fit_weights(choices.select(half), start)) for half in (first, ~first)]
        )
        figures["blend, cross-validated"] = float(learned.mean())
        self._weighing = [f"validation ndcg@20 {value:.4f} {name}" for name, value in figures.items()]
        best = max(rivals, key=lambda name: figures[name])
        if figures[best] > figures["blend, cross-validated"]:
            self._weighing.append(f"kept {best}: the learned weights do not do better")
            return rivals[best]
        return fit_weights(choices, start)

"""Test, then learn, in the order things happened: what a model that learns in the stream is worth (Dawid 1984).

Every event after a user's first is a question, asked before anything of it is learned. There is no training part: the
figures start at nothing and show how fast a model finds its feet, and whether it follows when habits change.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.evaluation.ranking_metrics import accuracy, target_ranks
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.topk import pack_ragged

__all__ = ["Learner", "Prequential", "prequential", "sliding_mean"]


class Learner(Protocol):
    """A recommender that learns from events as they come."""

    def learn(self, log: Log, rows: NDArray[np.int64]) -> None: ...

    def encode(
        self, histories: Sequence[NDArray[np.int64]], times: Sequence[NDArray[np.float64]] | None = None
    ) -> NDArray[np.float32]: ...

    def scores(self, state: NDArray[np.float32]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Prequential:
    """Rank of each answer, 0 the best, in the order asked, the users who were asked, and events gone through."""

    ranks: NDArray[np.int64]  # [questions]
    users: NDArray[np.int64]  # [questions]
    events: int

    def figures(self) -> dict[str, float]:
        """Means over all questions."""
        return {name: float(values.mean()) for name, values in accuracy(self.ranks).items()}

    def curve(self, metric: str, window: int, points: int = 20) -> list[tuple[int, float]]:
        """The mean of the last `window` questions, at `points` moments: (questions so far, mean)."""
        means = sliding_mean(accuracy(self.ranks)[metric], window)
        places = np.unique(np.linspace(0, len(means) - 1, points).astype(np.int64))
        return [(int(place) + 1, float(means[place])) for place in places]


def prequential(
    model: Learner,
    log: Log,
    *,
    batch: int = 1,
    exclude_seen: bool = False,
    longest: int = 200,
    deadline: float | None = None,
) -> Prequential:
    """Ask and teach `model` every event of `log` in order of time.

    With a `batch` of more than one, that many events are asked before they are learned, as a stream of micro-batches
    would. An item the model has never met ranks behind all others. Histories are the user's `longest` latest events,
    those of the same batch included: they are the user's state, not the model's knowledge. What lies before `deadline`
    (monotonic seconds) is asked, the rest is not.

    Raises ModelError if the log has no user with two events.
    """
    if batch < 1:
        raise ModelError(f"prequential: a batch must hold at least one event, not {batch}")
    order = log.time_order()
    starts = log.indptr[log.users]
    ranks, users = [], []
    done = 0
    for first in range(0, len(order), batch):
        rows = order[first : first + batch]
        asked = rows[rows > starts[rows]]
        if len(asked):
            spans = [(max(starts[row], row - longest), row) for row in asked]
            histories = [log.items[a:b] for a, b in spans]
            times = [log.times[a:b] for a, b in spans] if log.has_times else None
            scores = _all_items(model.scores(model.encode(histories, times)), log.n_items)
            indptr, seen = pack_ragged(histories if exclude_seen else [rows[:0]] * len(asked))
            ranks.append(target_ranks(scores, log.items[asked], indptr, seen))
            users.append(log.users[asked])
        model.learn(log, rows)
        done += len(rows)
        if ranks and deadline is not None and time.monotonic() > deadline:
            break
    if not ranks:
        raise ModelError("prequential: the log has no user with two events, there is nothing to ask")
    return Prequential(np.concatenate(ranks), np.concatenate(users), done)


def sliding_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Mean of the last `window` values (fewer at the beginning) at each place: [n]."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - window)
    means: NDArray[np.float64] = (sums[ends] - sums[begins]) / (ends - begins)
    return means


def _all_items(scores: NDArray[np.float32], n_items: int) -> NDArray[np.float32]:
    missing = n_items - scores.shape[1]
    if missing > 0:
        scores = np.hstack([scores, np.full((len(scores), missing), -np.inf, dtype=np.float32)])
    return np.ascontiguousarray(scores, dtype=np.float32)

"""What a model is judged by while it trains: held-out next events, ranked against every item."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.preparation.log import Log

__all__ = ["LONGEST_HISTORY", "Holdout", "encoded_blocks", "leave_last_out", "ndcg", "target_ranks", "validate"]

#: Latest events of a history that a question is asked after. Networks learn from windows of 200; without a limit a
#: robot's hundred thousand events would be gone through once for each event it is asked for.
LONGEST_HISTORY = 500

#: Users scored at once in validation.
_BLOCK = 512


class _Scorer(Protocol):
    def encode(
        self, histories: list[NDArray[np.int64]], times: list[NDArray[np.float64]] | None = None
    ) -> NDArray[np.float32]: ...

    def scores(self, state: NDArray[np.float32], at: NDArray[np.float64] | None = None) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Holdout:
    """Histories and the item that came next: targets [users], target_times [users] epoch seconds or None.

    With `exclude_seen`, items of the history leave the ranking (never the target itself).
    """

    histories: list[NDArray[np.int64]]
    times: list[NDArray[np.float64]] | None
    targets: NDArray[np.int64]
    exclude_seen: bool = True

    def __len__(self) -> int:
        return len(self.histories)

    def repeats(self) -> int:
        """How many questions ask for an item of the user's own past."""
        return sum(bool((past == target).any()) for past, target in zip(self.histories, self.targets, strict=True))

    def sample(self, n: int, seed: int) -> Holdout:
        """At most `n` of the users, drawn at random."""
        if len(self) <= n:
            return self
        rows = np.sort(np.random.default_rng(seed).choice(len(self), n, replace=False))
        times = None if self.times is None else [self.times[row] for row in rows]
        return Holdout([self.histories[row] for row in rows], times, self.targets[rows], self.exclude_seen)


def leave_last_out(log: Log, *, exclude_seen: bool = True, min_length: int = 3) -> tuple[Log, Holdout]:
    """The log without the last event of each user of at least `min_length` events, and those events as a holdout."""
    rows = log.indptr[1:][log.lengths >= min_length] - 1
    keep = np.ones(len(log), bool)
    keep[rows] = False
    train = log.select(keep)
    users = log.users[rows]
    histories = [train.items[train.indptr[user] : train.indptr[user + 1]] for user in users]
    times = [train.times[train.indptr[user] : train.indptr[user + 1]] for user in users] if log.has_times else None
    return train, Holdout(histories, times, log.items[rows], exclude_seen)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _ranks(
    scores: NDArray[np.float32], targets: NDArray[np.int64], seen_indptr: NDArray[np.int64], seen: NDArray[np.int64]
) -> NDArray[np.int64]:
    ranks = np.zeros(len(targets), np.int64)
    for row in range(len(targets)):
        line = scores[row]
        target = targets[row]
        value = line[target]
        for j in range(seen_indptr[row], seen_indptr[row + 1]):
            if seen[j] != target:
                line[seen[j]] = -np.inf
        above = 0
        for j in range(len(line)):
            above += line[j] >= value
        ranks[row] = above - 1
    return ranks


def target_ranks(
    scores: NDArray[np.float32], targets: NDArray[np.int64], seen: list[NDArray[np.int64]] | None
) -> NDArray[np.int64]:
    """Rank (0 is best) of `targets` [users] in `scores` [users, n_items]; ties count against the target.

    Items in `seen` do not take part, except the target; `scores` is overwritten.
    """
    indptr = np.zeros(len(targets) + 1, np.int64)
    items = np.empty(0, np.int64)
    if seen is not None:
        np.cumsum([len(part) for part in seen], out=indptr[1:])
        items = np.concatenate(seen) if len(seen) else items
    ranks: NDArray[np.int64] = _ranks(scores, targets, indptr, items)
    return ranks


def encoded_blocks(
    model: _Scorer, holdout: Holdout
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64], list[NDArray[np.int64]] | None]]:
    """States [block, state_width], targets [block] and items that leave the ranking, of a holdout's users."""
    for first in range(0, len(holdout), _BLOCK):
        rows = slice(first, first + _BLOCK)
        histories = holdout.histories[rows]
        times = None if holdout.times is None else [part[-LONGEST_HISTORY:] for part in holdout.times[rows]]
        state = model.encode([part[-LONGEST_HISTORY:] for part in histories], times)
        yield state, holdout.targets[rows], histories if holdout.exclude_seen else None


def ndcg(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Normalised discounted cumulative gain at 10 of one relevant item each at `ranks` (0 is best), any shape."""
    gains: NDArray[np.float64] = np.where(ranks < 10, 1.0 / np.log2(ranks + 2.0), 0.0)
    return gains


def validate(model: _Scorer, holdout: Holdout) -> dict[str, float]:
    """Full-ranking metrics of a holdout: ndcg@10, hr@10, mrr@20, recall@20."""
    if not len(holdout):
        raise ModelError("validation needs users with at least three events; give a holdout or a longer log")
    ranks = [
        target_ranks(model.scores(state), targets, seen) for state, targets, seen in encoded_blocks(model, holdout)
    ]
    rank = np.concatenate(ranks)
    return {
        "ndcg@10": float(ndcg(rank).mean()),
        "hr@10": float((rank < 10).mean()),
        "mrr@20": float(np.where(rank < 20, 1.0 / (rank + 1.0), 0.0).mean()),
        "recall@20": float((rank < 20).mean()),
    }

"""Why an item was recommended: what each past item adds to its score, and a test that such reasons are true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.sequence.rules import Rules

__all__ = ["DeletionTest", "Reason", "deletion_test", "leave_one_out", "rule_reasons", "strongest"]

#: Histories scored at once.
_BLOCK = 512

#: A share below this is as good as none; it keeps the logarithm of a count of zero finite.
_LEAST = 1e-9


class _Model(Protocol):
    def encode(
        self, histories: Sequence[NDArray[np.int64]], times: Sequence[NDArray[np.float64]] | None = None
    ) -> NDArray[np.float32]: ...

    def scores(self, state: NDArray[np.float32]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Reason:
    """One past item behind a recommendation: `share` is its part of all that speaks for the item, in (0, 1]."""

    item: int
    place: int  # in the history, 0 the earliest
    contribution: float
    share: float


def rule_reasons(
    rules: Rules, history: NDArray[np.int64], target: int, *, now: float | None = None, most: int = 3
) -> list[Reason]:
    """The strongest reasons by the rules. Their contributions are exact: over all past items they sum to the score."""
    latest = history[::-1][: rules.settings.window]
    moment = None if now is None else np.array([now])
    parts = rules.contributions(latest[None], np.array([[target]]), moment)[0, 0]
    contributions = np.zeros(len(history))
    contributions[len(history) - len(latest) :] = parts[::-1]
    return strongest(history, contributions, most)


def leave_one_out(
    model: _Model,
    history: NDArray[np.int64],
    targets: NDArray[np.int64],
    *,
    times: NDArray[np.float64] | None = None,
    latest: int = 30,
) -> NDArray[np.float64]:
    """What each past item adds to the log-share of each target: [targets, history], by leaving it out.

    All histories with one of the `latest` items left out are encoded in one batch. The log-softmax is compared, not
    the score: a network may raise all scores alike, which speaks for nothing. Earlier items count 0.
    """
    if not len(history):
        return np.zeros((len(targets), 0))
    places = np.arange(max(0, len(history) - latest), len(history))
    shortened = [np.delete(history, place) for place in places]
    stamps = None if times is None else [times, *(np.delete(times, place) for place in places)]
    shares = _log_shares(model, [history, *shortened], stamps)[:, targets]
    out = np.zeros((len(targets), len(history)))
    out[:, places] = (shares[:1] - shares[1:]).T
    return out


def strongest(history: NDArray[np.int64], contributions: NDArray[np.float64], most: int = 3) -> list[Reason]:
    """The `most` past items that speak for the target, strongest first; what speaks against it is no reason."""
    total = contributions[contributions > 0].sum()
    order = np.argsort(-contributions, kind="stable")[:most]
    return [
        Reason(int(history[place]), int(place), float(contributions[place]), float(contributions[place] / total))
        for place in order
        if contributions[place] > 0
    ]


@dataclass(frozen=True)
class DeletionTest:
    """Mean fall of the target's log-share after deleting 1, 2, ... past items: the named ones, and random ones."""

    named: NDArray[np.float64]  # [most]
    random: NDArray[np.float64]  # [most]
    cases: int

    @property
    def holds(self) -> bool:
        """Whether deleting what was named hurts more than deleting at random, at every step."""
        return bool((self.named > self.random).all())


def deletion_test(
    model: _Model,
    cases: Sequence[tuple[NDArray[np.int64], int, NDArray[np.float64]]],
    *,
    most: int = 3,
    seed: int = 0,
) -> DeletionTest:
    """Delete the past items that reasons name, against as many drawn at random (Samek et al. 2017).

    `cases` are (history, target, contributions [history]). Histories shorter than `most` + 1 items are left out.

    Raises ModelError if none is left.
    """
    rng = np.random.default_rng(seed)
    histories: list[NDArray[np.int64]] = []
    targets: list[int] = []
    for history, target, contributions in cases:
        if len(history) <= most:
            continue
        named, drawn = np.argsort(-contributions, kind="stable"), rng.permutation(len(history))
        shorter = [np.delete(history, order[:n]) for order in (named, drawn) for n in range(1, most + 1)]
        histories += [history, *shorter]
        targets += [target] * (1 + 2 * most)
    if not targets:
        raise ModelError(f"the deletion test needs histories of more than {most} items")
    shares = np.empty(len(targets))
    for first in range(0, len(targets), _BLOCK):
        block = _log_shares(model, histories[first : first + _BLOCK])
        shares[first : first + _BLOCK] = block[np.arange(len(block)), targets[first : first + _BLOCK]]
    values = shares.reshape(-1, 1 + 2 * most)
    falls = (values[:, :1] - values[:, 1:]).mean(axis=0)
    return DeletionTest(falls[:most], falls[most:], len(values))


def _log_shares(
    model: _Model, histories: Sequence[NDArray[np.int64]], times: Sequence[NDArray[np.float64]] | None = None
) -> NDArray[np.float64]:
    """Logarithm of each item's share [batch, n_items]: log-softmax of logits, part of the sum of counts."""
    scores = model.scores(model.encode(histories, times)).astype(np.float64)
    if getattr(model, "scores_are_counts", False):
        shares: NDArray[np.float64] = np.log(scores / np.maximum(scores.sum(axis=1, keepdims=True), 1e-30) + _LEAST)
        return shares
    shares = scores - scores.max(axis=1, keepdims=True)
    shares -= np.log(np.exp(shares).sum(axis=1, keepdims=True))
    return shares

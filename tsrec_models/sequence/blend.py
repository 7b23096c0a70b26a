"""A blend of recommenders: their evidence for each item, added up with weights learned on validation questions."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.sequence.blend_kernels import add_evidence, evidence_at, row_statistics
from tsrec_models.sequence.dense_topk import dense_topk
from tsrec_models.sequence.intervals import CLOCK_WIDTH
from tsrec_models.sequence.recent_items import RecentItems

__all__ = ["Blend"]

#: Latest items that a blend itself remembers, to know what is a repeat.
_RECENT = 30

#: Features of an item that stands in the latest items: that it does, that it is the very last, and 1 / its place.
_REPEAT_FEATURES = 3

#: Gates: the weights of a row are those of all, plus those of its history's length, plus those of how often its last
#: item was met in training. Edges are the smallest value of each class after the first.
_LENGTH_EDGES = (1, 2, 4, 10)
_SUPPORT_EDGES = (1, 5, 50)
_GATES = 1 + len(_LENGTH_EDGES) + 1 + len(_SUPPORT_EDGES) + 1


class _Recent(RecentItems):
    """The blend's own part of the state; it scores nothing."""

    name: ClassVar[str] = "blend"


class Blend:
    """score(item) = sum over members of weights x evidence, + weights x repeat features.

    `weights` [gates, features]: two features a member (see `blend_kernels`) and three of repeats. A row's weights are
    the sum of the rows of its gates: always the first, one of the history's length, one of the last item's support.
    State row: the blend's own latest items, then the members' states one after the other.
    """

    name: ClassVar[str] = "blend"
    scores_are_counts: ClassVar[bool] = False

    def __init__(self, members: Sequence[Any], weights: NDArray[np.float64] | None, support: NDArray[np.int64]) -> None:
        if not members:
            raise ModelError("blend: at least one member is needed")
        self.members = list(members)
        self.n_items = max(member.n_items for member in members)
        features = self.n_features(len(members))
        if weights is None:  # everyone's word counts alike
            weights = np.zeros((_GATES, features))
            weights[0, : 2 * len(members) : 2] = 1.0 / len(members)
        if weights.shape != (_GATES, features):
            raise ModelError(f"blend: weights of shape {weights.shape}, but {(_GATES, features)} are needed")
        self.weights = weights
        self.support = np.asarray(support, dtype=np.int64)
        self._recent = _Recent(self.n_items, _RECENT)
        self.widths = [self._recent.state_width, *(int(member.state_width) for member in members)]
        self.state_width = sum(self.widths)

    @staticmethod
    def n_features(members: int) -> int:
        """Features of an item under so many members."""
        return 2 * members + _REPEAT_FEATURES

    # The interface of the family

    def initial_state(self, n: int) -> NDArray[np.float32]:
        """State of `n` users without events: [n, state_width]."""
        return np.hstack([part.initial_state(n) for part in self._parts])

    def step(
        self, state: NDArray[np.float32], items: NDArray[np.int64], times: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """New state [batch, state_width] after one event each: `items` [batch], `times` [batch] epoch seconds."""
        parts = zip(self._parts, self._split(state), strict=True)
        return np.hstack([part.step(own, items, times) for part, own in parts])

    def encode(
        self, histories: Sequence[NDArray[np.int64]], times: Sequence[NDArray[np.float64]] | None = None
    ) -> NDArray[np.float32]:
        """State [batch, state_width] of whole histories; without `times`, events are one second apart."""
        return np.hstack([part.encode(histories, times) for part in self._parts])

    def scores(self, state: NDArray[np.float32], at: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
        """Scores of all items [batch, n_items]; `at` [batch] is when the list is asked for."""
        own, *states = self._split(state)
        weights = self.gates(own) @ self.weights  # [batch, features]
        out = np.zeros((len(state), self.n_items), dtype=np.float32)
        for column, (member, part) in enumerate(zip(self.members, states, strict=True)):
            scores = self.member_scores(member, part, at)
            pair = np.ascontiguousarray(weights[:, 2 * column : 2 * column + 2], dtype=np.float32)
            add_evidence(scores, row_statistics(scores, _counts(member)), _counts(member), pair, out)
        rows, items, features = self._repeats(own)
        out[rows, items] += (features * weights[rows, -_REPEAT_FEATURES:]).sum(axis=1).astype(np.float32)
        return out

    def topk(
        self,
        state: NDArray[np.float32],
        k: int,
        exclude: Sequence[NDArray[np.int64]] | None = None,
        at: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The `k` best items and scores, both [batch, k], best first; see `SequenceRecommender.topk`."""
        self._split(state)
        return dense_topk(self.scores, self.n_items, state, k, exclude, at)

    # What the fit of the weights needs

    def member_scores(
        self, member: Any, state: NDArray[np.float32], at: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        """One member's scores [batch, n_items]; items it does not know have no evidence."""
        scores = member.scores(state) if at is None else member.scores(state, at)
        missing = self.n_items - scores.shape[1]
        if missing > 0:
            fill = 0.0 if _counts(member) else -np.inf
            scores = np.hstack([scores, np.full((len(scores), missing), fill, dtype=np.float32)])
        return np.ascontiguousarray(scores, dtype=np.float32)

    def features(self, state: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features [batch, candidates, features] of the items `ids` [batch, candidates], -1 for none."""
        own, *states = self._split(state)
        out = np.zeros((*ids.shape, self.n_features(len(self.members))), dtype=np.float32)
        for column, (member, part) in enumerate(zip(self.members, states, strict=True)):
            scores = self.member_scores(member, part, None)
            evidence_at(scores, row_statistics(scores, _counts(member)), _counts(member), ids, 2 * column, out)
        for row, item, values in zip(*self._repeats(own), strict=True):
            out[row, ids[row] == item, -_REPEAT_FEATURES:] = values
        return out

    def gates(self, own: NDArray[np.float32]) -> NDArray[np.float64]:
        """Which rows of the weights apply to each state, ones and zeros [batch, gates]."""
        recent = own[:, CLOCK_WIDTH : CLOCK_WIDTH + _RECENT].astype(np.int64)
        length = np.searchsorted(_LENGTH_EDGES, (recent >= 0).sum(axis=1), side="right")
        known = (recent[:, 0] >= 0) & (recent[:, 0] < len(self.support))
        support = np.where(known, self.support[np.where(known, recent[:, 0], 0)] if len(self.support) else 0, 0)
        out = np.zeros((len(own), _GATES))
        out[:, 0] = 1.0
        rows = np.arange(len(own))
        out[rows, 1 + length] = 1.0
        out[rows, 2 + len(_LENGTH_EDGES) + np.searchsorted(_SUPPORT_EDGES, support, side="right")] = 1.0
        return out

    # Storage

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Weights, support and every member's arrays, the latter named by the member's place."""
        out: dict[str, NDArray[Any]] = {"weights": self.weights, "support": self.support}
        for place, member in enumerate(self.members):
            out |= {f"{place}/{name}": array for name, array in member.arrays().items()}
        return out

    def config(self) -> dict[str, Any]:
        """Kinds and configs of the members: plain values."""
        return {"members": [{"kind": member.name, "config": member.config()} for member in self.members]}

    @classmethod
    def from_arrays(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], device: str = "auto") -> Self:
        """The blend of an artifact's config and arrays.

        Raises ModelError if a member's kind is not known.
        """
        from tsrec_models.artifacts import KINDS

        members = []
        for place, entry in enumerate(config["members"]):
            if entry["kind"] not in KINDS:
                raise ModelError(f"blend: no model kind {entry['kind']!r}")
            module, name = KINDS[entry["kind"]]
            prefix = f"{place}/"
            own = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
            members.append(getattr(importlib.import_module(module), name).from_arrays(entry["config"], own, device))
        return cls(members, arrays["weights"], arrays["support"])

    # Inside

    @property
    def _parts(self) -> list[Any]:
        return [self._recent, *self.members]

    def _split(self, state: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        if state.ndim != 2 or state.shape[1] != self.state_width:
            raise ModelError(f"blend: state must be [batch, {self.state_width}], got {list(state.shape)}")
        return np.split(state, np.cumsum(self.widths[:-1]), axis=1)

    def _repeats(self, own: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Rows, items and features [n, 3] of the latest items, each item once a row at its latest place."""
        recent = own[:, CLOCK_WIDTH : CLOCK_WIDTH + _RECENT].astype(np.int64)
        rows, places = np.nonzero((recent >= 0) & (recent < self.n_items))
        items = recent[rows, places]
        _, first = np.unique(rows * self.n_items + items, return_index=True)  # places ascend: the latest comes first
        rows, places, items = rows[first], places[first], items[first]
        return rows, items, np.stack([np.ones(len(rows)), places == 0, 1.0 / (1.0 + places)], axis=1)


def _counts(member: Any) -> bool:
    return bool(getattr(member, "scores_are_counts", False))

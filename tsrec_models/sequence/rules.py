"""Decayed sequential rules: after `a`, people take `b`. They learn from every event as it comes, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tsrec_models.base import ModelError
from tsrec_models.sequence.rules_kernels import (
    EMPTY,
    RuleTable,
    Weighing,
    contribute,
    learn,
    rank_rows,
    score_rows,
)
from tsrec_models.sequence.topk import pack_ragged

__all__ = ["EMPTY", "RuleSettings", "RuleTable", "Rules"]

_DAY_S = 86400.0

#: Settings that weigh rules, but do not make them.
_SCORING = ("recency_power", "shrink", "norm", "popularity")


@dataclass(frozen=True)
class RuleSettings:
    """What a rule is and how rules are weighed into a score.

    Learning: an event makes a rule from each of the `window` items before it; at distance d the rule gains
    d^-`distance_power`, which halves every `half_life_s` seconds (None: never). `backward` is what the reverse rule
    gains besides, as a share: above zero where order says little. A row holds at most `slots` rules.

    Scoring: the j-th latest of the last `window` items counts j^-`recency_power`; a row's weights are divided by
    (its total + `shrink`)^`norm`, 1 making them confidences; a target's score by (1 + what it receives)^`popularity`.
    """

    window: int = 10
    slots: int = 64
    distance_power: float = 1.0
    recency_power: float = 1.0
    half_life_s: float | None = 30 * _DAY_S
    backward: float = 0.0
    shrink: float = 1.0
    norm: float = 0.5
    popularity: float = 0.0

    def __post_init__(self) -> None:
        if self.window < 1 or self.slots < 1:
            raise ModelError(f"rules: window {self.window} and slots {self.slots} must be at least 1")
        if self.half_life_s is not None and not self.half_life_s > 0:
            raise ModelError(f"rules: half-life {self.half_life_s} s must be positive, or None for no decay")
        if self.backward < 0 or self.shrink < 0:
            raise ModelError("rules: backward and shrink must not be negative")


class Rules:
    """Rules of up to `n_items` items, growing as higher item indices come.

    >>> rules = Rules(4, RuleSettings(half_life_s=None))
    >>> rules.update([[0, EMPTY], [1, 0]], [1, 2], [10.0, 20.0])  # one user took 0, 1, 2
    >>> rules.topk([[0, EMPTY]], 2)[0].tolist()
    [[1, 2]]
    """

    def __init__(self, n_items: int, settings: RuleSettings | None = None) -> None:
        self.settings = settings or RuleSettings()
        self._rate = 0.0 if self.settings.half_life_s is None else 1.0 / self.settings.half_life_s
        distances = np.arange(1, self.settings.window + 1, dtype=np.float64)
        self._distance_weights = (distances**-self.settings.distance_power).astype(np.float32)
        self._weighing = Weighing(
            (distances**-self.settings.recency_power).astype(np.float32),
            self._rate,
            float(self.settings.shrink),
            float(self.settings.norm),
            float(self.settings.popularity),
        )
        self.n_items = 0
        self.latest = 0.0  # time of the latest event, epoch seconds
        self._table = _empty_table(0, self.settings.slots)
        self._scratch = np.zeros(0, dtype=np.float32)
        self.grow(n_items)

    def grow(self, n_items: int) -> None:
        """Make room for items 0 .. n_items - 1. Capacity doubles, so that growing item by item stays cheap."""
        capacity = len(self._table.ids)
        if n_items > capacity:
            bigger = _empty_table(max(n_items, capacity + capacity // 2), self.settings.slots)
            _write(bigger, slice(0, capacity), self._table)
            self._table = bigger
            self._scratch = np.zeros(len(bigger.ids), dtype=np.float32)
        self.n_items = max(self.n_items, n_items)

    @property
    def nbytes(self) -> int:
        """Memory of the table; it depends on the number of items only, never on the number of events."""
        return sum(column.nbytes for column in self._table)

    def update(self, previous: ArrayLike, items: ArrayLike, times: ArrayLike) -> None:
        """Learn from `items` [n] taken at `times` [n] (epoch seconds), in the order they happened.

        `previous` [n, m]: what the same user took before, the latest first, EMPTY-padded; only the first `window`
        columns count. Rows that change: `items` and those of `previous`.
        """
        previous, items = _matrix(previous), np.ascontiguousarray(items, dtype=np.int64)
        times = np.ascontiguousarray(times, dtype=np.float64)
        if not len(previous) == len(items) == len(times):
            raise ModelError(f"rules: {len(previous)} histories, {len(items)} items, {len(times)} times do not fit")
        if len(items) == 0:
            return
        if items.min() < 0 or previous.min(initial=0) < EMPTY:
            raise ModelError("rules: an item index is negative")
        self.grow(int(max(items.max(), previous.max(initial=EMPTY))) + 1)
        self.latest = max(self.latest, float(times.max()))
        learn(previous, items, times, self._distance_weights, float(self.settings.backward), self._rate, self._table)

    def scores(self, recent: ArrayLike, now: ArrayLike | None = None) -> NDArray[np.float32]:
        """Scores [batch, n_items] for the histories `recent` [batch, m], the latest first, EMPTY-padded.

        `now` [batch] epoch seconds weighs rules of different age; without it, the time of the latest event (after an
        import, the latest landmark). Items that no rule names score 0.
        """
        recent = self._known(recent)
        out = np.zeros((len(recent), self.n_items), dtype=np.float32)
        score_rows(recent, self._now(now, len(recent)), self._weighing, self._table, out)
        return out

    def topk(
        self,
        recent: ArrayLike,
        k: int,
        exclude: Sequence[NDArray[np.int64]] | None = None,
        now: ArrayLike | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The `k` best items and scores, both [batch, k], best first; -1 and -inf where the rules name no more."""
        recent = self._known(recent)
        if exclude is None:
            indptr, excluded = np.zeros(len(recent) + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)
        else:
            indptr, excluded = pack_ragged(exclude)
        top = np.empty((len(recent), k), dtype=np.int64)
        best = np.empty((len(recent), k), dtype=np.float32)
        touched = np.empty(recent.shape[1] * self.settings.slots, dtype=np.int32)
        rank_rows(
            recent,
            self._now(now, len(recent)),
            indptr,
            excluded,
            self._weighing,
            self._table,
            self._scratch,
            touched,
            top,
            best,
        )
        return top, best

    def contributions(self, recent: ArrayLike, targets: ArrayLike, now: ArrayLike | None = None) -> NDArray[np.float32]:
        """What each past item adds to the scores of `targets` [batch, t]: [batch, t, m]; the sums are the scores."""
        recent, targets = self._known(recent), _matrix(targets)
        out = np.zeros((*targets.shape, recent.shape[1]), dtype=np.float32)
        contribute(recent, self._now(now, len(recent)), targets, self._weighing, self._table, out)
        return out

    def popularity(self, now: float | None = None) -> NDArray[np.float32]:
        """What each item receives from all rules, decayed to `now` (default: the latest event): [n_items]."""
        received = self._table.totals[: self.n_items, 1]
        if self._rate:
            ages = (self.latest if now is None else now) - self._table.landmarks[: self.n_items]
            received = np.where(np.isnan(ages), 0.0, received * 2.0 ** (-np.nan_to_num(ages) * self._rate))
        return received.astype(np.float32)

    def rules_of(self, item: int) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """The rules of one item, strongest first: consequents, weights, and by how much a weight may be too high."""
        held = self._table.ids[item] != EMPTY
        order = np.argsort(-self._table.weights[item, held], kind="stable")
        return (
            self._table.ids[item, held][order].astype(np.int64),
            self._table.weights[item, held][order],
            self._table.errors[item, held][order],
        )

    def weighed(self, settings: RuleSettings) -> Rules:
        """The same rules, scored by other settings: a view that shares the table, for the search for settings.

        Raises ModelError where `settings` would have learned other rules.
        """
        if replace(settings, **{name: getattr(self.settings, name) for name in _SCORING}) != self.settings:
            raise ModelError("rules: settings that change what is learned need rules learned anew")
        other = Rules(0, settings)
        other.n_items, other.latest = self.n_items, self.latest
        other._table, other._scratch = self._table, self._scratch
        return other

    def export_rows(self, rows: ArrayLike) -> RuleTable:
        """Copies of the rows of some items, to be written to a changelog."""
        index, table = np.asarray(rows, dtype=np.int64), self._table
        return RuleTable(
            table.ids[index], table.weights[index], table.errors[index], table.totals[index], table.landmarks[index]
        )

    def import_rows(self, rows: ArrayLike, data: RuleTable) -> None:
        """Put exported rows back; the table is then exactly as it was."""
        index = np.asarray(rows, dtype=np.int64)
        if data.ids.shape != (len(index), self.settings.slots):
            raise ModelError(f"rules: rows of shape {data.ids.shape} do not fit {len(index)} x {self.settings.slots}")
        if len(index):
            self.grow(int(index.max()) + 1)
        _write(self._table, index, data)
        self.latest = max(self.latest, float(np.nanmax(data.landmarks, initial=0.0)))

    def _now(self, now: ArrayLike | None, n: int) -> NDArray[np.float64]:
        if now is not None:
            return np.ascontiguousarray(now, dtype=np.float64)
        return np.full(n, self.latest)

    def _known(self, recent: ArrayLike) -> NDArray[np.int64]:
        """Histories without items the table has no row for: they are pushed out, the later ones move up."""
        recent = _matrix(recent)
        if recent.size and recent.max() >= self.n_items:
            unknown = recent >= self.n_items
            order = np.argsort(unknown, axis=1, kind="stable")
            recent = np.take_along_axis(np.where(unknown, EMPTY, recent), order, axis=1)
        return recent


def _matrix(values: ArrayLike) -> NDArray[np.int64]:
    matrix = np.ascontiguousarray(values, dtype=np.int64)
    if matrix.ndim != 2:
        raise ModelError(f"rules: a matrix [batch, m] was expected, got shape {matrix.shape}")
    return matrix


def _empty_table(n_items: int, slots: int) -> RuleTable:
    return RuleTable(
        np.full((n_items, slots), EMPTY, dtype=np.int32),
        np.zeros((n_items, slots), dtype=np.float32),
        np.zeros((n_items, slots), dtype=np.float32),
        np.zeros((n_items, 2), dtype=np.float64),
        np.full(n_items, np.nan),
    )


def _write(table: RuleTable, rows: NDArray[np.int64] | slice, data: RuleTable) -> None:
    table.ids[rows] = data.ids
    table.weights[rows] = data.weights
    table.errors[rows] = data.errors
    table.totals[rows] = data.totals
    table.landmarks[rows] = data.landmarks

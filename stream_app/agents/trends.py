"""Item trends: what is taken now, decayed, and which items follow which; learnt from every event as it comes.

Each partition keeps what its own users taught it, row by row in a changelog. What answers is the sum over the
partitions that this worker holds, in the process's own item indices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_app.items import ItemIndex
from stream_app.state.columns import Column, Columns
from stream_app.state.shard import Shard
from topics.spans import Spans
from tsrec_models.sequence.popularity import Trending
from tsrec_models.sequence.rules import EMPTY, Rules, RuleSettings, RuleTable

__all__ = ["ItemTrends", "PartitionTrends", "trend_columns"]

#: Rules an item's row holds. 32 of them are 384 bytes; the ten best of ten recent items come from fewer.
SLOTS = 32


def trend_columns() -> Columns:
    """The columns of an item's row in a partition. `number` names the item in the rings of that partition's users."""
    return Columns(
        number=Column(np.int32, initial=-1),
        rule_ids=Column(np.int32, (SLOTS,), EMPTY),
        rule_weights=Column(np.float32, (SLOTS,)),
        rule_errors=Column(np.float32, (SLOTS,)),
        rule_totals=Column(np.float64, (2,)),
        rule_landmark=Column(np.float64, initial=np.nan),
        trend_weight=Column(np.float64),
        trend_landmark=Column(np.float64, initial=np.nan),
    )


class PartitionTrends:
    """The rules and trends of one partition, in its own item numbers; read from the shard and written back to it."""

    def __init__(self, shard: Shard, items: ItemIndex, settings: RuleSettings, half_life_s: float) -> None:
        self.shard = shard
        self._items = items
        rows = shard.live_rows()
        numbers = shard.column("number")[rows].astype(np.int64)
        known = numbers >= 0
        rows, numbers = rows[known], numbers[known]
        n = int(numbers.max()) + 1 if len(numbers) else 0
        # The last place is never an item's: an item -1, the padding of rings, is read there and stays what it is.
        self.to_index = np.full(n + 1, EMPTY, np.int64)
        self.row_of = np.full(n, -1, np.int64)
        self.rules = Rules(n, settings)
        self.trending = Trending(n, half_life_s)
        self._changed = np.zeros(n, np.bool_)
        self._next = n
        if n:
            self.to_index[numbers] = items.index(shard.index.keys(rows))
            self.row_of[numbers] = rows
            column = shard.column
            self.rules.import_rows(
                numbers,
                RuleTable(
                    column("rule_ids")[rows], column("rule_weights")[rows], column("rule_errors")[rows],
                    column("rule_totals")[rows], column("rule_landmark")[rows],
                ),
            )  # fmt: skip
            weights, landmarks = column("trend_weight")[rows], column("trend_landmark")[rows]
            for landmark in np.unique(landmarks[~np.isnan(landmarks)]):
                same = landmarks == landmark
                self.trending.import_rows(numbers[same], weights[same], float(landmark))

    def numbers(self, ids: Spans) -> NDArray[np.int64]:
        """The number of each item in this partition, int64 [n]; new items get the next."""
        shard = self.shard
        rows = shard.locate(ids)
        numbers = shard.column("number")[rows].astype(np.int64)
        if (numbers < 0).any():
            new, first = np.unique(rows[numbers < 0], return_index=True)
            new = new[np.argsort(first)]
            given = np.arange(self._next, self._next + len(new))
            shard.touch(new)
            shard.column("number")[new] = given
            self._reserve(self._next + len(new))
            self._next += len(new)
            self.row_of[given] = new
            self.to_index[given] = self._items.index(shard.index.keys(new))
            numbers = shard.column("number")[rows].astype(np.int64)
        return numbers

    def _reserve(self, n: int) -> None:
        more = n - len(self.row_of)
        if more > 0:
            more = max(more, 256, len(self.row_of) // 2)
            self.to_index = np.concatenate([self.to_index, np.full(more, EMPTY, np.int64)])
            self.row_of = np.concatenate([self.row_of, np.full(more, -1, np.int64)])
            self._changed = np.concatenate([self._changed, np.zeros(more, np.bool_)])

    def learn(self, previous: NDArray[np.int64], numbers: NDArray[np.int64], ts: NDArray[np.float64]) -> None:
        """Learn from events: `previous` [n, m] numbers before each, the latest first, EMPTY-padded."""
        self.rules.update(previous, numbers, ts)
        self.trending.update(numbers, ts)
        self._changed[numbers] = True
        self._changed[previous[previous >= 0]] = True

    def to_indices(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of this partition as indices of the process, the padding as it is; any shape."""
        indices: NDArray[np.int64] = self.to_index[numbers]
        return indices

    def write_back(self) -> None:
        """Put what was learnt since the last time into the shard's rows, for the checkpoint."""
        numbers = np.flatnonzero(self._changed)
        if not len(numbers):
            return
        self._changed[numbers] = False
        rows, shard = self.row_of[numbers], self.shard
        shard.touch(rows)
        table = self.rules.export_rows(numbers)
        shard.column("rule_ids")[rows] = table.ids
        shard.column("rule_weights")[rows] = table.weights
        shard.column("rule_errors")[rows] = table.errors
        shard.column("rule_totals")[rows] = table.totals
        shard.column("rule_landmark")[rows] = table.landmarks
        weights, landmark = self.trending.export_rows(numbers)
        shard.column("trend_weight")[rows] = weights
        shard.column("trend_landmark")[rows] = landmark


class ItemTrends:
    """Rules and trends over all partitions of this worker."""

    def __init__(self, table: Any, items: ItemIndex, settings: RuleSettings, half_life_s: float) -> None:
        self._table = table
        self._items = items
        self._settings = settings
        self._half_life_s = half_life_s
        self._partitions: dict[int, PartitionTrends] = {}
        self.rules = Rules(0, settings)
        self.trending = Trending(0, half_life_s)

    def partition(self, number: int) -> PartitionTrends:
        """The trends of one partition; read anew where its shard was dropped and recovered."""
        shard = self._table.shard(number)
        known = self._partitions.get(number)
        if known is None or known.shard is not shard:
            known = self._partitions[number] = PartitionTrends(shard, self._items, self._settings, self._half_life_s)
        return known

    def learn_sum(self, previous: NDArray[np.int64], indices: NDArray[np.int64], ts: NDArray[np.float64]) -> None:
        """Learn from events in the sum alone, after their partitions have; items as indices of the process."""
        self.rules.update(previous, indices, ts)
        self.trending.update(indices, ts)

    def write_back(self) -> None:
        """Before a checkpoint: what was learnt, into the rows."""
        for number, partition in list(self._partitions.items()):
            if self._table.shards.get(number) is partition.shard:
                partition.write_back()
            else:
                del self._partitions[number]

    async def rebuild(self) -> None:
        """After a rebalance: the sum over the partitions that are held now."""
        held = [self.partition(number) for number in list(self._table.shards) if number >= 0]
        self._partitions = {part.shard.partition: part for part in held}
        self.rules = _sum_of_rules([(part.rules, part.to_index) for part in held], self._settings, len(self._items))
        self.trending = Trending(len(self._items), self._half_life_s)
        for part in held:
            known = np.flatnonzero(part.to_index[: part.trending.n_items] >= 0)
            if len(known):
                weights, landmark = part.trending.export_rows(known)
                if not np.isnan(landmark):
                    _add_trends(self.trending, part.to_index[known], weights, landmark)


def _add_trends(trending: Trending, indices: NDArray[np.int64], weights: NDArray[np.float64], landmark: float) -> None:
    """Add weights as of `landmark`: one event of that weight an item, at that time."""
    positive = weights > 0
    if positive.any():
        trending.update(indices[positive], np.full(int(positive.sum()), landmark), weights[positive])


def _sum_of_rules(parts: list[tuple[Rules, NDArray[np.int64]]], settings: RuleSettings, n_items: int) -> Rules:
    """One rule table of several, in the indices of the process: weights as of one time, added; the largest stay."""
    total = Rules(n_items, settings)
    latest = max((rules.latest for rules, _ in parts), default=0.0)
    rate = 0.0 if settings.half_life_s is None else 1.0 / settings.half_life_s
    sources, targets, weights, errors = [], [], [], []
    totals, seen = np.zeros((n_items, 2)), np.zeros(n_items, np.bool_)
    for rules, to_index in parts:
        numbers = np.flatnonzero(to_index[: rules.n_items] >= 0)
        table = rules.export_rows(numbers)
        age = latest - table.landmarks
        fade = np.where(np.isnan(age), 0.0, 2.0 ** (-np.nan_to_num(age) * rate))
        row, slot = np.nonzero(table.ids != EMPTY)
        sources.append(to_index[numbers][row])
        targets.append(to_index[table.ids[row, slot]])
        weights.append(table.weights[row, slot] * fade[row])
        errors.append(table.errors[row, slot] * fade[row])
        totals[to_index[numbers]] += table.totals * fade[:, None]
        seen[to_index[numbers][~np.isnan(age)]] = True
    if not parts or not seen.any():
        return total
    source, target = np.concatenate(sources), np.concatenate(targets)
    pair, inverse = np.unique(source * n_items + target, return_inverse=True)
    weight = np.bincount(inverse, np.concatenate(weights), len(pair))
    error = np.bincount(inverse, np.concatenate(errors), len(pair))
    source, target = pair // n_items, pair % n_items
    order = np.lexsort((-weight, source))
    source, target, weight, error = source[order], target[order], weight[order], error[order]
    starts = np.searchsorted(source, source, side="left")
    rank = np.arange(len(source)) - starts
    kept = rank < settings.slots
    rows = np.flatnonzero(seen)
    place = np.full(n_items, -1, np.int64)
    place[rows] = np.arange(len(rows))
    table = RuleTable(
        np.full((len(rows), settings.slots), EMPTY, np.int32),
        np.zeros((len(rows), settings.slots), np.float32),
        np.zeros((len(rows), settings.slots), np.float32),
        totals[rows],
        np.full(len(rows), latest),
    )
    at, slot = place[source[kept]], rank[kept]
    table.ids[at, slot], table.weights[at, slot], table.errors[at, slot] = target[kept], weight[kept], error[kept]
    total.import_rows(rows, table)
    return total

"""What a list is made of: what each source names, blended, filtered and ordered, and the cause of each item."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_app.agents.trends import ItemTrends
from stream_app.blending import Blended
from stream_app.composing import Candidates, Order, Rules, compose
from stream_app.items import ItemIndex
from stream_app.models import LiveModel
from stream_app.settings import Settings
from tsrec_models.sequence.filters_order import popularity_classes
from tsrec_models.sequence.rules import EMPTY

__all__ = ["CANDIDATES", "ListMaker", "Made", "Rows"]

#: Candidates from each source: enough that filters leave a full list, few enough to mix quickly.
CANDIDATES = 40

#: Trending items kept at hand for cold users and short lists. Finding them takes a pass over all items, so they are
#: kept for a moment, and for longer where that pass is long: it takes at most a twentieth of the time.
TRENDING, TRENDING_AGE_S, TRENDING_SHARE = 200, 0.05, 20.0

#: How long items keep their class of popularity.
CLASSES_AGE_S = 30.0


@dataclass(frozen=True, slots=True)
class Rows:
    """Whom lists are made for, n rows.

    recent, seen: item indices [n, any], EMPTY-padded, recent from the latest on; what was seen is never listed. ts: of
    each row, seconds [n]. allowed: bool [groups, items]; group: of each row, [n]. category: by item index, -1 unknown.
    """

    recent: NDArray[np.int64]
    seen: NDArray[np.int64]
    ts: NDArray[np.float64]
    allowed: NDArray[np.bool_]
    group: NDArray[np.int64]
    category: NDArray[np.int32]


class Made(NamedTuple):
    """What each source named, the lists, and the past item that each item follows from [n, k], EMPTY for none."""

    candidates: Candidates
    lists: Blended
    causes: NDArray[np.int64]


class ListMaker:
    """Makes lists by the settings; called in the inference thread only, holds nothing of any user."""

    def __init__(self, trends: ItemTrends, items: ItemIndex, settings: Settings) -> None:
        self.trends = trends
        self.items = items
        self.settings = settings
        self._trending: tuple[NDArray[np.int64], NDArray[np.float32]] = (np.empty(0, np.int64), np.empty(0, np.float32))
        self._trending_of = -1
        self._trending_until = -np.inf
        self._classes = np.empty(0, np.int64)
        self._classes_until = -np.inf

    def rules_of(self, live: LiveModel | None) -> Rules:
        """By which settings lists are made with a model."""
        settings, filters = self.settings, self.settings.filters
        return Rules(
            settings.k, live.neural_weight if live is not None else 0.0, settings.category_cap, filters.minimum_score,
            filters.diversity, filters.calibration,
        )  # fmt: skip

    def make(self, rung: str, live: LiveModel | None, state: NDArray[np.float32] | None, rows: Rows) -> Made:
        """Lists by one rung. state: hidden state of each row, float32 [n, width]; None where the model is not asked."""
        candidates = Candidates(
            live.topk(state, CANDIDATES, rows.seen) if state is not None and live is not None else None,
            self.trends.rules.topk(rows.recent, CANDIDATES, now=rows.ts) if rung != "trending" else None,
            self.trending(),
        )
        asked = live if state is not None else None
        lists = compose(
            candidates, self.rules_of(asked), seen=rows.seen, allowed=rows.allowed, group=rows.group,
            category=rows.category, order=self._order(asked, rows),
        )  # fmt: skip
        return Made(candidates, lists, self.causes(candidates, lists, rows.recent, rows.ts))

    def causes(
        self, candidates: Candidates, lists: Blended, recent: NDArray[np.int64], ts: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """The past item that each item of a list follows from by the strongest rule [n, k], EMPTY for none."""
        causes = np.full(lists.items.shape, EMPTY, np.int64)
        if candidates.rules is not None:
            parts = self.trends.rules.contributions(recent, np.maximum(lists.items, 0), now=ts)
            strongest = parts.argmax(axis=2)
            from_rules = (lists.items >= 0) & (parts.max(axis=2) > 0)
            causes = np.where(from_rules, np.take_along_axis(recent, strongest, axis=1), EMPTY)
        return causes

    def _order(self, live: LiveModel | None, rows: Rows) -> Order | None:
        """What ordered lists need; None where lists are in the order of their scores."""
        filters = self.settings.filters
        if filters.calibration > 0:
            classes = self.popularity()
            history = rows.seen if rows.seen.shape[1] else rows.recent
            return Order(classes=classes, history=history) if len(classes) else None
        if filters.diversity > 0:
            by_model = live is not None and not (rows.category >= 0).any()
            return Order(vectors=live.vectors() if by_model and live is not None else None)
        return None

    def popularity(self) -> NDArray[np.int64]:
        """Class of popularity of each item by index of the process."""
        now, trending = time.monotonic(), self.trends.trending
        if now >= self._classes_until or not len(self._classes):
            self._classes = popularity_classes(trending.counts().astype(np.float64))
            self._classes_until = now + CLASSES_AGE_S
        more = len(self.items) - len(self._classes)
        if more > 0 and len(self._classes):  # what nobody took yet is of the least popular
            self._classes = np.concatenate([self._classes, np.full(more, self._classes.max())])
        return self._classes

    def trending(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Indices and scores of what most take now, best first."""
        now, n_items = time.monotonic(), self.trends.trending.n_items
        if now >= self._trending_until or n_items != self._trending_of:
            self._trending = self.trends.trending.top(min(TRENDING, max(1, n_items)))
            self._trending_of = n_items
            took_s = time.monotonic() - now
            self._trending_until = now + max(TRENDING_AGE_S, TRENDING_SHARE * took_s)
        return self._trending

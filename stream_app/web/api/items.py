"""GET /items/{item_id}/similar and /trending: of all events that this worker has seen, whoever's they were."""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from stream_app.asking import MAX_K
from stream_app.web.api.endpoint import Call, Endpoint
from stream_app.web.api.groups import retry_later
from stream_app.web.api.views import ShownItem, items_of_asked, shown
from stream_app.web.context import WebContext
from stream_app.web.problems import Problem
from topics.fields import Id, Label, Time

__all__ = ["Items"]

#: Seconds for which it is kept what trends.
_TRENDING_S = 1.0


class SimilarQuery(Struct, forbid_unknown_fields=True):
    """What may be asked of an item's companions."""

    k: Annotated[int, Meta(ge=1, le=MAX_K, description="Items wanted.")] = 10
    explain: Annotated[bool, Meta(description="Say for each item what adds to its score.")] = False


class SimilarAnswer(Struct, frozen=True, omit_defaults=True):
    """What is taken after an item, best first, by the model and the rules together."""

    item_id: Id
    items: list[ShownItem]
    model: Label
    rung: Label
    event_ts: Time
    title: str | None = None


class TrendingQuery(Struct, forbid_unknown_fields=True):
    """What may be asked of what trends."""

    k: Annotated[int, Meta(ge=1, le=MAX_K, description="Items wanted.")] = 10
    category: Annotated[str, Meta(max_length=256, description="Items of this category only.")] | None = None


class TrendingAnswer(Struct, frozen=True):
    """What most take now, best first; a score is a count of events that halves every three days."""

    items: list[ShownItem]
    event_ts: Time


class Items:
    """The two routes."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._trending: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None
        self._trending_until = -np.inf

    def endpoints(self) -> list[Endpoint]:
        """Their declarations."""
        return [
            Endpoint(
                "GET", "/items/{item_id}/similar", "What is taken after an item", "recommendations", self.similar,
                SimilarAnswer, query=SimilarQuery, problems=(404,),
            ),
            Endpoint(
                "GET", "/trending", "What most take now", "recommendations", self.trending, TrendingAnswer,
                query=TrendingQuery,
            ),
        ]  # fmt: skip

    async def similar(self, call: Call) -> SimilarAnswer:
        """What people take after this item: the list of somebody who has taken nothing else. Learnt from the events of
        this worker's partitions, which with several workers are a fair sample of all."""
        context, item_id = self._context, call.path["item_id"]
        index = await context.in_stream(context.items.index_of, item_id)
        if index < 0:
            raise Problem(404, f"no event and no catalog record has named item {item_id!r}; /trending lists some")
        if not context.catalog_ready.is_set():
            raise retry_later("the catalog is still being read")
        asked = await context.in_stream(context.on_demand.after_item, index, call.query.k)
        found = items_of_asked(context.items, asked, explain=call.query.explain)
        return SimilarAnswer(item_id, found, asked.version, asked.rung, asked.ts, context.items.titles.get(index))

    async def trending(self, call: Call) -> TrendingAnswer:
        """What most take now and may be shown, the same for everybody; kept for a second."""
        context, query = self._context, call.query
        if self._trending is None or time.monotonic() >= self._trending_until:
            self._trending = await context.in_stream(context.on_demand.trending)
            self._trending_until = time.monotonic() + _TRENDING_S
        indices, scores = self._trending
        allowed = await context.in_stream(lambda: [context.on_demand.may_be_shown(i) for i in indices.tolist()])
        found: list[ShownItem] = []
        for index, score, may in zip(indices.tolist(), scores.tolist(), allowed, strict=True):
            if index < 0 or not may or len(found) == query.k:
                continue
            item = shown(context.items, index, score)
            if query.category is None or item.category == query.category:
                found.append(item)
        return TrendingAnswer(found, context.trends.trending.latest if (indices >= 0).any() else 0.0)

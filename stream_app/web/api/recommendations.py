"""GET /recommendations/{user_id}."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from stream_app.asking import MAX_K, Asked
from stream_app.transport.partitioning import partition_of
from stream_app.web.api.endpoint import Answer, Call, Endpoint
from stream_app.web.api.groups import forwarded_or
from stream_app.web.api.kept import Kept, KeptLists
from stream_app.web.api.views import RecommendationAnswer, of_asked
from stream_app.web.context import WebContext
from stream_app.web.peers import Peers
from stream_app.web.problems import Problem

__all__ = ["Recommendations"]


class RecommendationQuery(Struct, forbid_unknown_fields=True):
    """What may be asked of a list."""

    k: (
        Annotated[int, Meta(ge=1, le=MAX_K, description="Items wanted; as many as TSREC_K says, if not given.")] | None
    ) = None
    explain: Annotated[
        bool, Meta(description="Say for each item what adds to its score. The list is computed now.")
    ] = False


class Recommendations:
    """The route."""

    def __init__(self, context: WebContext, peers: Peers, kept: KeptLists) -> None:
        self._context = context
        self._peers = peers
        self._kept = kept
        self._clicks = context.catalog["clicks"]

    def endpoints(self) -> list[Endpoint]:
        """Its declaration."""
        return [
            Endpoint(
                "GET", "/recommendations/{user_id}", "Items for a user, now", "recommendations", self.get,
                RecommendationAnswer, query=RecommendationQuery, problems=(404, 502),
            )
        ]  # fmt: skip

    async def get(self, call: Call) -> RecommendationAnswer | Answer:
        """The last list that was published for a user, or one computed now where there is none (after a restart, or
        for more items than lists have). A user of another worker's partition is asked for there."""
        context, kept, user_id = self._context, self._kept, call.path["user_id"]
        k, user = call.query.k or context.settings.k, user_id.encode()
        found: Kept | bool | None = None if call.query.explain else kept.known(user, k)
        if found is None:
            found = await context.in_stream(kept.find, user, k, call.query.explain)
        if isinstance(found, Kept):
            return kept.answer(user_id, found, k)
        if found is not None:
            asked = await context.in_stream(self._compute, user, k)
            if asked is not None:
                return of_asked(context.items, user_id, asked, explain=call.query.explain)
        partition = partition_of(user, self._clicks.partitions)
        return await forwarded_or(
            context, self._peers, call.request, self._clicks.kafka_name, partition,
            Problem(404, f"nothing is known of user {user_id!r}; /trending has what suits everybody"),
        )  # fmt: skip

    async def _compute(self, user: bytes, k: int) -> Asked | None:
        """In the stream's loop: a list made now; None if the user's partition has just been given away."""
        place = self._kept.place(user)
        return None if place is None else await self._context.on_demand.of_user(*place, user, k)

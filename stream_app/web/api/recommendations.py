"""GET /recommendations/{user_id}."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

from stream_app.asking import MAX_K, Asked, locate
from stream_app.latest import Listed
from stream_app.state.shard import Shard
from stream_app.transport.partitioning import partition_of
from stream_app.web.api.endpoint import Answer, Call, Endpoint
from stream_app.web.api.groups import forwarded_or, retry_later
from stream_app.web.api.views import RecommendationAnswer, of_asked, of_listed
from stream_app.web.context import WebContext
from stream_app.web.peers import Peers
from stream_app.web.problems import Problem

__all__ = ["Recommendations"]


#: Users whose place is remembered, some 200 bytes each.
_PLACES = 50_000


class RecommendationQuery(Struct, forbid_unknown_fields=True):
    """What may be asked of a list."""

    k: (
        Annotated[int, Meta(ge=1, le=MAX_K, description="Items wanted; as many as TSREC_K says, if not given.")] | None
    ) = None
    explain: Annotated[
        bool, Meta(description="Say for each item what adds to its score. The list is computed now.")
    ] = False


@dataclass(frozen=True, slots=True)
class _Kept:
    """A published list, as it may be shown now."""

    partition: int
    listed: Listed


class Recommendations:
    """The route."""

    def __init__(self, context: WebContext, peers: Peers) -> None:
        self._context = context
        self._peers = peers
        self._clicks = context.catalog["clicks"]
        #: Where users were found. A row that went to another user since is seen by the list in it.
        self._places: dict[bytes, tuple[Shard, int]] = {}

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
        context, user_id = self._context, call.path["user_id"]
        k = call.query.k or context.settings.k
        items, user = context.items, user_id.encode()
        found: _Kept | bool | None = None if call.query.explain else self._known(user, k)
        if found is None:
            found = await context.in_stream(self._find, user, k, call.query.explain)
        if isinstance(found, _Kept):
            topic = context.recommender.users.layout.sources[found.listed.topic]
            return of_listed(items, user_id, found.listed, topic, found.partition, k)
        if found is not None:
            asked = await context.in_stream(self._compute, user, k)
            if asked is not None:
                return of_asked(items, user_id, asked, explain=call.query.explain)
        partition = partition_of(user, self._clicks.partitions)
        return await forwarded_or(
            context, self._peers, call.request, self._clicks.kafka_name, partition,
            Problem(404, f"nothing is known of user {user_id!r}; /trending has what suits everybody"),
        )  # fmt: skip

    def _place(self, user: bytes) -> tuple[Shard, int] | None:
        users, mine = self._context.recommender.users, self._peers.mine(self._clicks.kafka_name)
        return locate([shard for partition, shard in users.shards.items() if partition in mine], user)

    def _known(self, user: bytes, k: int) -> _Kept | None:
        """In this thread: the last list of a user whose row was found before. None: ask the stream, which is slower by
        what it does just then."""
        place, context = self._places.get(user), self._context
        mask = context.on_demand.shown_lately()
        if place is None or mask is None or k > context.settings.k:
            return None
        shard, row = place
        if context.recommender.users.shards.get(shard.partition) is not shard:
            return None
        listed = context.latest.read_elsewhere(shard, row, user)
        if listed is None or shard.partition not in self._peers.mine(self._clicks.kafka_name):
            return None
        try:
            if context.recommender.gate.withheld(user.decode("utf-8", "replace")) is not None:
                return None
        except RuntimeError:  # alerts of this user are changing just now
            return None
        if all(item < len(mask) and mask[item] for item in listed.items):
            return _Kept(shard.partition, listed)
        return None

    def _find(self, user: bytes, k: int, explain: bool) -> _Kept | bool | None:
        """In the stream's loop: the user's last list as it may be shown now; True where one is to be computed; None for
        a stranger."""
        context, place = self._context, self._place(user)
        if place is None:
            return None
        shard, row = place
        listed = None if explain or k > context.settings.k else context.latest.read(shard, row, user)
        if listed is not None:
            self._places.pop(user, None)
            self._places[user] = place
            if len(self._places) > _PLACES:
                del self._places[next(iter(self._places))]
            return _Kept(shard.partition, self._as_of_now(listed, user))
        if not context.catalog_ready.is_set():
            raise retry_later("the catalog is still being read")
        return True

    async def _compute(self, user: bytes, k: int) -> Asked | None:
        """In the stream's loop: a list made now; None if the user's partition has just been given away."""
        place = self._place(user)
        return None if place is None else await self._context.on_demand.of_user(*place, user, k)

    def _as_of_now(self, listed: Listed, user: bytes) -> Listed:
        """Without items that are no longer for sale; empty for a user who came under a critical alert since."""
        why = self._context.recommender.gate.withheld(user.decode("utf-8", "replace"))
        may = self._context.on_demand.may_be_shown
        keep = [i for i, item in enumerate(listed.items) if why is None and may(item)]
        note = listed.note if why is None else f"withheld: {why}"
        if len(keep) == len(listed.items) and note == listed.note:
            return listed
        return listed._replace(
            items=[listed.items[i] for i in keep], scores=[listed.scores[i] for i in keep],
            sources=[listed.sources[i] for i in keep], causes=[listed.causes[i] for i in keep], note=note,
        )  # fmt: skip

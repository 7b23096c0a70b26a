"""Published lists, read where they are kept: in the web's thread if that can be, else in the stream's loop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_app.asking import locate
from stream_app.latest import Listed
from stream_app.state.shard import Shard
from stream_app.web.api.groups import retry_later
from stream_app.web.api.views import RecommendationAnswer, of_listed
from stream_app.web.context import StreamBusy, WebContext
from stream_app.web.peers import Peers

__all__ = ["Kept", "KeptLists"]

#: Users whose place is remembered, some 200 bytes each.
_PLACES = 50_000


@dataclass(frozen=True, slots=True)
class Kept:
    """A published list, as it may be shown now."""

    partition: int
    listed: Listed


class KeptLists:
    """Of this worker's users. Lives in the web server's loop."""

    def __init__(self, context: WebContext, peers: Peers) -> None:
        self._context = context
        self._peers = peers
        self._clicks = context.catalog["clicks"].kafka_name
        #: Where users were found. A row that went to another user since is seen by the list in it.
        self._places: dict[bytes, tuple[Shard, int]] = {}
        self._looking: asyncio.Task[None] | None = None

    def known(self, user: bytes, k: int) -> Kept | None:
        """In this thread: the last list of a user whose row was found before. None: ask the stream, which is slower by
        what it does just then."""
        place, context = self._places.get(user), self._context
        if place is None or k > context.settings.k:
            return None
        mask = self._shown()
        shard, row = place
        if mask is None or context.recommender.users.shards.get(shard.partition) is not shard:
            return None
        listed = context.latest.read_elsewhere(shard, row, user)
        if listed is None or shard.partition not in self._peers.mine(self._clicks):
            return None
        try:
            if context.recommender.gate.withheld(user.decode("utf-8", "replace")) is not None:
                return None
        except RuntimeError:  # alerts of this user are changing just now
            return None
        if all(item < len(mask) and mask[item] for item in listed.items):
            return Kept(shard.partition, listed)
        return None

    def _shown(self) -> NDArray[np.bool_] | None:
        """Which items may be shown; where that will soon be too old to go by, the stream is asked beforehand: whoever
        comes in between need not wait for it."""
        on_demand = self._context.on_demand
        if on_demand.shown_is_old() and (self._looking is None or self._looking.done()):
            self._looking = asyncio.get_running_loop().create_task(self._look())
        return on_demand.shown_lately()

    async def _look(self) -> None:
        with suppress(StreamBusy):  # the next request waits for the stream, and is told
            await self._context.in_stream(self._context.on_demand.look)

    def find(self, user: bytes, k: int, explain: bool) -> Kept | bool | None:
        """In the stream's loop: the user's last list as it may be shown now; True where one is to be computed; None for
        a stranger."""
        context, place = self._context, self.place(user)
        if place is None:
            return None
        shard, row = place
        listed = None if explain or k > context.settings.k else context.latest.read(shard, row, user)
        if listed is not None:
            self._places.pop(user, None)
            self._places[user] = place
            if len(self._places) > _PLACES:
                del self._places[next(iter(self._places))]
            return Kept(shard.partition, self._as_of_now(listed, user))
        if not context.catalog_ready.is_set():
            raise retry_later("the catalog is still being read")
        return True

    def place(self, user: bytes) -> tuple[Shard, int] | None:
        """In the stream's loop: the user's shard and row, if this worker has them."""
        users, mine = self._context.recommender.users, self._peers.mine(self._clicks)
        return locate([shard for partition, shard in users.shards.items() if partition in mine], user)

    def answer(self, user_id: str, kept: Kept, k: int) -> RecommendationAnswer:
        """The first `k` of a list, as the API shows it."""
        topic = self._context.recommender.users.layout.sources[kept.listed.topic]
        return of_listed(self._context.items, user_id, kept.listed, topic, kept.partition, k)

    def at_hand(self, user_id: str, k: int | None) -> bytes | None:
        """In this thread: what `GET /recommendations/{user_id}` answers, encoded; None where `known` knows nothing.
        k: items wanted, None for as many as lists have."""
        wanted = k or self._context.settings.k
        kept = self.known(user_id.encode(), wanted)
        return None if kept is None else msgspec.json.encode(self.answer(user_id, kept, wanted))

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

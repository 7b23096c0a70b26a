"""Addresses of the page and of what it asks for."""

from __future__ import annotations

import msgspec
from aiohttp import web
from aiokafka.errors import KafkaError

from stream_app.dead_letters import Filter, RequeueBroken, RequeueOvertaken
from stream_app.errors import TsrecError
from stream_app.transport.partitioning import partition_of
from stream_app.web.api.groups import forwarded_or
from stream_app.web.context import WebContext
from stream_app.web.live.broadcast import Broadcast
from stream_app.web.live.letters import Letters, Requeue
from stream_app.web.live.pages import Pages
from stream_app.web.live.people import known_of
from stream_app.web.peers import Peers
from stream_app.web.problems import Problem
from topics import wire

__all__ = ["routes"]


def routes(context: WebContext, peers: Peers) -> list[web.AbstractRouteDef]:
    """For the server; call it in the server's loop."""
    pages, broadcast, asked = Pages(), Broadcast(context), _Asked(context, peers)
    return [
        web.get("/", pages.index),
        web.get("/live/static/{name}", pages.file),
        web.get("/live/events", broadcast.serve),
        web.get("/live/users/{user_id:[^/]+}", asked.user),
        web.get("/live/dead-letters", asked.letters),
        web.post("/live/dead-letters/requeue", asked.requeue),
    ]


class _Asked:
    """What the page asks for when a person does."""

    def __init__(self, context: WebContext, peers: Peers) -> None:
        self._context = context
        self._peers = peers
        self._letters = Letters(context)

    async def user(self, request: web.Request) -> web.Response:
        """What is known of one user; asked for at the worker that holds their partition."""
        context, user_id = self._context, request.match_info["user_id"]
        clicks = context.catalog["clicks"]
        known = await context.in_stream(known_of, context, user_id, self._peers.mine(clicks.kafka_name))
        if known is not None:
            return _json(known)
        answer = await forwarded_or(
            context, self._peers, request, clicks.kafka_name, partition_of(user_id.encode(), clicks.partitions),
            Problem(404, f"nothing is known of user {user_id!r}: no view, click or purchase within the retention"),
        )  # fmt: skip
        return web.Response(status=answer.status, body=answer.raw, headers=answer.headers)

    async def letters(self, request: web.Request) -> web.Response:
        """Dead letters by reason, and the latest of those that the query names."""
        query = request.query
        reason, stage, topic, message, position = (
            query.get(name, "") for name in ("reason", "stage", "topic", "message", "position")
        )
        wanted = Filter(reason, stage, topic, message, position)
        try:
            return _json(await self._letters.show(wanted))
        except (KafkaError, TsrecError, OSError) as error:
            raise Problem(503, f"the dead letters cannot be read now: {error}", headers={"Retry-After": "5"}) from error

    async def requeue(self, request: web.Request) -> web.Response:
        """Send letters back, or say what would be sent."""
        try:
            asked = msgspec.json.decode(await request.read(), type=Requeue)
        except wire.DECODE_ERRORS as error:
            raise Problem(400, f"the body is not what is wanted: {error}") from None
        try:
            return _json(await self._letters.send_back(asked))
        except RequeueOvertaken as error:
            raise Problem(409, str(error)) from error
        except RequeueBroken as error:
            raise Problem(503, str(error), headers={"Retry-After": "5"}) from error
        except TsrecError as error:
            raise Problem(503, f"the dead letters cannot be read now: {error}", headers={"Retry-After": "5"}) from error
        except (KafkaError, OSError) as error:
            raise Problem(503, f"the broker did not take them all: {error}", headers={"Retry-After": "5"}) from error


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")

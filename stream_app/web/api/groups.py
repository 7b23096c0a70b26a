"""What a worker says of a key that it does not have: it asks the one that has it, or says when to come again."""

from __future__ import annotations

from aiohttp import web

from stream_app.web.api.endpoint import Answer
from stream_app.web.context import WebContext
from stream_app.web.peers import Peers
from stream_app.web.problems import Problem

__all__ = ["forwarded_or", "retry_later"]


def retry_later(why: str) -> Problem:
    """503 with a time to come again."""
    return Problem(503, f"{why}; ask again in a few seconds", headers={"Retry-After": "2"})


async def forwarded_or(
    context: WebContext, peers: Peers, request: web.Request, topic: str, partition: int, unknown: Problem
) -> Answer:
    """The answer of the worker that has a partition, for a key that was not found here.

    Raises:
        Problem: `unknown` where this is that worker; 503 while partitions move or are recovered.
    """
    app, owner = context.processor, peers.owner(topic, partition)
    if owner is None or app.rebalancing or not app.tables.actives_ready:
        raise retry_later("partitions move between workers, or are recovered")
    if owner == peers.own:
        raise unknown
    if peers.was_forwarded(request):
        raise retry_later("this was passed on here, but another worker has it by now")
    return await peers.forward(request, owner)

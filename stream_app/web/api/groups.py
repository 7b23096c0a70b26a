"""What a worker says of what others hold: it asks them, or says when to come again."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from aiohttp import web

from stream_app.web.api.endpoint import Answer
from stream_app.web.context import WebContext
from stream_app.web.peers import Peers
from stream_app.web.problems import Problem

__all__ = ["check_alerts", "forwarded_or", "others", "retry_later"]

T = TypeVar("T")


def retry_later(why: str) -> Problem:
    """503 with a time to come again."""
    return Problem(503, f"{why}; ask again in a few seconds", headers={"Retry-After": "2"})


def check_alerts(context: WebContext) -> None:
    """Raises 503 while alerts are not all here."""
    app = context.processor
    if app.rebalancing or not app.tables.actives_ready:
        raise retry_later("alerts are being recovered")


async def others(peers: Peers, request: web.Request, kind: type[T]) -> tuple[list[T], list[str]]:
    """What the other workers answer to the same request, and which of them did not; nobody is asked where this
    request was passed on already."""
    found: list[T] = []
    missing: list[str] = []
    if peers.was_forwarded(request):
        return found, missing
    for url, answer in await peers.ask_all(request):
        theirs = _decoded(answer, kind)
        if theirs is None:
            missing.append(url)
        else:
            found.append(theirs)
    return found, missing


def _decoded(answer: Answer | Problem, kind: type[T]) -> T | None:
    if isinstance(answer, Problem) or answer.status != 200:
        return None
    try:
        return msgspec.json.decode(answer.raw or b"", type=kind)
    except msgspec.DecodeError:
        return None


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

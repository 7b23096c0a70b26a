"""The API: one file a subject; every route is declared once, and the OpenAPI document is made of the declarations."""

from __future__ import annotations

import msgspec
from aiohttp import web

from stream_app.web.api.alerts import Alerting
from stream_app.web.api.decisions import Decisions
from stream_app.web.api.endpoint import Endpoint
from stream_app.web.api.forecasts import Forecasts
from stream_app.web.api.items import Items
from stream_app.web.api.kept import KeptLists
from stream_app.web.api.models import Models
from stream_app.web.api.openapi import document
from stream_app.web.api.recommendations import Recommendations
from stream_app.web.api.reviews import Reviews
from stream_app.web.context import WebContext
from stream_app.web.peers import Peers

__all__ = ["KeptLists", "endpoints", "routes"]


def endpoints(context: WebContext, peers: Peers, kept: KeptLists) -> list[Endpoint]:
    """Every route of the API."""
    parts = (
        Recommendations(context, peers, kept), Items(context), Forecasts(context, peers), Alerting(context, peers),
        Reviews(context, peers), Decisions(context, peers), Models(context),
    )  # fmt: skip
    return [endpoint for part in parts for endpoint in part.endpoints()]


def routes(context: WebContext, peers: Peers, kept: KeptLists) -> list[web.AbstractRouteDef]:
    """For the server: the API and its document."""
    declared = endpoints(context, peers, kept)
    described = msgspec.json.encode(document(declared))

    async def openapi(_request: web.Request) -> web.Response:
        return web.Response(body=described, content_type="application/json")

    return [*(endpoint.route() for endpoint in declared), web.get("/openapi.json", openapi)]

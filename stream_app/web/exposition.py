"""/metrics in Prometheus' text format; gauges are read at the scrape."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from stream_app.web.context import StreamBusy, WebContext
from stream_app.web.gauges import Gauges

__all__ = ["Exposition"]


class Exposition:
    """The metrics of one worker."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._gauges = Gauges(context)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """For the server."""
        return [web.get("/metrics", self.metrics)]

    async def metrics(self, _request: web.Request) -> web.Response:
        """Counters as they are; a stream that does not answer leaves the gauges as they were at the last scrape."""
        with contextlib.suppress(StreamBusy):  # /healthz says it; the counters are what a person looks for then
            await self._context.in_stream(self._gauges.read)
        registry = self._context.metrics.registry
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

"""/healthz and /readyz: what a supervisor asks; both answer when the stream does not."""

from __future__ import annotations

import time
from collections.abc import Iterable

from aiohttp import web

from stream_app.web.context import StreamBusy, WebContext

__all__ = ["Health"]

#: A worker that has partitions and input but made no checkpoint for so long, or whose loop has stood still for so
#: long, is not healthy.
STUCK_S = 60.0


class Health:
    """The two probes of one worker."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._silent_since: float | None = None

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """For the server."""
        return [web.get("/healthz", self.health), web.get("/readyz", self.ready)]

    async def health(self, _request: web.Request) -> web.Response:
        """200 while the process works; 503 when it made no checkpoint of its input, or stood still, for a minute."""
        app = self._context.processor
        last = app.checkpoint.last_done_s
        waiting = any(tracker.in_flight for tracker in list(getattr(app.consumer, "ranges", {}).values()))
        if waiting and last is not None and time.time() - last > STUCK_S:
            ago = round(time.time() - last)
            return web.json_response({"status": "stuck", "last_checkpoint_s_ago": ago}, status=503)
        silent_s = await self._silent_s()
        if silent_s > STUCK_S:
            return web.json_response({"status": "stuck", "loop_silent_s": round(silent_s)}, status=503)
        return web.json_response({"status": "ok"})

    async def _silent_s(self) -> float:
        """How long the stream's loop has not answered this question; 0 where it does."""
        try:
            await self._context.in_stream(time.monotonic)
        except StreamBusy:
            now = time.monotonic()
            self._silent_since = self._silent_since or now
            return now - self._silent_since
        self._silent_since = None
        return 0.0

    async def ready(self, _request: web.Request) -> web.Response:
        """200 once this worker has joined the group, recovered its state and read the catalog."""
        app, missing = self._context.processor, []
        if app.rebalancing or not app.tables.actives_ready:
            missing.append("recovery")
        if not self._context.catalog_ready.is_set():
            missing.append("catalog")
        if missing:
            return web.json_response({"status": "not ready", "waiting_for": missing}, status=503)
        return web.json_response({"status": "ready"})

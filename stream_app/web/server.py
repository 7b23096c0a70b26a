"""The web server of a worker: a thread and an event loop of its own, so that no client holds up the stream, nor the
stream a client."""

from __future__ import annotations

import asyncio
import importlib
import logging
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

import uvloop
from aiohttp import web
from mode import Service

from stream_app.web.context import WebContext
from stream_app.web.exposition import Exposition
from stream_app.web.health import Health

__all__ = ["WebServer"]

logger = logging.getLogger(__name__)

#: Requests that are being answered when the worker ends get this long.
_CLOSE_S = 1.0


class WebServer(Service):  # type: ignore[misc]
    """Serves one worker. A port that is taken is no reason not to work: the server says so and stays away."""

    def __init__(self, context: WebContext, **options: Any) -> None:
        super().__init__(**options)
        self.context = context
        self.host = context.settings.web_host
        self.port = context.settings.web_port
        self._web_loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    async def on_start(self) -> None:
        self.context.stream.bind()
        listening: Future[int | None] = Future()
        self._thread = threading.Thread(target=self._run, args=(listening,), name="web", daemon=True)
        self._thread.start()
        port = await asyncio.wrap_future(listening)
        if port is not None:
            self.port = port
            logger.info("web server at http://%s:%d", self.host, self.port)

    async def on_stop(self) -> None:
        if self._web_loop is not None and self._stopping is not None and not self._web_loop.is_closed():
            self._web_loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 2 * _CLOSE_S)

    def _run(self, listening: Future[int | None]) -> None:
        """The thread: one loop until the end."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(self._serve(listening))
            except Exception as error:
                if listening.done():
                    logger.exception("the web server failed and stays away; the stream goes on")
                else:
                    listening.set_exception(error)

    async def _serve(self, listening: Future[int | None]) -> None:
        self._web_loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        site = web.Application()
        site.add_routes(list(self._routes()))
        runner = web.AppRunner(site, access_log=None, shutdown_timeout=_CLOSE_S)
        await runner.setup()
        try:
            listener = web.TCPSite(runner, self.host, self.port)
            try:
                await listener.start()
            except OSError as error:
                logger.error("no web server: cannot listen on %s:%d (%s)", self.host, self.port, error.strerror)
                listening.set_result(None)
                return
            server: Any = listener._server
            listening.set_result(server.sockets[0].getsockname()[1])
            await self._stopping.wait()
        finally:
            await runner.cleanup()

    def _routes(self) -> Iterable[web.AbstractRouteDef]:
        yield from Health(self.context).routes()
        yield from Exposition(self.context).routes()
        live: Any = importlib.import_module("stream_app.web.live")
        if hasattr(live, "routes"):
            yield from live.routes(self.context)

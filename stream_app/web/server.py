"""The web server of a worker: a thread and an event loop of its own, so that no client holds up the stream, nor the
stream a client."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web
from mode import Service

from stream_app.web import api
from stream_app.web.connection import Acceptor
from stream_app.web.context import WebContext
from stream_app.web.exposition import Exposition
from stream_app.web.guard import Guard
from stream_app.web.health import Health
from stream_app.web.limits import Connections, RateLimit
from stream_app.web.peers import Peers, advertised_url, member_url, unserved_url
from stream_app.web.sessions import Sessions
from stream_app.web.shortcut import Shortcut
from stream_app.web.tokens import Security

__all__ = ["WebServer"]

logger = logging.getLogger(__name__)

#: Requests that are being answered when the worker ends get this long.
_CLOSE_S = 1.0

#: How long one thread may keep the interpreter while another waits: a request passes it on several times.
_SWITCH_S = 0.001

#: A TLS handshake that takes longer is given up.
_HANDSHAKE_S = 5.0


class WebServer(Service):  # type: ignore[misc]
    """Serves one worker. A port that is taken is no reason not to work: the server says so and stays away."""

    def __init__(self, context: WebContext, security: Security, **options: Any) -> None:
        super().__init__(**options)
        self.context = context
        self.security = security
        self.host = context.settings.web_host
        self.port = context.settings.web_port
        self._web_loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    async def on_start(self) -> None:
        """Listen, and tell the group where: Faust starts this before the consumer."""
        conf: Any = self.context.processor.conf
        # What was made until now stays: a full collection of it would stop stream and web for a fifth of a second.
        gc.collect()
        gc.freeze()
        sys.setswitchinterval(_SWITCH_S)
        self.context.stream.bind()
        listening: Future[int | None] = Future()
        self._thread = threading.Thread(target=self._run, args=(listening,), name="web", daemon=True)
        self._thread.start()
        port = await asyncio.wrap_future(listening)
        if port is None:
            conf.canonical_url = unserved_url()
            return
        self.port = port
        tls = self.security.tls is not None
        conf.canonical_url = member_url(advertised_url(self.context.settings, port, tls=tls))
        logger.info("web server at %s://%s:%d", "https" if tls else "http", self.host, self.port)

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
        loop = self._web_loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        settings = self.context.settings
        peers = Peers(self.context.processor, settings, self.security)
        guard = Guard(
            self.security, RateLimit(settings.web_rate), self.context.metrics, body_bytes=settings.web_body_bytes,
            timeout_s=settings.web_timeout_s,
        )  # fmt: skip
        site = web.Application(middlewares=[web.middleware(guard)], client_max_size=settings.web_body_bytes)
        site.on_response_prepare.append(guard.prepare)
        kept = api.KeptLists(self.context, peers)
        site.add_routes(list(self._routes(peers, kept)))
        runner = web.AppRunner(site, access_log=None, shutdown_timeout=_CLOSE_S)
        await runner.setup()
        watching: asyncio.Task[None] | None = None
        try:
            assert runner.server is not None
            shortcut = Shortcut(kept, guard.rate, self.context.metrics, tls=self.security.tls is not None)
            acceptor = Acceptor(runner.server, Connections(settings.web_connections), settings.web_timeout_s, shortcut)
            tls: dict[str, Any] = {}
            if self.security.tls is not None:
                tls = {"ssl": self.security.tls, "ssl_handshake_timeout": _HANDSHAKE_S}
            try:
                listener = await loop.create_server(acceptor, self.host or None, self.port, reuse_address=True, **tls)
            except OSError as error:
                logger.error("no web server: cannot listen on %s:%d (%s)", self.host, self.port, error.strerror)
                listening.set_result(None)
                return
            listening.set_result(listener.sockets[0].getsockname()[1])
            watching = loop.create_task(acceptor.watch())
            await self._stopping.wait()
            listener.close()
        finally:
            if watching is not None:
                watching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watching
            await peers.close()
            await runner.cleanup()

    def _routes(self, peers: Peers, kept: api.KeptLists) -> Iterable[web.AbstractRouteDef]:
        yield from Health(self.context).routes()
        yield from Exposition(self.context).routes()
        yield from Sessions(self.security).routes()
        yield from api.routes(self.context, peers, kept)
        if (Path(__file__).parent / "live" / "routes.py").exists():
            live = importlib.import_module("stream_app.web.live")
            yield from live.routes(self.context, peers)

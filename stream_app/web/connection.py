"""A connection: counted, closed when it dawdles, and answered in problem+json also when it does not speak HTTP."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from stream_app.web.headers import SECURITY_HEADERS
from stream_app.web.limits import Connections
from stream_app.web.problems import Problem, problem_response
from stream_app.web.shortcut import Shortcut, is_plain

__all__ = ["Acceptor", "vouch"]

#: Longest request line, and longest header field, in bytes; fields in a header.
MAX_LINE, MAX_FIELDS = 8190, 64


class Acceptor:
    """Makes the protocol of each connection to a set-up aiohttp server.

    timeout_s: a request's header must be complete so long after the connection began or the last answer ended, and a
    client must read what it is sent within that time.
    """

    def __init__(self, server: web.Server, connections: Connections, timeout_s: float, shortcut: Shortcut) -> None:
        self.server = server
        self.connections = connections
        self.timeout_s = timeout_s
        self.shortcut = shortcut
        self._unread: dict[Any, int] = {}

    def __call__(self) -> RequestHandler:
        return _Connection(
            self, loop=asyncio.get_running_loop(), access_log=None, keepalive_timeout=self.timeout_s,
            lingering_time=0.5, max_line_size=MAX_LINE, max_field_size=MAX_LINE, max_headers=MAX_FIELDS,
        )  # fmt: skip

    async def watch(self) -> None:
        """Until cancelled: close connections whose client has read nothing of its answer for `timeout_s`."""
        while True:
            await asyncio.sleep(self.timeout_s)
            now: dict[Any, int] = {}
            for handler in self.server.connections:
                transport = handler.transport
                size = transport.get_write_buffer_size() if transport is not None else 0
                if transport is not None and size:
                    if self._unread.get(handler) == size:
                        transport.abort()
                    now[handler] = size
            self._unread = now


def vouch(request: web.Request) -> None:
    """The head of this request was let pass; the same bytes on the same connection need not be looked at again."""
    connection = request.protocol
    if isinstance(connection, _Connection):
        connection.vouched = connection.head


class _Connection(RequestHandler):
    """aiohttp's own, with a limit at its beginning, errors without what was sent, and the shortcut.

    The shortcut is taken when nothing is under way and the head, byte for byte, is one that aiohttp has parsed as a
    whole request on this connection, and the guard has let pass. So nothing is decided by a second parser.

    aligned: only whole, plain requests have come so far, so aiohttp's parser is between two. head: the one being
    answered, if it is plain and came alone.
    """

    __slots__ = ("_acceptor", "_aligned", "_client", "_finished", "head", "vouched")

    def __init__(self, acceptor: Acceptor, **options: Any) -> None:
        super().__init__(acceptor.server, **options)
        self._acceptor = acceptor
        self._client: str | None = None
        self._aligned = True
        self._finished = 0  # answers that are written, of _request_count requests
        self.head: bytes | None = None
        self.vouched: bytes | None = None

    def data_received(self, data: bytes) -> None:
        line, _, head = data.partition(b"\r\n")
        idle = self._request_count == self._finished
        if idle and self._aligned and head == self.vouched and self._answered(line):
            return
        self._aligned = self._aligned and is_plain(line, head)
        self.head = bytes(head) if idle and self._aligned else None
        super().data_received(data)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the answer to its end."""
        result = await super().finish_response(request, resp, start_time)
        self._finished += 1
        return result

    def _answered(self, line: bytes) -> bool:
        transport = self.transport
        if transport is None or transport.get_write_buffer_size() or self._close or self._force_close:
            return False  # who does not read gets no more from here
        answer = self._acceptor.shortcut.answer(self._client or "", line)
        if answer is None:
            return False
        transport.write(answer)
        self._next_keepalive_close_time = self._loop.time() + self._acceptor.timeout_s
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        client = str(peer[0]) if peer else ""
        if not self._acceptor.connections.enter(client):
            cast("asyncio.Transport", transport).abort()
            self._force_close = True
            return
        self._client = client
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._client is None:
            return
        self._acceptor.connections.leave(self._client)
        self._client = None
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """An answer without what was sent: an exception of the parser quotes the header, and the token in it."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        if isinstance(exc, LineTooLong):
            problem = Problem(431, f"a line of the header is longer than {MAX_LINE:,} bytes; send a shorter one")
        elif status == 400:
            problem = Problem(400, f"this is not a request of HTTP/1.1, or has more than {MAX_FIELDS} header fields")
        else:
            problem = Problem(status, "the request could not be answered; the worker's log says more")
            self.logger.error("a request failed: %s", type(exc).__name__, exc_info=exc)
        response = problem_response(problem, None)
        response.headers.update(SECURITY_HEADERS)
        response.force_close()
        return response

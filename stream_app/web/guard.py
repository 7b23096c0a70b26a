"""What every request passes: rate, host, token, size, time; and what every error becomes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from stream_app.metrics import Metrics
from stream_app.web.connection import vouch
from stream_app.web.context import StreamBusy
from stream_app.web.headers import add_headers
from stream_app.web.limits import RateLimit
from stream_app.web.problems import Problem, problem_response
from stream_app.web.sessions import LOGIN_PATH, login_page, wants_page
from stream_app.web.tokens import SESSION_COOKIE, Security

__all__ = ["DEADLINE", "OPEN_PATHS", "Guard"]

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Answered without a token: a supervisor's probes say nothing but a status, and the login takes the token.
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", LOGIN_PATH})

#: A wrong token costs as many requests of the client's bucket as this.
WRONG_TOKEN_COST = 50.0

#: Until when a request must be answered; an answer that is streamed has no end.
DEADLINE: web.RequestKey[asyncio.Timeout] = web.RequestKey("deadline", asyncio.Timeout)

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Guard:
    """The one middleware of the server."""

    def __init__(
        self, security: Security, rate: RateLimit, metrics: Metrics, *, body_bytes: int, timeout_s: float
    ) -> None:
        self.security = security
        self.rate = rate
        self.metrics = metrics
        self.body_bytes = body_bytes
        self.timeout_s = timeout_s

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let `handler` answer what may be answered."""
        began = time.monotonic()
        try:
            response = await self._answer(request, handler, began)
        except Problem as problem:
            response = self._refuse(request, problem)
        except web.HTTPException as error:
            response = self._refuse(request, _from_aiohttp(error, request, self.body_bytes))
        except StreamBusy as error:
            response = self._refuse(request, Problem(503, str(error), headers={"Retry-After": "1"}))
        except TimeoutError:
            detail = f"not answered within {self.timeout_s:g} s; send the body faster, or ask again later"
            response = self._refuse(request, Problem(503 if request.body_exists is False else 408, detail))
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            logger.exception("%s %s failed", request.method, _route(request))
            detail = "the worker made a mistake; its log says which. The stream is not affected"
            response = self._refuse(request, Problem(500, detail))
        if response.status == 401 and request.path == LOGIN_PATH:
            self.rate.take(request.remote or "", began, WRONG_TOKEN_COST)
        self.metrics.web_requests.labels(_route(request), str(response.status)).inc()
        self.metrics.web_latency.observe(time.monotonic() - began)
        return response

    async def _answer(self, request: web.Request, handler: Handler, began: float) -> web.StreamResponse:
        client = request.remote or ""
        if wait_s := self.rate.take(client, began):
            raise _too_many(wait_s)
        if self.security.token is None:
            self._check_host(request)
            self._check_origin(request)
        if request.path not in OPEN_PATHS:
            self._check_token(request, client, began)
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            self._check_body(request)
        async with asyncio.timeout(self.timeout_s) as deadline:
            request[DEADLINE] = deadline
            return await handler(request)

    def _check_host(self, request: web.Request) -> None:
        """A page from elsewhere whose name was made to point here (DNS rebinding) still sends its own name."""
        host = request.host.rsplit(":", 1)[0] if not request.host.endswith("]") else request.host
        if host.lower() not in _LOCAL_NAMES:
            raise Problem(403, "this server is for this machine: ask it as 127.0.0.1 or localhost")

    def _check_origin(self, request: web.Request) -> None:
        """A page from elsewhere may send here, without a body, whatever it does not read; a browser says whose it is.
        Where there is a token, neither it nor the cookie goes with such a request."""
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2].lower() != request.host.lower():
            raise Problem(403, "a page from elsewhere may not ask this server")

    def _check_token(self, request: web.Request, client: str, now: float) -> None:
        security = self.security
        authorization = request.headers.get("Authorization")
        if security.accepts(authorization):
            vouch(request)  # a token does not end, unlike a session
            return
        if authorization is None and security.accepts_session(request.cookies.get(SESSION_COOKIE)):
            return
        if authorization is not None:
            self.rate.take(client, now, WRONG_TOKEN_COST)
        raise Problem(
            401,
            "send the header 'Authorization: Bearer TOKEN' with the token of this server (TSREC_WEB_TOKEN)"
            + ("" if authorization is None else "; the one that was sent is not it"),
            headers={"WWW-Authenticate": 'Bearer realm="tsrec"'},
        )

    def _check_body(self, request: web.Request) -> None:
        """Bodies are JSON: a page from elsewhere cannot send that without asking first, and is not allowed to."""
        length = request.content_length
        if length is not None and length > self.body_bytes:
            raise Problem(413, f"{length:,} bytes; this server takes {self.body_bytes:,} (TSREC_WEB_BODY_BYTES)")
        said = request.body_exists or "Content-Type" in request.headers
        if request.path != LOGIN_PATH and said and request.content_type != "application/json":
            raise Problem(415, "send the body as JSON, with the header 'Content-Type: application/json'")

    def _refuse(self, request: web.Request, problem: Problem) -> web.Response:
        if problem.status == 401 and wants_page(request):
            response = login_page(401)
            response.headers.update(problem.headers)
        else:
            response = problem_response(problem, request.path)
        if request.body_exists and not request.content.at_eof():
            response.force_close()  # the rest of a body that nobody reads
        return response

    async def prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Before headers go out: add ours; an answer that is streamed has no deadline from here on."""
        add_headers(response, tls=self.security.tls is not None)
        deadline = request.get(DEADLINE)
        if deadline is not None and not isinstance(response, web.Response) and not deadline.expired():
            deadline.reschedule(None)


def _too_many(wait_s: float) -> Problem:
    return Problem(
        429,
        f"more requests than TSREC_WEB_RATE allows; wait {max(1, round(wait_s))} s",
        headers={"Retry-After": str(max(1, round(wait_s)))},
    )


def _from_aiohttp(error: web.HTTPException, request: web.Request, body_bytes: int) -> Problem:
    if error.status == 404:
        return Problem(404, "no such page; /openapi.json lists what there is")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return Problem(405, f"{request.method} is not possible here; use {allowed}", headers={"Allow": allowed})
    if error.status == 413:
        return Problem(413, f"the body is larger than {body_bytes:,} bytes (TSREC_WEB_BODY_BYTES)")
    return Problem(error.status, error.reason)


def _route(request: web.Request) -> str:
    """The path's template: few, whatever is asked for."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"

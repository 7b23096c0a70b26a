"""The other workers of the group: who holds which partition, and requests passed on to them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import uuid
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from stream_app.errors import UsageError
from stream_app.settings import Settings
from stream_app.web.api.endpoint import Answer
from stream_app.web.problems import Problem
from stream_app.web.tokens import Security, is_loopback

__all__ = ["FORWARDED", "Peers", "advertised_url", "member_url", "unserved_url"]

#: Says that a request has been passed on once, and by whom: it is not passed on again.
FORWARDED = "X-Tsrec-Forwarded"

#: Connections to other workers, and the largest answer that is passed back.
_CONNECTIONS, _MAX_ANSWER = 64, 8 << 20

#: Share of the time for a request that another worker has for it.
_SHARE = 0.8


def advertised_url(settings: Settings, port: int, *, tls: bool) -> URL:
    """Where other workers reach this one: as the settings say, or its host; where that is every address, the one by
    which the broker is reached.

    Raises:
        UsageError: TSREC_WEB_ADVERTISE is no http(s) URL.
    """
    if settings.web_advertise is not None:
        url = URL(settings.web_advertise)
        if url.scheme not in ("http", "https") or not url.host:
            raise UsageError(f"TSREC_WEB_ADVERTISE={settings.web_advertise}: give an URL like http://10.0.0.5:6066")
        return url
    host = settings.web_host
    if host in ("", "0.0.0.0", "::"):
        host = _address_towards(settings.bootstrap)
    return URL.build(scheme="https" if tls else "http", host=host.strip("[]"), port=port)


def member_url(url: URL) -> URL:
    """The address as the group is told it: with the machine's name, and different for every worker, whatever two of
    them were told to advertise. Faust files assignments under it."""
    return url.with_fragment(f"{socket.gethostname()}/{uuid.uuid4().hex[:8]}")


def unserved_url() -> URL:
    """What a worker without a web server tells the group: a name of its own that leads nowhere."""
    return URL(f"http://{uuid.uuid4().hex}.invalid")


def _address_towards(bootstrap: str) -> str:
    host, _, port = bootstrap.split(",")[0].strip().rpartition(":")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.connect(address)  # sends nothing: it only chooses a route
            return str(probe.getsockname()[0])
    except (OSError, ValueError):
        return socket.gethostname()


class Peers:
    """What the group's last assignment said. Lives in the web server's loop; `close` it there."""

    def __init__(self, app: Any, settings: Settings, security: Security) -> None:
        self._app = app
        self._settings = settings
        self._security = security
        self._session: aiohttp.ClientSession | None = None

    @property
    def own(self) -> str:
        """The URL of this worker, as the others know it."""
        return str(self._app.conf.canonical_url)

    def owner(self, topic: str, partition: int) -> str | None:
        """URL of the worker that has a partition of a topic; None while nobody is known to have it."""
        for url, topics in self._distribution().items():
            if partition in topics.get(topic, ()):
                return url
        return None

    def others(self) -> list[str]:
        """URLs of the other workers that have partitions."""
        return [url for url, topics in self._distribution().items() if url != self.own and any(topics.values())]

    def mine(self, topic: str) -> set[int]:
        """Partitions of a topic that this worker has."""
        return {tp.partition for tp in self._app.assignor.assigned_actives() if tp.topic == topic}

    def _distribution(self) -> dict[str, dict[str, list[int]]]:
        """Replaced as a whole at each assignment, so any thread may read it."""
        found: dict[str, dict[str, list[int]]] = self._app.assignor.external_topic_distribution
        return found

    @staticmethod
    def was_forwarded(request: web.Request) -> bool:
        """Whether another worker passed this on."""
        return FORWARDED in request.headers

    async def forward(self, request: web.Request, url: str, body: bytes | None = None) -> Answer:
        """The answer of the worker at `url` to this very request.

        Raises:
            Problem: 503 if that worker serves nothing, 502 if it does not answer.
        """
        base = URL(url)
        if (base.host or "").endswith(".invalid"):
            raise Problem(
                503, "the worker that holds this has no web server (its port was taken; its log says so)",
                headers={"Retry-After": "10"},
            )  # fmt: skip
        machine = base.fragment.split("/")[0]
        if is_loopback(base.host or "") and machine != socket.gethostname():
            raise Problem(
                503, f"the worker on {machine} that holds this serves its own machine only: bind it to an address that "
                "others reach (TSREC_WEB_HOST), with a token",
            )  # fmt: skip
        headers = {FORWARDED: self.own, "Accept": "application/json"}
        if self._security.token is not None:
            headers["Authorization"] = f"Bearer {self._security.token.decode()}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        # The path alone: a client may write a whole address, which must not become a part of ours.
        target = URL(str(base.with_fragment(None)).rstrip("/") + request.rel_url.raw_path_qs, encoded=True)
        try:
            async with self._client().request(
                request.method, target, headers=headers, data=body, allow_redirects=False
            ) as response:
                data = await response.content.read(_MAX_ANSWER)
                kept = {"Content-Type": response.headers.get("Content-Type", "application/json")}
                if "Retry-After" in response.headers:
                    kept["Retry-After"] = response.headers["Retry-After"]
                return Answer(status=response.status, raw=data, headers=kept)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Problem(
                502, f"the worker at {base.with_fragment(None)} holds this and did not answer "
                f"({type(error).__name__}); ask again",
                headers={"Retry-After": "2"},
            ) from None  # fmt: skip

    async def ask_all(self, request: web.Request, body: bytes | None = None) -> list[tuple[str, Answer | Problem]]:
        """The answers of all other workers to this request, at once; problems in their place."""
        others = self.others()

        async def ask(url: str) -> Answer | Problem:
            try:
                return await self.forward(request, url, body)
            except Problem as problem:
                return problem

        return list(zip(others, await asyncio.gather(*map(ask, others)), strict=True))

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            ca = self._settings.web_tls_ca
            context = ssl.create_default_context(cafile=None if ca is None else str(ca))
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=context),
                timeout=aiohttp.ClientTimeout(total=_SHARE * self._settings.web_timeout_s),
                auto_decompress=False,
            )
        return self._session

    async def close(self) -> None:
        """End the connections."""
        if self._session is not None:
            await self._session.close()

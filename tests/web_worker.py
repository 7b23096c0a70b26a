"""A worker's web server over a real application without a broker: the stream's loop runs in a thread of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import msgspec

from stream_app.app import Application, build
from stream_app.settings import Settings
from stream_app.transport.partitioning import partition_of
from stream_app.web import WebServer
from stream_app.web.tokens import security_of
from tests.stream_app.agents.conftest import batch_of

__all__ = ["Reply", "WebWorker", "serving"]

INPUTS = ("clicks", "purchases", "trades", "trades-by-account", "alert-actions")


@dataclass(frozen=True)
class Reply:
    """What the server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class WebWorker:
    """One worker; `sent` has what was published to `alert-actions`."""

    def __init__(self, **settings: Any) -> None:
        settings = {
            "web_port": 0, "market": {"refit_processes": 0, "warmup_bars": 20},
            "ladder": {"budget_ms": 1e6},  # kernels are compiled on the way
            **settings,
        }  # fmt: skip
        self.application: Application = build(Settings(_env_file=None, **settings))  # type: ignore[call-arg]
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._offsets: dict[tuple[str, int], int] = {}
        self.sent: list[tuple[str, bytes, bytes, int]] = []
        self.token: str | None = None
        self.assigned: dict[str, Sequence[int]] = {}
        self.tls: ssl.SSLContext | None = None
        application = self.application
        application.recommender.catalog_ready.set()
        application.processor.tables.actives_ready = True
        application.processor.producer_for = lambda _source: SimpleNamespace(send_and_wait=self._take)  # type: ignore[method-assign, assignment]

    async def _take(self, topic: str, value: bytes, key: bytes, partition: int) -> Any:
        self.sent.append((topic, value, key, partition))
        return SimpleNamespace(partition=partition, offset=len(self.sent) - 1)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run in the stream's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def start(self) -> None:
        async def start() -> WebServer:
            server = WebServer(self.application.web, security_of(self.application.settings), loop=self.loop)
            await server.on_start()
            return server

        self.server: WebServer = self.run(start())
        self.assign({self.member: range(4)})

    def assign(self, partitions: dict[str, Sequence[int]]) -> None:
        """Say which worker has which partitions of the inputs."""
        catalog, self.assigned = self.application.catalog, partitions
        self.application.processor.assignor.external_topic_distribution = {
            url: {catalog[name].kafka_name: list(held) for name in INPUTS} for url, held in partitions.items()
        }
        self.application.processor.assignor._assignment.actives = {
            catalog[name].kafka_name: list(partitions.get(self.member, ())) for name in INPUTS
        }

    @property
    def member(self) -> str:
        """As the group knows it."""
        return str(self.application.processor.conf.canonical_url)

    @property
    def url(self) -> str:
        return self.member.partition("#")[0]

    def stop(self) -> None:
        self.run(self.server.on_stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)

    # -- what flows

    def feed(self, topic: str, records: Sequence[Any], key: Callable[[Any], str]) -> list[bytes]:
        """Have the agents process records, each in the partition of its key; what they sent."""
        application = self.application
        declared = application.catalog[topic]
        batch_topic = application.processor.batch_topics[declared.kafka_name]
        out: list[bytes] = []
        parts: dict[int, list[Any]] = {}
        for record in records:
            parts.setdefault(partition_of(key(record).encode(), declared.partitions), []).append(record)
        for partition, mine in parts.items():
            first = self._offsets.get((topic, partition), 0)
            self._offsets[topic, partition] = first + len(mine)
            out += self.run(self._handle(batch_topic, mine, partition, first))
        return out

    async def _handle(self, topic: Any, records: list[Any], partition: int, offset: int) -> list[bytes]:
        out: list[bytes] = []
        app = self.application.processor
        batch = batch_of(topic, records, partition=partition, offset=offset)
        for _name, handler in app._handlers[topic.name]:
            mine = batch.fresh_copy()
            await handler(mine)
            for sent in mine.outgoing:
                out += [value for value in sent.values.tolist() if value is not None]
                app.outbox.tap(sent.topic, sent.values)  # type: ignore[misc]
        return out

    # -- asking

    def ask(
        self,
        path: str,
        method: str = "GET",
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
        token: Any = ...,
    ) -> Reply:
        """One request; `token` overrides the worker's own, None sends none."""
        kind: Any = http.client.HTTPConnection
        options: dict[str, Any] = {"timeout": 20}
        if self.tls is not None:
            kind, options = http.client.HTTPSConnection, {"timeout": 20, "context": self.tls}
        connection = kind("127.0.0.1", self.server.port, **options)
        sent = dict(headers or {})
        token = self.token if token is ... else token
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token}")
        data = body
        if body is not None and not isinstance(body, bytes):
            data = msgspec.json.encode(body)
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body=data, headers=sent)
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()


@contextmanager
def serving(**settings: Any) -> Iterator[WebWorker]:
    """A worker that serves; its token is sent with every request."""
    worker = WebWorker(**settings)
    worker.token = settings.get("web_token")
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()

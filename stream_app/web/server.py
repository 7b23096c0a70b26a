"""/metrics, /healthz and /readyz, in the worker's process and off its hot path."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from aiohttp import web
from faust.exceptions import ConsumerNotStarted
from mode import Service
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from stream_app.processor import Processor

__all__ = ["WebServer"]

logger = logging.getLogger(__name__)

#: A worker that has partitions and input but made no checkpoint for so long is not healthy.
STUCK_S = 60.0


class WebServer(Service):  # type: ignore[misc]
    """Serves one worker. A port that is taken is no reason not to work: the server says so and stays away."""

    def __init__(self, app: Processor, host: str, port: int, catalog_ready: asyncio.Event, **options: Any) -> None:
        super().__init__(**options)
        self.app = app
        self.host = host
        self.port = port
        self._catalog_ready = catalog_ready
        self._runner: web.AppRunner | None = None

    async def on_start(self) -> None:
        site = web.Application()
        site.add_routes(
            [
                web.get("/metrics", self.metrics),
                web.get("/healthz", self.health),
                web.get("/readyz", self.ready),
            ]
        )
        self._runner = web.AppRunner(site, access_log=None)
        await self._runner.setup()
        try:
            listener = web.TCPSite(self._runner, self.host, self.port)
            await listener.start()
        except OSError as error:
            logger.error("no metrics: cannot listen on %s:%d (%s)", self.host, self.port, error.strerror)
            return
        server: Any = listener._server
        self.port = server.sockets[0].getsockname()[1]
        logger.info("metrics at http://%s:%d/metrics", self.host, self.port)

    async def on_stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def metrics(self, _request: web.Request) -> web.Response:
        """Prometheus' text format; gauges are read at the scrape."""
        self._read_gauges()
        return web.Response(
            body=generate_latest(self.app.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def health(self, _request: web.Request) -> web.Response:
        """200 while the process works; 503 when it has had input and made no checkpoint for a minute."""
        last = self.app.checkpoint.last_done_s
        waiting = any(tracker.in_flight for tracker in getattr(self.app.consumer, "ranges", {}).values())
        if waiting and last is not None and time.time() - last > STUCK_S:
            return web.json_response(
                {"status": "stuck", "last_checkpoint_s_ago": round(time.time() - last)}, status=503
            )
        return web.json_response({"status": "ok"})

    async def ready(self, _request: web.Request) -> web.Response:
        """200 once this worker has joined the group, recovered its state and read the catalog."""
        missing = []
        if self.app.rebalancing or not self.app.tables.actives_ready:
            missing.append("recovery")
        if not self._catalog_ready.is_set():
            missing.append("catalog")
        if missing:
            return web.json_response({"status": "not ready", "waiting_for": missing}, status=503)
        return web.json_response({"status": "ready"})

    def _read_gauges(self) -> None:
        app, metrics = self.app, self.app.metrics
        for table in app.columnar_tables:
            metrics.state_rows.labels(table.name).set(table.rows)
            metrics.state_bytes.labels(table.name).set(table.nbytes)
        metrics.outbox_bytes.set(app.outbox.queued_bytes)
        metrics.recovery.set(max((table.recovery_s for table in app.columnar_tables), default=0.0))
        lag: dict[str, int] = {}
        delay: dict[str, float] = {}
        consumer: Any = app.consumer
        try:
            tps = list(consumer.ranges)
            for tp in tps:
                records = consumer.lag(tp)
                if records is not None:
                    lag[tp.topic] = lag.get(tp.topic, 0) + records
                topic = app.batch_topics.get(tp.topic)
                mark = app.event_time.watermark(tp, topic) if topic is not None else None
                if mark is not None:
                    delay[tp.topic] = max(delay.get(tp.topic, 0.0), time.time() - mark)
        except ConsumerNotStarted:
            return  # nothing is consumed yet, so nothing lags
        for name, records in lag.items():
            metrics.lag.labels(name).set(records)
        for name, seconds in delay.items():
            metrics.watermark_delay.labels(name).set(seconds)

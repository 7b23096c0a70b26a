"""/metrics in Prometheus' text format; gauges are read at the scrape."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from faust.exceptions import ConsumerNotStarted
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from stream_app.web.context import StreamBusy, WebContext

__all__ = ["Exposition"]


class Exposition:
    """The metrics of one worker."""

    def __init__(self, context: WebContext) -> None:
        self._context = context

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """For the server."""
        return [web.get("/metrics", self.metrics)]

    async def metrics(self, _request: web.Request) -> web.Response:
        """Counters as they are; a stream that does not answer leaves the gauges as they were at the last scrape."""
        with contextlib.suppress(StreamBusy):  # /healthz says it; the counters are what a person looks for then
            await self._context.in_stream(self._read_gauges)
        registry = self._context.metrics.registry
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def _read_gauges(self) -> None:
        app, metrics = self._context.processor, self._context.metrics
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

"""Frames for everybody who watches: drawn once, sent as server-sent events, skipped by a browser that is slow.

There is no queue. What a frame consists of has a number; a browser that has read its last frame is sent the parts
whose number has changed meanwhile, so one that reads slowly sees fewer frames and holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import web
from aiokafka.errors import KafkaError

from stream_app.errors import TsrecError
from stream_app.web.api.alert_views import AlertQuery, all_alerts, desks, verdict_in
from stream_app.web.context import StreamBusy, WebContext
from stream_app.web.live.feed import Prices, Recommendations
from stream_app.web.live.numbers import Numbers
from stream_app.web.live.past import tail
from stream_app.web.live.resolved import ResolvedAlerts
from stream_app.web.problems import Problem
from topics import wire

__all__ = ["MAX_WATCHERS", "Broadcast"]

logger = logging.getLogger(__name__)

#: Between two frames: a few a second are as many as a person reads.
FRAME_S = 0.4
#: Every so many frames the numbers and the alerts are looked at.
NUMBERS_EVERY = 2
#: Recommendations of a frame, of however many there were.
ROWS = 5
#: Forecasts looked at for a frame: one a symbol and bar, and now and then one of each item that is wanted.
POINTS = 4096
#: Alerts of a frame, worst first.
ALERTS = 60
#: Browsers that may watch one worker.
MAX_WATCHERS = 24
#: Records of each partition that a page begins with.
PAST = {"forecasts": 2_000, "recommendations": 3, "risk-alerts": 50}
#: The input whose partitions say which of an output are ours.
_MADE_FROM = {"forecasts": "trades", "recommendations": "clicks", "risk-alerts": "trades"}
#: Alerts looked at for a frame; many more at once is a storm, of which the books have the open ones.
ALERT_RECORDS = 256
#: The past is read again when nobody has watched for so long.
PAST_AGE_S = 5.0

_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Broadcast:
    """Draws frames while somebody watches. Lives in the web server's loop."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._numbers = Numbers(context)
        self._lists = Recommendations(context.items)
        self._prices = Prices()
        self._resolved = ResolvedAlerts()
        self._parts: dict[str, tuple[int, bytes]] = {}
        self._drawn = asyncio.Event()
        self._drawing: asyncio.Task[None] | None = None
        self._past: asyncio.Future[None] | None = None
        self._watched_until = float("-inf")
        self._totals: tuple[float, dict[str, int]] = (0.0, {})
        self.watchers = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """GET /live/events: frames until the browser goes away."""
        if self.watchers >= MAX_WATCHERS:
            raise Problem(
                503, f"{MAX_WATCHERS} browsers watch this worker already; close one", headers={"Retry-After": "30"}
            )
        self.watchers += 1
        try:
            if self._drawing is None or self._drawing.done():
                self._drawing = asyncio.get_running_loop().create_task(self._draw())
            response = web.StreamResponse(headers=_HEADERS)
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):
                await self._send_frames(response)
            return response
        finally:
            self.watchers -= 1
            if not self.watchers and self._drawing is not None:
                self._drawing.cancel()
                self._drawing = None
                if self._past is not None:
                    self._past.cancel()

    async def _send_frames(self, response: web.StreamResponse) -> None:
        sent: dict[str, int] = {}
        points = 0
        while True:
            drawn = self._drawn
            for name in list(self._parts):
                number, event = self._parts[name]
                if sent.get(name) != number:
                    await response.write(event)  # waits while the browser does not read
                    sent[name] = number
            lines = self._prices.since(points)
            if lines is not None:
                points = self._prices.newest
                await response.write(_event("prices", lines))
            await drawn.wait()

    # -- drawing

    async def _draw(self) -> None:
        """Until cancelled, a frame at a time. A stream that does not answer leaves the page as it was, and says so."""
        taps = self._context.taps
        assert taps is not None
        with taps.watch():
            self._past = None
            if time.monotonic() - self._watched_until > PAST_AGE_S:
                self._numbers.forget()
                self._totals = (0.0, {})
                await self._draw_worker()
                self._past = asyncio.ensure_future(self._read_past())  # takes a second; frames need not wait for it
            frame, failed = 0, False
            while True:
                began = time.monotonic()
                try:
                    await self._draw_frame(frame)
                except StreamBusy as error:
                    self._put("busy", {"since": time.time(), "why": str(error)})
                except Exception:  # logged once a fault; the next frame may be drawn, and the stream is not concerned
                    if not failed:
                        logger.exception("a frame of the live page could not be drawn; it goes on with the next")
                    failed = True
                else:
                    failed = False
                self._drawn, drawn = asyncio.Event(), self._drawn
                drawn.set()
                self._watched_until = time.monotonic()
                frame += 1
                await asyncio.sleep(max(0.05, FRAME_S - (time.monotonic() - began)))

    async def _draw_frame(self, frame: int) -> None:
        context, taps = self._context, self._context.taps
        assert taps is not None
        published = taps.take(context.catalog["recommendations"].kafka_name, ROWS)
        if published.rows:
            await self._put_lists(published.records, published.rows)
        forecasts = taps.take(context.catalog["forecasts"].kafka_name, POINTS).rows
        if self._past is None or self._past.done():  # lines begin with their past
            self._prices.release()
            self._prices.add(forecasts)
        else:
            self._prices.hold(forecasts)
        self._resolved.add(taps.take(context.catalog["risk-alerts"].kafka_name, ALERT_RECORDS).rows)
        if frame % NUMBERS_EVERY == 0:
            await self._draw_numbers()

    async def _draw_numbers(self) -> None:
        gauges, alerts = await self._context.in_stream(self._look)
        self._put("numbers", {"at": time.time(), **self._numbers.count(), **gauges, "published_s": self._published()})
        self._put("alerts", alerts, only_changes=True)
        await self._draw_worker()

    def _look(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """In the stream's loop: gauges, and the alerts of the partitions held."""
        gauges = self._numbers.read_gauges()
        partitions = set(gauges["held"].get(self._context.catalog["alert-actions"].kafka_name, ()))
        found = [a for a in all_alerts(self._context.risk.alerts, partitions) if a.state != "pending"]
        found.sort(key=lambda alert: (alert.state == "resolved", *AlertQuery.order(alert)))
        over = self._resolved.besides(alert.alert_id for alert in found)
        reviews = [desk.review for _, _, desk in desks(self._context.risk.alerts, partitions)]
        for alert in over:
            alert["verdict"] = verdict_in(reviews, alert["alert_id"])
        return gauges, {"alerts": [*found[:ALERTS], *over], "total": len(found) + len(over)}

    def _published(self) -> dict[str, float]:
        """Records a second of each topic that this worker writes, since the last numbers."""
        assert self._context.taps is not None
        now, totals = time.monotonic(), self._context.taps.totals()
        then, before = self._totals
        self._totals = (now, totals)
        if not before:
            return {}
        return {topic: round((n - before.get(topic, 0)) / (now - then), 1) for topic, n in totals.items()}

    async def _draw_worker(self) -> None:
        """Who this is; changes when partitions move."""
        context = self._context
        app: Any = context.processor
        others = [
            url for url, topics in app.assignor.external_topic_distribution.items()
            if url != str(app.conf.canonical_url) and any(topics.values()) and ".invalid" not in url
        ]  # fmt: skip
        settings = context.settings
        live = context.recommender.model
        self._put(
            "worker",
            {
                "group": settings.group, "url": str(app.conf.canonical_url), "others": sorted(others),
                "guarantee": settings.guarantee, "k": settings.k, "bar_s": settings.market.bar_s,
                "silence_s": settings.alerts.silence_s, "model": None if live is None else live.version,
                "topics": [
                    {
                        "name": topic.kafka_name, "ours": topic.name, "role": topic.role,
                        "partitions": topic.partitions, "summary": topic.summary,
                    }
                    for topic in context.catalog.values()
                ],
            },
            only_changes=True,
        )  # fmt: skip

    async def _put_lists(self, records: int, rows: Iterable[bytes]) -> None:
        made = self._lists.decode(rows)
        if unknown := self._lists.unknown(made):
            await self._context.in_stream(self._lists.look_up, unknown)
        self._put("lists", {"n": records, "rows": self._lists.rows(made)})

    async def _read_past(self) -> None:
        """The end of what was published, of the partitions held here, so that a page does not begin empty."""
        context = self._context
        try:
            async with asyncio.timeout(5.0):
                gauges = await context.in_stream(self._numbers.read_gauges)
                for name, n in PAST.items():
                    held = set(gauges["held"].get(context.catalog[_MADE_FROM[name]].kafka_name, ()))
                    records = await tail(context.processor.cluster, context.catalog[name].kafka_name, n, held)
                    values = [record.value for record in records if record.value is not None]
                    if name == "forecasts":
                        self._prices.add(values)
                    elif name == "risk-alerts":
                        self._resolved.add(values)
                    elif values and "lists" not in self._parts:
                        await self._put_lists(0, values[-ROWS:])
        except (KafkaError, TsrecError, *wire.DECODE_ERRORS, OSError, TimeoutError) as error:
            logger.warning("the live page begins without what was before: %r", error)

    def _put(self, name: str, value: Any, *, only_changes: bool = False) -> None:
        event = _event(name, value)
        number, before = self._parts.get(name, (0, b""))
        if not (only_changes and event == before):
            self._parts[name] = (number + 1, event)


def _event(name: str, value: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(value))

"""Gauges of a worker, read from its parts at a scrape: between two scrapes they cost nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from faust.exceptions import ConsumerNotStarted
from faust.types import TP
from prometheus_client import Gauge

from stream_app.web.context import WebContext

__all__ = ["Gauges", "Stalls"]

#: So many events of a partition without a step of its watermark are no accident of order.
STALLED_EVENTS = 100
#: A partition of which nothing was read for so long is idle, whatever its watermark does.
IDLE_S = 300.0


@dataclass
class _Mark:
    """A partition's newest event time, and the offset and clock at which it was first seen."""

    newest: float
    offset: int
    since_s: float
    read_s: float
    read: int


class Stalls:
    """For how long partitions have been read without their watermark moving: an event far ahead of all others has
    pushed it there, or a sender repeats one time. An idle partition does not stall."""

    def __init__(self) -> None:
        self._marks: dict[TP, _Mark] = {}

    def seconds(self, tp: TP, newest: float, offset: int, now_s: float) -> float:
        """The stall of a partition read up to `offset`, whose newest event time is `newest`; 0 where there is none."""
        mark = self._marks.get(tp)
        if mark is None or mark.newest != newest or offset < mark.offset:
            self._marks[tp] = _Mark(newest, offset, now_s, now_s, offset)
            return 0.0
        if offset > mark.read:
            mark.read, mark.read_s = offset, now_s
        if mark.read - mark.offset < STALLED_EVENTS or now_s - mark.read_s > IDLE_S:
            return 0.0
        return mark.read_s - mark.since_s

    def keep(self, tps: set[TP]) -> None:
        """Forget partitions that others have by now."""
        for tp in set(self._marks) - tps:
            del self._marks[tp]


class Gauges:
    """Call `read` in the stream's loop."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._stalls = Stalls()

    def read(self) -> None:
        """Set every gauge that is not set where it changes."""
        app, metrics, now_s = self._context.processor, self._context.metrics, time.time()
        for table in app.columnar_tables:
            metrics.state_rows.labels(table.name).set(table.rows)
            metrics.state_bytes.labels(table.name).set(table.nbytes)
        metrics.outbox_bytes.set(app.outbox.queued_bytes)
        metrics.recovery.set(max((table.recovery_s for table in app.columnar_tables), default=0.0))
        metrics.ready.set(not app.rebalancing and app.tables.actives_ready and self._context.catalog_ready.is_set())
        opened = Counter((alert.kind, alert.severity) for alert in self._context.risk.alerts.open_alerts())
        _replace(metrics.alerts_open, {labels: float(n) for labels, n in opened.items()})
        try:
            consumer: Any = app.consumer
            self._read_partitions(consumer, now_s)
        except ConsumerNotStarted:
            return  # nothing is consumed yet, so nothing lags

    def _read_partitions(self, consumer: Any, now_s: float) -> None:
        app, metrics = self._context.processor, self._context.metrics
        assigned: Counter[str] = Counter()
        lag: Counter[str] = Counter()
        delay: dict[tuple[str, ...], float] = {}
        stalled: dict[tuple[str, ...], float] = {}
        ranges = dict(consumer.ranges)
        for tp, tracker in ranges.items():
            name = (tp.topic,)
            assigned[tp.topic] += 1
            records = consumer.lag(tp)
            if records is not None:
                lag[tp.topic] += records
            topic = app.batch_topics.get(tp.topic)
            mark = app.event_time.watermark(tp, topic) if topic is not None else None
            if mark is None:
                continue
            delay[name] = max(delay.get(name, 0.0), now_s - mark)
            if tracker.committable is not None:
                stall_s = self._stalls.seconds(tp, mark, tracker.committable, now_s)
                stalled[name] = max(stalled.get(name, 0.0), stall_s)
        self._stalls.keep(set(ranges))
        _replace(metrics.assigned, {(name,): float(n) for name, n in assigned.items()})
        _replace(metrics.lag, {(name,): float(n) for name, n in lag.items()})
        _replace(metrics.watermark_delay, delay, gone=None)
        _replace(metrics.watermark_stalled, stalled)


def _replace(gauge: Gauge, values: Mapping[tuple[str, ...], float], gone: float | None = 0.0) -> None:
    """Set a gauge to `values`, by labels. What it had and has no more is `gone`: another worker has that topic now,
    and an old value would go on lagging here for ever. gone None: such a series ends."""
    for labels in list(gauge._metrics):
        if labels not in values:
            if gone is None:
                gauge.remove(*labels)
            else:
                gauge.labels(*labels).set(gone)
    for labels, value in values.items():
        gauge.labels(*labels).set(value)

"""Numbers of one worker, from its metrics: rates over the last seconds, latency percentiles, shares, gauges."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from faust.exceptions import ConsumerNotStarted
from prometheus_client.metrics import MetricWrapperBase

from stream_app.web.context import WebContext

__all__ = ["Numbers", "percentile"]

#: Rates are over about so long: long enough to be calm, short enough to follow.
RATE_S = 2.0
#: Latencies are of the decisions of this time.
LATENCY_S = 30.0


@dataclass(frozen=True, slots=True)
class _Counts:
    at: float
    events: dict[str, float]
    rungs: dict[str, float]
    decisions: float
    buckets: list[tuple[float, float]]


class Numbers:
    """Keeps the counters of the last seconds. `read_gauges` in the stream's loop, the rest in the reader's thread."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._past: deque[_Counts] = deque(maxlen=256)

    def forget(self) -> None:
        """Nobody watched for a while: rates begin anew."""
        self._past.clear()

    def count(self) -> dict[str, Any]:
        """What the counters say: events/s by topic, latency, rungs, dead letters by reason."""
        metrics = self._context.metrics
        decisions = _values(metrics.decisions)
        now = _Counts(
            time.monotonic(),
            {topic: n for (topic,), n in _values(metrics.events).items()},
            {rung: n for (kind, rung), n in decisions.items() if kind == "recommendation"},
            sum(decisions.values()),
            _buckets(metrics.decision_latency, "recommendation"),
        )
        self._past.append(now)
        while len(self._past) > 1 and self._past[1].at < now.at - LATENCY_S:
            self._past.popleft()
        before = next((past for past in self._past if past.at >= now.at - RATE_S), now)
        seconds = now.at - before.at
        oldest = self._past[0]
        lately = _minus(now.buckets, oldest.buckets)
        if not lately or not lately[-1][1]:
            lately = now.buckets  # no decision lately: of all there were
        rungs = {rung: n - oldest.rungs.get(rung, 0.0) for rung, n in now.rungs.items()}
        if not any(rungs.values()):
            rungs = now.rungs
        letters: dict[str, dict[str, float]] = {}
        for (topic, reason), n in _values(metrics.dead_letters).items():
            if n:
                letters.setdefault(topic, {})[reason] = n
        return {
            "events": now.events,
            "events_s": {topic: _rate(n - before.events.get(topic, 0.0), seconds) for topic, n in now.events.items()},
            "decisions_s": _rate(now.decisions - before.decisions, seconds),
            "latency_ms": {f"p{q}": percentile(lately, q / 100) for q in (50, 90, 99)},
            "budget_ms": self._context.settings.ladder.budget_ms,
            "rungs": rungs,
            "dead_letters": letters,
            "late": {topic: n for (topic,), n in _values(metrics.late_events).items() if n},
            "models": [f"{name} {version}" for (name, version), n in _values(metrics.model).items() if n],
        }

    def read_gauges(self) -> dict[str, Any]:
        """In the stream's loop: state, lag and watermark delay by topic, partitions held, readiness. A copy."""
        app = self._context.processor
        now_s = time.time()
        tables = {table.name: [table.rows, table.nbytes] for table in app.columnar_tables}
        held: dict[str, list[int]] = {}
        lag: dict[str, int] = {}
        delay: dict[str, float] = {}
        try:
            consumer: Any = app.consumer
            for tp in list(consumer.ranges):
                held.setdefault(tp.topic, []).append(tp.partition)
                records = consumer.lag(tp)
                if records is not None:
                    lag[tp.topic] = lag.get(tp.topic, 0) + records
                topic = app.batch_topics.get(tp.topic)
                mark = app.event_time.watermark(tp, topic) if topic is not None else None
                if mark is not None:
                    delay[tp.topic] = max(delay.get(tp.topic, -math.inf), now_s - mark)
        except ConsumerNotStarted:
            pass  # nothing is consumed yet
        last = app.checkpoint.last_done_s
        return {
            "tables": tables,
            "held": {topic: sorted(partitions) for topic, partitions in held.items()},
            "lag": lag,
            "watermark_delay_s": delay,
            "outbox_bytes": app.outbox.queued_bytes,
            "checkpoint_age_s": None if last is None else round(now_s - last, 1),
            "ready": bool(not app.rebalancing and app.tables.actives_ready and self._context.catalog_ready.is_set()),
            "gated": len(self._context.risk.alerts.gate),
        }


def percentile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """The quantile in ms from cumulative counts by upper bound (s), linear within its bucket, as Prometheus reads it.

    None where nothing was counted. Of the last, open bucket only its lower bound is known.
    """
    if not buckets or not buckets[-1][1]:
        return None
    wanted, below, lower = share * buckets[-1][1], 0.0, 0.0
    for upper, count in buckets:
        if count >= wanted and count > below:
            if math.isinf(upper):
                return lower * 1000
            return (lower + (upper - lower) * (wanted - below) / (count - below)) * 1000
        below, lower = count, upper
    return lower * 1000


def _rate(n: float, seconds: float) -> float | None:
    return round(n / seconds, 1) if seconds > 0.2 else None


def _minus(now: list[tuple[float, float]], then: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(now) != len(then):
        return now
    return [(upper, count - before) for (upper, count), (_, before) in zip(now, then, strict=True)]


def _values(metric: MetricWrapperBase) -> dict[tuple[str, ...], float]:
    """Values of a counter or gauge by its labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in metric.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def _buckets(metric: MetricWrapperBase, kind: str) -> list[tuple[float, float]]:
    """Upper bound and cumulative count of a histogram's series."""
    samples: Iterable[Any] = (s for family in metric.collect() for s in family.samples)
    return [
        (float(sample.labels["le"]), sample.value)
        for sample in samples
        if sample.name.endswith("_bucket") and sample.labels["kind"] == kind
    ]

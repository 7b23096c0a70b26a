"""What Prometheus sees: base units, conventional names, labels with few values."""

from __future__ import annotations

import bisect
import time
from collections import Counter as Tally
from collections.abc import Iterable

from faust.types import TP
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from stream_app.transport.records import RecordBatch
from topics.catalog import Topic
from topics.errors import Reason, RecordError

__all__ = ["Metrics"]

_LATENCY_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_DURATION_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)


class Metrics:
    """The metrics of one worker, in a registry of its own so that a test or a second app has none of another's."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        r = self.registry
        self._topics: dict[str, tuple[Counter, Histogram]] = {}
        disable_created_metrics()  # type: ignore[no-untyped-call]  # as many series again, and no rule asks
        ProcessCollector(registry=r)
        self.events = Counter("tsrec_events", "Events read.", ["topic"], registry=r)
        self.batch_records = Histogram(
            "tsrec_batch_records", "Records in a batch.", ["topic"], buckets=_SIZES, registry=r
        )
        self.decode_errors = Counter("tsrec_decode_errors", "Records that do not decode.", ["topic"], registry=r)
        self.dead_letters = Counter(
            "tsrec_dead_letters", "Records sent to the dead letters.", ["topic", "reason"], registry=r
        )
        self.late_events = Counter("tsrec_late_events", "Events after their watermark.", ["topic"], registry=r)
        self.lag = Gauge("tsrec_consumer_lag_records", "Records not yet committed.", ["topic"], registry=r)
        self.watermark_delay = Gauge(
            "tsrec_watermark_delay_seconds", "Clock less the oldest watermark of a topic.", ["topic"], registry=r
        )
        self.decisions = Counter("tsrec_decisions", "Decisions published.", ["kind", "rung"], registry=r)
        self.decision_latency = Histogram(
            "tsrec_event_to_decision_seconds", "From the arrival of an event to its decision.", ["kind"],
            buckets=_LATENCY_S, registry=r,
        )  # fmt: skip
        self.inference = Histogram(
            "tsrec_inference_seconds", "Time of one inference.", ["rung"], buckets=_LATENCY_S, registry=r
        )
        self.inference_batch = Histogram(
            "tsrec_inference_batch_rows", "Rows of one inference.", ["rung"], buckets=_SIZES, registry=r
        )
        self.rung_skipped = Counter("tsrec_rungs_skipped", "Rungs skipped to keep the deadline.", ["rung"], registry=r)
        self.state_rows = Gauge("tsrec_state_rows", "Rows held.", ["table"], registry=r)
        self.evicted = Counter("tsrec_state_evicted_rows", "Rows removed after idling.", ["table"], registry=r)
        self.state_bytes = Gauge("tsrec_state_bytes", "Bytes held.", ["table"], registry=r)
        self.checkpoint = Histogram(
            "tsrec_checkpoint_seconds", "Duration of a checkpoint.", buckets=_DURATION_S, registry=r
        )
        self.checkpoint_rows = Counter("tsrec_checkpoint_rows", "Rows written to changelogs.", registry=r)
        self.last_checkpoint = Gauge("tsrec_last_checkpoint_timestamp_seconds", "When one last ended.", registry=r)
        self.recovery = Gauge("tsrec_recovery_seconds", "Duration of the last recovery.", registry=r)
        self.rebalances = Counter("tsrec_rebalances", "Rebalances of the group seen by this worker.", registry=r)
        self.alerts = Counter("tsrec_alerts", "Alerts published.", ["kind", "severity", "status"], registry=r)
        self.refits = Counter(
            "tsrec_model_refits", "Estimates of parameters, by what became of them.", ["model", "result"], registry=r
        )
        self.refit_wait = Histogram(
            "tsrec_model_refit_wait_seconds", "How long a partition waited for parameters that were due.",
            buckets=_DURATION_S, registry=r,
        )  # fmt: skip
        self.interval_coverage = Gauge(
            "tsrec_interval_coverage", "Share of the latest values that their interval held.", ["series"], registry=r
        )
        self.intervals = Counter("tsrec_intervals", "Values that there was an interval for.", ["series"], registry=r)
        self.interval_level = Gauge(
            "tsrec_interval_level", "Share of values that intervals are meant to hold.", ["series"], registry=r
        )
        self.var_tests = Counter("tsrec_var_tests", "Returns tested against a value at risk.", ["level"], registry=r)
        self.var_exceedances = Counter(
            "tsrec_var_exceedances", "Returns that lost more than the value at risk.", ["level"], registry=r
        )
        self.backtest_failed = Gauge(
            "tsrec_backtest_failed", "Symbols whose tail risk fails a test now.", ["test"], registry=r
        )
        self.backtested = Gauge("tsrec_backtest_symbols", "Symbols with enough returns to be tested.", registry=r)
        self.drifted = Counter("tsrec_model_drift", "Symbols whose model was found to have drifted.", registry=r)
        self.input_drift = Gauge(
            "tsrec_input_drift_psi", "Population stability index of the model's input that moved most.", ["model"],
            registry=r,
        )  # fmt: skip
        self.warning_threshold = Gauge(
            "tsrec_warning_threshold", "Score from which on a warning is raised, set from past days.", ["kind"],
            registry=r,
        )  # fmt: skip
        self.unordered = Counter(
            "tsrec_payments_unordered", "Payments scored before all partitions had come past them.", registry=r
        )
        self.model = Gauge("tsrec_model_info", "1 for the model that answers.", ["model", "version"], registry=r)
        self.web_requests = Counter(
            "tsrec_web_requests", "Requests answered by the web server.", ["route", "status"], registry=r
        )
        self.web_latency = Histogram(
            "tsrec_web_request_seconds", "From the header of a request to its answer.", buckets=_LATENCY_S, registry=r
        )
        self.model_changes = Counter(
            "tsrec_model_changes", "Models that were taken up, or refused, while the stream ran.", ["result"],
            registry=r,
        )  # fmt: skip
        self.trial_events = Counter(
            "tsrec_model_trial_events", "Events compared with the lists of both models before.", registry=r
        )
        self.trial_hits = Counter(
            "tsrec_model_trial_hits", "Those whose item was in the list of ten of the live or the shadow model.",
            ["role"], registry=r,
        )  # fmt: skip
        self.trial_info = Gauge("tsrec_model_trial_info", "1 for the model that is tried.", ["version"], registry=r)
        self.outbox_bytes = Gauge("tsrec_outbox_bytes", "Bytes on their way to the broker.", registry=r)
        self.build = Gauge("tsrec_build_info", "1 for the version that runs.", ["version"], registry=r)
        self.ready = Gauge("tsrec_ready", "1 once joined, recovered and with the catalog read; as /readyz.", registry=r)
        self.topic_partitions = Gauge(
            "tsrec_topic_partitions", "Partitions of a topic, with its name in the contract.", ["topic", "contract"],
            registry=r,
        )  # fmt: skip
        self.assigned = Gauge("tsrec_partitions_assigned", "Partitions this worker reads.", ["topic"], registry=r)
        self.watermark_stalled = Gauge(
            "tsrec_watermark_stalled_seconds", "For how long events have come of a partition whose watermark stands.",
            ["topic"], registry=r,
        )  # fmt: skip
        self.budget = Gauge("tsrec_decision_budget_seconds", "What a decision may take: the deadline.", registry=r)
        self.model_created = Gauge(
            "tsrec_model_created_timestamp_seconds", "When the model that answers was trained.", ["model", "version"],
            registry=r,
        )  # fmt: skip
        self.alerts_open = Gauge("tsrec_alerts_open", "Risk alerts open now.", ["kind", "severity"], registry=r)

    def announce(self, topics: Iterable[Topic], version: str, budget_s: float) -> None:
        """Tell what never changes, and begin counters at nought: a counter that first shows up with the first bad
        record has not grown in the eyes of Prometheus, so no rule would see that record."""
        self.build.labels(version).set(1)
        self.budget.set(budget_s)
        for result in ("taken", "refused"):
            self.model_changes.labels(result)
        for role in ("live", "shadow"):
            self.trial_hits.labels(role)
        for topic in topics:
            if topic.role not in ("input", "internal"):
                continue
            name = topic.kafka_name
            self.topic_partitions.labels(name, topic.name).set(topic.partitions)
            self.late_events.labels(name)
            self.decode_errors.labels(name)
            for reason in Reason:
                if reason is not Reason.LATE:
                    self.dead_letters.labels(name, str(reason))

    def batch_read(self, tp: TP, records: RecordBatch, errors: list[tuple[int, RecordError, str]]) -> None:
        """Count one batch and what was wrong in it."""
        events, sizes = self._of_topic(tp.topic)
        events.inc(len(records))
        sizes.observe(len(records))
        if not errors:
            return
        for (reason, stage), n in Tally((error.reason, stage) for _, error, stage in errors).items():
            if reason is Reason.LATE:
                self.late_events.labels(tp.topic).inc(n)
                continue
            self.dead_letter(tp.topic, reason, n)
            if stage == "decode":
                self.decode_errors.labels(tp.topic).inc(n)

    def _of_topic(self, topic: str) -> tuple[Counter, Histogram]:
        """The topic's own counter and histogram: looking up labels costs more than counting."""
        known = self._topics.get(topic)
        if known is None:
            known = self._topics[topic] = self.events.labels(topic), self.batch_records.labels(topic)
        return known

    def decided(self, kind: str, rungs: dict[str, int], latency_s: float) -> None:
        """Count the decisions of a batch, which were all made at once."""
        for rung, n in rungs.items():
            self.decisions.labels(kind, rung).inc(n)
        _observe_many(self.decision_latency.labels(kind), latency_s, sum(rungs.values()))

    def dead_letter(self, topic: str, reason: Reason, n: int) -> None:
        """Count records sent to the dead letters."""
        self.dead_letters.labels(topic, str(reason)).inc(n)

    def checkpoint_done(self, duration_s: float, rows: int) -> None:
        """Count one checkpoint."""
        self.checkpoint.observe(duration_s)
        self.checkpoint_rows.inc(rows)
        self.last_checkpoint.set(time.time())


def _observe_many(histogram: Histogram, value: float, n: int) -> None:
    """As `n` calls of observe(value), at the cost of one: the library has no such call, and a batch has thousands."""
    histogram._sum.inc(value * n)
    histogram._buckets[bisect.bisect_left(histogram._upper_bounds, value)].inc(n)

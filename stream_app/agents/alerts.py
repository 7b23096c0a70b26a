"""Alerts: the signals of every detector become alerts that a person can live with, and people answer them.

A book a detector and partition keeps what is open. It lives in memory, changes go to its rows before each checkpoint,
and since a signal carries the offset it came from, one that is replayed changes nothing and gives the same alert again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stream_app.agents.alert_rows import read_rows, write_rows
from stream_app.batch import Batch, BatchTopic, Outgoing
from stream_app.gate import Gate
from stream_app.metrics import Metrics
from stream_app.rehearsal import NOWHERE
from stream_app.settings_risk import AlertSettings
from stream_app.state.shard import Shard
from stream_app.state.table import Table
from stream_app.transport.builder import encode_headers
from topics import wire
from topics.decisions import RiskAlert
from topics.errors import Reason
from topics.events import AlertAction
from topics.spans import Spans
from tsrec_models.risk.alerts import FLOOD_KIND, Alert, AlertError, Rule, Signal
from tsrec_models.risk.alerts_book import AlertBook
from tsrec_models.risk.alerts_cap import RateCap
from tsrec_models.risk.alerts_entry import Entry, key_of
from tsrec_models.risk.alerts_review import Label, ReviewQueue
from tsrec_models.risk.alerts_silence import Silence

__all__ = ["AlertActions", "Alerts"]

logger = logging.getLogger(__name__)

#: Header of an action that has been passed on: how many partitions have looked for its alert.
HOPS = "tsrec.hops"

_BOOK, _REVIEW = "book|", "review|"


@dataclass
class Desk:
    """Book and review queue of one detector in one partition; read from the shard."""

    channel: str
    shard: Shard
    book: AlertBook
    review: ReviewQueue = field(default_factory=ReviewQueue)

    def restore(self) -> None:
        """Take up what the shard has."""
        self.book.restore(read_rows(self.shard, f"{self.channel}|{_BOOK}"))
        self.review.restore(read_rows(self.shard, f"{self.channel}|{_REVIEW}"))

    def write_back(self) -> None:
        """Put what changed into the shard."""
        if changes := self.book.take_changes():
            write_rows(self.shard, f"{self.channel}|{_BOOK}", changes)
        if changes := self.review.take_changes():
            write_rows(self.shard, f"{self.channel}|{_REVIEW}", changes)


class Alerts:
    """All desks of this worker. `rules` are by channel: the detector that a book serves."""

    def __init__(
        self, table: Table, output: BatchTopic, rules: dict[str, list[Rule]], settings: AlertSettings, metrics: Metrics
    ) -> None:
        self.table = table
        self.output = output
        self.rules = rules
        self.settings = settings
        self.metrics = metrics
        self.gate = Gate(settings.gate_kinds)
        self._cap = RateCap(settings.cap_per_kind, settings.cap_total, settings.cap_critical, settings.cap_window_s)
        self._desks: dict[tuple[str, int], Desk] = {}

    def desk(self, channel: str, partition: int) -> Desk:
        """The desk of one channel and partition; read anew where its shard was dropped and recovered."""
        shard = self.table.shard(partition)
        known = self._desks.get((channel, partition))
        if known is None or known.shard is not shard:
            known = Desk(channel, shard, AlertBook(self.rules[channel], self._cap), ReviewQueue(self.settings.review))
            known.restore()
            self._desks[channel, partition] = known
            self.gate.forget((channel, partition))
            for entry in known.book.open_alerts():
                self._set_gate(known, partition, entry.kind, entry.subject)
        return known

    def is_open(self, channel: str, partition: int, kind: str, subject: str) -> bool:
        """Whether an alert of this kind and subject is open."""
        entry = self.desk(channel, partition).book.entries.get(key_of(kind, subject))
        return entry is not None and entry.is_open

    def take(
        self,
        batch: Batch,
        channel: str,
        signals: Iterable[Signal],
        until: tuple[float, str] | None,
        suppressed_by: Callable[[Signal], Sequence[str]] = lambda signal: (),
    ) -> None:
        """Let the book of a channel have the signals of a batch, in order, and publish what comes of them.

        until: event time and source of the batch's newest event: what is due by then opens or closes. suppressed_by:
        kinds of the same subject that, where one is open, already say what the signal would.
        """
        desk = self.desk(channel, batch.partition)
        out: list[Alert] = []
        touched: list[tuple[str, str]] = []
        for signal in signals:
            out += desk.book.advance(signal.ts, signal.source)
            open_kinds = (desk.book.entries.get(key_of(kind, signal.subject)) for kind in suppressed_by(signal))
            if any(entry is not None and entry.is_open for entry in open_kinds):
                continue
            out += desk.book.observe(signal)
            touched.append((signal.kind, signal.subject))
        if until is not None:
            out += desk.book.advance(*until)
        self.publish(batch, desk, out)
        for kind, subject in touched:
            self._set_gate(desk, batch.partition, kind, subject)

    def publish(self, batch: Batch, desk: Desk, alerts: Sequence[Alert]) -> None:
        """Send alerts, count them, and put them up for review."""
        if not alerts:
            return
        records = [RiskAlert(**alert.fields()) for alert in alerts]
        subjects = Spans.of([alert.subject.encode() for alert in alerts])
        batch.send(self.output, subjects, Spans.of(wire.encode(records)))
        for alert in alerts:
            if batch.partition != NOWHERE:
                self.metrics.alerts.labels(alert.kind, alert.severity, alert.status).inc()
            if alert.kind != FLOOD_KIND:
                if alert.status == "firing":
                    desk.review.offer(alert)
                self._set_gate(desk, batch.partition, alert.kind, alert.subject)

    def _set_gate(self, desk: Desk, partition: int, kind: str, subject: str) -> None:
        entry = desk.book.entries.get(key_of(kind, subject))
        critical = entry is not None and entry.is_open and entry.severity == "critical"
        place = (desk.channel, partition)
        self.gate.set(place, kind, subject, entry.alert_id if critical and entry is not None else None)

    def open_alerts(self) -> list[Entry]:
        """Everything open on this worker, worst first, for people."""
        found = [entry for desk in self._desks.values() for entry in desk.book.open_alerts()]
        rank = {"critical": 0, "warning": 1, "info": 2}
        return sorted(found, key=lambda entry: (rank[entry.severity], entry.first_ts, entry.key))

    def waiting(self) -> list[Alert]:
        """What waits for a verdict on this worker."""
        return [alert for desk in self._desks.values() for alert in desk.review.waiting()]

    def labels(self) -> list[Label]:
        """Verdicts of people, of this worker's partitions."""
        return [label for desk in self._desks.values() for label in desk.review.labels.values()]

    def write_back(self) -> None:
        """Before a checkpoint: what changed, into the rows."""
        for (channel, partition), desk in list(self._desks.items()):
            if self.table.shards.get(partition) is desk.shard:
                desk.write_back()
            else:
                del self._desks[channel, partition]
                self.gate.forget((channel, partition))

    async def rebuild(self) -> None:
        """After a rebalance: the desks of the partitions that are held now."""
        for channel, partition in list(self._desks):
            if partition not in self.table.shards:
                del self._desks[channel, partition]
                self.gate.forget((channel, partition))
        for partition in list(self.table.shards):
            for channel in self.rules:
                self.desk(channel, partition)


class AlertActions:
    """The agent of `alert-actions`: acknowledge, silence, confirm and reject, at the desk that has the alert.

    An action comes to the partition of its own key, an alert lives in that of its subject: where the alert is not
    here, the action is passed on to the next partition, until all have looked.
    """

    def __init__(self, alerts: Alerts, topic: BatchTopic) -> None:
        self.alerts = alerts
        self.topic = topic

    async def __call__(self, batch: Batch) -> None:
        """Apply each action here, or pass it on."""
        for i, action in enumerate(batch.structs):
            if batch.partition == NOWHERE:
                continue
            desk = self._desk_of(batch.partition, action.alert_id)
            if desk is None:
                self._pass_on(batch, i, action)
                continue
            try:
                self._apply(batch, desk, action, batch.source(i))
            except AlertError as error:
                batch.reject(i, Reason.INVALID, str(error))

    def _desk_of(self, partition: int, alert_id: str) -> Desk | None:
        for channel in self.alerts.rules:
            desk = self.alerts.desk(channel, partition)
            if desk.book.find(alert_id) is not None or desk.review.knows(alert_id):
                return desk
        return None

    def _apply(self, batch: Batch, desk: Desk, action: AlertAction, source: str) -> None:
        by = action.by or "somebody"
        if action.action in ("confirm", "reject"):
            desk.review.review(action.alert_id, action.action == "confirm", by, action.ts, action.note or "")
        elif action.action == "acknowledge":
            self.alerts.publish(batch, desk, [desk.book.acknowledge(action.alert_id, by, action.ts)])
        else:
            entry = desk.book.find(action.alert_id)
            if entry is None:
                raise AlertError(f"alert {action.alert_id!r} is over: name one that is open, or still cooling")
            until = action.until_ts if action.until_ts is not None else action.ts + self.alerts.settings.silence_s
            severity: Any = entry.severity
            desk.book.silence(
                Silence(action.alert_id, until, entry.kind, entry.subject, severity, by, action.note or "")
            )
            logger.info("%s silences %s of %s until %.0f (%s)", by, entry.kind, entry.subject, until, source)

    def _pass_on(self, batch: Batch, i: int, action: AlertAction) -> None:
        headers = dict(batch.records.headers(i))
        hops = int(headers.get(HOPS) or b"0") + 1
        if hops >= self.topic.partitions:
            batch.reject(i, Reason.INVALID, f"no alert {action.alert_id} is open, cooling or waiting for review")
            return
        row = batch.records.take(np.array([i]))
        batch.outgoing.append(
            Outgoing(
                self.topic.name, row.keys, row.values, (batch.partition + 1) % self.topic.partitions,
                row.timestamps_ms, Spans.of([encode_headers([(HOPS, str(hops).encode())])]),
            )
        )  # fmt: skip

"""The review queue: a person confirms or rejects what was alerted, and the answers are kept as labels.

Labels are what the next threshold and the next model learn from (`precision`, `suggest_threshold`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tsrec_models.risk.alerts import Alert, AlertError, Severity, rank

__all__ = ["Label", "Precision", "ReviewQueue", "precision_of"]

_QUEUE_PREFIX = "#review|"
_LABEL_PREFIX = "#label|"


@dataclass(frozen=True, slots=True)
class Label:
    """A person's verdict on one alert, with what the alert said."""

    alert_id: str
    kind: str
    subject: str
    severity: Severity
    value: float
    threshold: float
    confirmed: bool
    by: str
    ts: float
    note: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Precision:
    """Share of confirmed alerts of a kind, with its 90 % interval (Wilson 1927)."""

    reviewed: int
    confirmed: int
    share: float
    lower: float
    upper: float


def precision_of(confirmed: int, reviewed: int) -> Precision:
    """The share of `confirmed` among `reviewed` alerts, NaN between 0 and 1 where there are none."""
    if reviewed == 0:
        return Precision(0, 0, math.nan, 0.0, 1.0)
    z = 1.6448536269514722  # 95 % point of the normal distribution
    p = confirmed / reviewed
    centre = (p + z * z / (2 * reviewed)) / (1 + z * z / reviewed)
    half = z / (1 + z * z / reviewed) * math.sqrt(p * (1 - p) / reviewed + z * z / (4 * reviewed * reviewed))
    return Precision(reviewed, confirmed, p, max(0.0, centre - half), min(1.0, centre + half))


class ReviewQueue:
    """Alerts waiting for a verdict, at most `capacity`; over it the least severe and oldest go, and are counted."""

    def __init__(self, capacity: int = 1000) -> None:
        if capacity < 1:
            raise AlertError(f"review queue: capacity {capacity} must be at least 1")
        self.capacity = capacity
        self.dropped = 0
        self.labels: dict[str, Label] = {}
        self._waiting: dict[str, Alert] = {}
        self._changed: dict[str, None] = {}

    def offer(self, alert: Alert) -> None:
        """Put a published alert up for review; a later state of the same alert replaces the earlier."""
        if alert.alert_id in self.labels:
            return
        self._waiting[alert.alert_id] = alert
        self._changed[_QUEUE_PREFIX + alert.alert_id] = None
        if len(self._waiting) > self.capacity:
            loser = min(self._waiting.values(), key=lambda a: (rank(a.severity), a.first_ts, a.alert_id))
            del self._waiting[loser.alert_id]
            self._changed[_QUEUE_PREFIX + loser.alert_id] = None
            self.dropped += 1

    def knows(self, alert_id: str) -> bool:
        """Whether this alert waits for a verdict or has one."""
        return alert_id in self._waiting or alert_id in self.labels

    def waiting(self, kind: str | None = None) -> list[Alert]:
        """What to look at next: worst first, then oldest."""
        found = [a for a in self._waiting.values() if kind in (None, a.kind)]
        return sorted(found, key=lambda a: (-rank(a.severity), a.first_ts, a.alert_id))

    def review(self, alert_id: str, confirmed: bool, by: str, ts: float, note: str = "") -> Label:
        """Keep a verdict; a second one on the same alert replaces the first. Raises AlertError for an unknown id."""
        alert = self._waiting.pop(alert_id, None)
        old = self.labels.get(alert_id)
        if alert is not None:
            label = Label(
                alert_id,
                alert.kind,
                alert.subject,
                alert.severity,
                alert.value,
                alert.threshold,
                confirmed,
                by,
                ts,
                note,
                dict(alert.evidence),
            )
        elif old is not None:
            label = Label(**{**asdict(old), "confirmed": confirmed, "by": by, "ts": ts, "note": note})
        else:
            raise AlertError(f"alert {alert_id!r} does not wait for review: unknown, or dropped from a full queue")
        self.labels[alert_id] = label
        self._changed[_QUEUE_PREFIX + alert_id] = None
        self._changed[_LABEL_PREFIX + alert_id] = None
        return label

    def precision(self, kind: str) -> Precision:
        """How often people agreed with alerts of `kind`."""
        verdicts = [label.confirmed for label in self.labels.values() if label.kind == kind]
        return precision_of(sum(verdicts), len(verdicts))

    def suggest_threshold(self, kind: str, precision: float, min_reviewed: int = 20) -> float | None:
        """Lowest value at and above which the reviewed alerts of `kind` reach `precision`; None without enough of them.

        A suggestion for the future: it was found on these labels, so their precision at it is not an estimate.
        """
        labels = sorted((x for x in self.labels.values() if x.kind == kind), key=lambda x: -x.value)
        best, confirmed = None, 0
        for n, label in enumerate(labels, start=1):
            confirmed += label.confirmed
            last_of_ties = n == len(labels) or labels[n].value < label.value
            if last_of_ties and n >= min_reviewed and confirmed / n >= precision:
                best = label.value
        return best

    def take_changes(self) -> dict[str, dict[str, Any] | None]:
        """Rows changed since the last call, by key; None is a tombstone."""
        changes: dict[str, dict[str, Any] | None] = {}
        for key in self._changed:
            if key.startswith(_QUEUE_PREFIX):
                alert = self._waiting.get(key.removeprefix(_QUEUE_PREFIX))
                changes[key] = None if alert is None else asdict(alert)
            else:
                changes[key] = asdict(self.labels[key.removeprefix(_LABEL_PREFIX)])
        self._changed.clear()
        return changes

    def restore(self, rows: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Take rows of `take_changes` back, the later ones over the earlier."""
        for key, row in rows.items():
            if key.startswith(_LABEL_PREFIX) and row is not None:
                self.labels[row["alert_id"]] = Label(**row)
            elif row is not None:
                self._waiting[row["alert_id"]] = Alert(**row)
            else:
                self._waiting.pop(key.removeprefix(_QUEUE_PREFIX), None)
        self._changed.clear()

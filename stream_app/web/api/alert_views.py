"""Alerts as the API shows them, and which of them were asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from stream_app.agents.alerts import Alerts, Desk
from stream_app.agents.market_risk import CHANNEL as MARKET
from topics.fields import Id, Label, Severity, Time
from tsrec_models.risk.alerts import rank
from tsrec_models.risk.alerts_entry import Entry
from tsrec_models.risk.alerts_review import ReviewQueue

__all__ = [
    "AlertQuery",
    "AlertView",
    "State",
    "Subjects",
    "Verdict",
    "about",
    "all_alerts",
    "desks",
    "find_alert",
    "verdict_in",
]

Subjects = Literal["symbol", "account"]
Verdict = Annotated[Literal["confirmed", "rejected"], Meta(description="What a person said of the alert.")]

State = Literal["firing", "acknowledged", "silenced", "held", "pending", "resolved"]

_OPEN = ("firing", "acknowledged", "silenced", "held")
_STATES: dict[str, State] = {"pending": "pending", "held": "held", "muted": "silenced", "cooling": "resolved"}


class AlertView(Struct, frozen=True, omit_defaults=True):
    """One alert with its evidence. `held`: kept back by the rate cap; `resolved`: over, within its cooldown."""

    alert_id: Id
    kind: Label
    subject: Id
    about: Annotated[Subjects, Meta(description="What the subject is.")]
    state: State
    severity: Severity
    value: float
    threshold: float
    message: str
    evidence: dict[str, Any]
    first_ts: Time
    last_ts: Time
    source: str
    occurrences: int
    acknowledged_by: str | None = None
    acknowledged_ts: Time | None = None
    verdict: Verdict | None = None


class AlertQuery(Struct, forbid_unknown_fields=True):
    """Which alerts are wanted; all conditions must hold."""

    state: Literal["open", "firing", "acknowledged", "silenced", "held", "pending", "resolved", "all"] = "open"
    severity: Severity | None = None
    kind: Label | None = None
    account: Annotated[Id, Meta(description="Alerts about this account.")] | None = None
    symbol: Annotated[Id, Meta(description="Alerts about this symbol.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000, description="Alerts wanted, worst first.")] = 100

    def wants(self, alert: AlertView) -> bool:
        """Whether an alert fits."""
        states = _OPEN if self.state == "open" else (alert.state if self.state == "all" else self.state,)
        return (
            alert.state in states
            and self.severity in (None, alert.severity)
            and self.kind in (None, alert.kind)
            and (self.account is None or (alert.about, alert.subject) == ("account", self.account))
            and (self.symbol is None or (alert.about, alert.subject) == ("symbol", self.symbol))
        )

    @staticmethod
    def order(alert: AlertView) -> tuple[int, float, str]:
        """Worst first, then latest."""
        return -rank(alert.severity), -alert.last_ts, alert.alert_id


def all_alerts(alerts: Alerts, partitions: set[int]) -> Iterator[AlertView]:
    """Everything that the books of these partitions know. In the stream's loop."""
    for _, channel, desk in desks(alerts, partitions):
        for entry in list(desk.book.entries.values()):
            yield _view(channel, entry, desk.review)


def desks(alerts: Alerts, partitions: set[int]) -> Iterator[tuple[int, str, Desk]]:
    """Partition, channel and desk, of these partitions. In the stream's loop."""
    for partition in sorted(partitions & set(alerts.table.shards)):
        for channel in alerts.rules:
            yield partition, channel, alerts.desk(channel, partition)


def verdict_in(reviews: Iterable[ReviewQueue], alert_id: str) -> Verdict | None:
    """What a person said of an alert; None where nobody did."""
    for review in reviews:
        label = review.labels.get(alert_id)
        if label is not None:
            return "confirmed" if label.confirmed else "rejected"
    return None


def about(channel: str) -> Subjects:
    """What the subjects of a channel are."""
    return "symbol" if channel == MARKET else "account"


def find_alert(alerts: Alerts, partitions: set[int], alert_id: str) -> tuple[int, str, AlertView] | None:
    """Partition, channel and view of one alert. In the stream's loop."""
    for partition, channel, desk in desks(alerts, partitions):
        entry = desk.book.find(alert_id)
        if entry is not None:
            return partition, channel, _view(channel, entry, desk.review)
    return None


def _view(channel: str, entry: Entry, review: ReviewQueue) -> AlertView:
    state = _STATES.get(entry.phase) or ("acknowledged" if entry.acknowledged_by is not None else "firing")
    return AlertView(
        entry.alert_id, entry.kind, entry.subject, about(channel), state,
        entry.severity, float(entry.value), float(entry.threshold), entry.message, dict(entry.evidence),
        entry.first_ts, entry.last_ts, entry.source, entry.occurrences, entry.acknowledged_by, entry.acknowledged_ts,
        verdict_in([review], entry.alert_id),
    )  # fmt: skip

"""State of one alert key (kind and subject), and its row for a changelog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tsrec_models.risk.alerts import Alert, Severity

__all__ = ["Entry", "key_of"]

#: `held`: open, but kept back by the rate cap; `muted`: open, but silenced; `cooling`: closed, within its cooldown.
Phase = Literal["pending", "firing", "held", "muted", "cooling"]


def key_of(kind: str, subject: str) -> str:
    """The dedupe key: at most one alert of it is open at a time."""
    return f"{kind}|{subject}"


@dataclass(slots=True)
class Entry:
    """An alert from its first signal to the end of its cooldown. `value` is the worst seen, `level` the latest."""

    kind: str
    subject: str
    phase: Phase
    alert_id: str
    severity: Severity
    value: float
    level: float
    threshold: float
    message: str
    evidence: dict[str, Any]
    first_ts: float
    last_ts: float
    source: str
    occurrences: int = 1
    published_ts: float | None = None
    closed_ts: float | None = None
    acknowledged_by: str | None = None
    acknowledged_ts: float | None = None
    #: `topic:partition` -> highest offset applied, so that a replay changes nothing.
    applied: dict[str, int] = field(default_factory=dict)
    #: The signal of a level that rose again within the cooldown, as a dict.
    again: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        return key_of(self.kind, self.subject)

    @property
    def is_open(self) -> bool:
        """Whether the condition holds, seen by a person or not."""
        return self.phase in ("firing", "held", "muted")

    def alert(self) -> Alert:
        """The record to publish."""
        status: Literal["firing", "resolved"] = "resolved" if self.phase == "cooling" else "firing"
        evidence = dict(self.evidence)
        evidence["occurrences"] = self.occurrences
        if self.acknowledged_by is not None:
            evidence["acknowledged_by"] = self.acknowledged_by
        return Alert(
            self.alert_id,
            self.kind,
            self.subject,
            self.severity,
            status,
            self.value,
            self.threshold,
            self.message,
            evidence,
            self.first_ts,
            self.last_ts,
            self.source,
        )

    def has_applied(self, source: str) -> bool:
        """Whether the event at `source` was taken before."""
        log, _, offset = source.rpartition(":")
        return log in self.applied and offset.isdigit() and int(offset) <= self.applied[log]

    def mark_applied(self, source: str) -> None:
        """Remember the event at `source`; a source that is not `topic:partition:offset` is not remembered."""
        log, _, offset = source.rpartition(":")
        if offset.isdigit():
            self.applied[log] = max(int(offset), self.applied.get(log, -1))

    def row(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Entry:
        """The entry that `row` was made of."""
        return cls(**row)

"""Silences: a person says that a kind, a subject or both shall not be heard of until a time of the events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tsrec_models.risk.alerts import AlertError, Severity, rank

__all__ = ["Silence"]


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts of `kind` (None: any) for `subject` (None: any) are not published up to event time `until_ts`.

    Alerts above `up_to` severity are still heard: a silence of warnings hides no critical alert unless it says so.
    """

    silence_id: str
    until_ts: float
    kind: str | None = None
    subject: str | None = None
    up_to: Severity = "warning"
    by: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if self.kind is None and self.subject is None:
            raise AlertError(f"silence {self.silence_id!r}: name a kind or a subject, or it would silence everything")

    def covers(self, kind: str, subject: str, severity: Severity, ts: float) -> bool:
        """Whether an alert of these is to be muted at event time `ts`."""
        return (
            ts < self.until_ts
            and self.kind in (None, kind)
            and self.subject in (None, subject)
            and rank(severity) <= rank(self.up_to)
        )

    def row(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Silence:
        return cls(**row)

"""Rate cap of alerts: no more than so many new ones in a window of event time, per kind and in all.

Critical alerts have a budget of their own, so that a storm of warnings never hides one. What is held back is counted,
and one summary alert a window says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tsrec_models.risk.alerts import AlertError, Severity, rank

__all__ = ["CapState", "RateCap"]

#: Subjects named in a summary; the rest is a number.
MAX_SUBJECTS = 10


@dataclass(frozen=True, slots=True)
class RateCap:
    """At most `per_kind` new alerts of a kind and `total` of all kinds in `window_s` seconds; `critical` of critical
    ones, which count nowhere else."""

    per_kind: int = 20
    total: int = 60
    critical: int = 60
    window_s: float = 3600.0

    def __post_init__(self) -> None:
        if min(self.per_kind, self.total, self.critical) < 1 or not self.window_s > 0:
            raise AlertError("rate cap: per_kind, total and critical must be at least 1 and window_s positive")


@dataclass(slots=True)
class CapState:
    """Counts of the current window, tumbling in event time. Late signals count in the current one."""

    window: int | None = None
    published: dict[str, int] = field(default_factory=dict)
    published_critical: int = 0
    held: dict[str, int] = field(default_factory=dict)
    held_subjects: list[str] = field(default_factory=list)
    held_severity: Severity = "info"
    #: Source of the first signal held back: the summary's id derives from it.
    source: str = ""
    first_ts: float = 0.0
    last_ts: float = 0.0

    def is_over(self, cap: RateCap, ts: float) -> bool:
        """Whether `ts` lies in a later window than the current one."""
        return self.window is not None and math.floor(ts / cap.window_s) > self.window

    def open(self, cap: RateCap, ts: float) -> None:
        """Begin the window of `ts` with empty counts."""
        fresh = CapState(window=math.floor(ts / cap.window_s))
        for name in self.__slots__:
            setattr(self, name, getattr(fresh, name))

    def admit(self, cap: RateCap, kind: str, severity: Severity) -> bool:
        """Count one new alert; False, and not counted, where the budget is spent."""
        if severity == "critical":
            if self.published_critical >= cap.critical:
                return False
            self.published_critical += 1
            return True
        if self.published.get(kind, 0) >= cap.per_kind or sum(self.published.values()) >= cap.total:
            return False
        self.published[kind] = self.published.get(kind, 0) + 1
        return True

    def hold(self, kind: str, subject: str, severity: Severity, ts: float, source: str) -> bool:
        """Count one alert held back; True if it is the first of this window."""
        first = not self.held
        if first:
            self.source, self.first_ts, self.held_severity = source, ts, severity
        self.held[kind] = self.held.get(kind, 0) + 1
        self.last_ts = max(self.last_ts, ts)
        if rank(severity) > rank(self.held_severity):
            self.held_severity = severity
        name = f"{kind}|{subject}"
        if len(self.held_subjects) < MAX_SUBJECTS and name not in self.held_subjects:
            self.held_subjects.append(name)
        return first

    @property
    def held_total(self) -> int:
        return sum(self.held.values())

    def summary(self, cap: RateCap) -> str:
        """What a person reads."""
        kinds = ", ".join(
            f"{count} {kind}" for kind, count in sorted(self.held.items(), key=lambda kv: (-kv[1], kv[0]))
        )
        return f"{self.held_total} alerts held back within {cap.window_s:g} s: {kinds}"

    def row(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> CapState:
        return cls(**row)

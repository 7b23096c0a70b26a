"""What an alert is: the record a person reads, the rule that raises it, the signal that feeds it.

The life of an alert (`alerts_book.AlertBook`) runs in event time only and is a pure function of the signals in their
order: the same events give the same alerts with the same ids, on a replay as on the first run.

>>> from tsrec_models.risk.alerts import Rule, Signal
>>> from tsrec_models.risk.alerts_book import AlertBook
>>> book = AlertBook([Rule("drawdown", raise_at=0.10, clear_at=0.08, critical_at=0.25)])
>>> [alert.status for alert in book.observe(Signal("drawdown", "acc-1", 0.12, ts=10.0, source="trades:0:5"))]
['firing']
>>> book.observe(Signal("drawdown", "acc-1", 0.09, ts=11.0, source="trades:0:6"))
[]
>>> [alert.status for alert in book.observe(Signal("drawdown", "acc-1", 0.05, ts=12.0, source="trades:0:7"))]
['resolved']
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tsrec_models.base import ModelError

__all__ = ["FLOOD_KIND", "Alert", "AlertError", "Rule", "Severity", "Signal", "alert_id", "rank"]

Severity = Literal["info", "warning", "critical"]
Status = Literal["firing", "resolved"]

_RANK: dict[str, int] = {"info": 0, "warning": 1, "critical": 2}

#: Kind of the one alert that stands for all those a rate cap held back.
FLOOD_KIND = "alert_flood"


class AlertError(ModelError):
    """A rule, a signal or an answer to an alert that cannot be used."""


def rank(severity: str) -> int:
    """0 for info, 1 for warning, 2 for critical."""
    return _RANK[severity]


def alert_id(kind: str, subject: str, source: str) -> str:
    """Id of the alert that the event at `source` (`topic:partition:offset`) opened: 32 hex digits.

    One event may open alerts of several kinds and for several subjects, so both are part of it.
    """
    return hashlib.blake2b(f"{kind}|{subject}|{source}".encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Rule:
    """When a kind of alert opens, rises and closes. Values are "higher is worse"; times are seconds of event time.

    `raise_at` opens, `clear_at` (<= raise_at) closes, `critical_at` raises the severity to critical.
    `pending_s`: the value must stay at or above `raise_at` that long before the alert opens.
    `quiet_s`: for kinds that are events rather than levels: closes when nothing came for that long.
    `cooldown_s`: after closing, the same kind and subject stays quiet that long, unless it comes back critical
    where it was not before; what comes back within it and has not gone again opens when it is over.
    `repeat_s`: an open alert is published again that often while its signals go on; infinity means once.
    `relative`: the levels above are multiples of the threshold that each signal brings (a limit that differs by account
    or symbol): 1.0 is that threshold.
    """

    kind: str
    raise_at: float
    clear_at: float | None = None
    critical_at: float | None = None
    severity: Severity = "warning"
    pending_s: float = 0.0
    quiet_s: float = math.inf
    cooldown_s: float = 300.0
    repeat_s: float = math.inf
    relative: bool = False

    def __post_init__(self) -> None:
        if not self.kind or "|" in self.kind or self.kind.startswith("#"):
            raise AlertError(f"rule kind {self.kind!r}: must be a word without '|' that does not start with '#'")
        if self.clears_below > self.raise_at:
            raise AlertError(f"rule {self.kind}: clear_at {self.clear_at} is above raise_at {self.raise_at}; lower it")
        if self.critical_at is not None and self.critical_at < self.raise_at:
            raise AlertError(f"rule {self.kind}: critical_at {self.critical_at} is below raise_at {self.raise_at}")
        if min(self.pending_s, self.quiet_s, self.cooldown_s, self.repeat_s) < 0:
            raise AlertError(f"rule {self.kind}: pending_s, quiet_s, cooldown_s and repeat_s must not be negative")
        if self.severity not in _RANK:
            raise AlertError(f"rule {self.kind}: severity {self.severity!r} is none of {', '.join(_RANK)}")

    @property
    def clears_below(self) -> float:
        """The alert closes at a value below this."""
        return self.raise_at if self.clear_at is None else self.clear_at

    def level_of(self, signal: Signal) -> float:
        """What is compared with the levels of this rule. Raises AlertError for a signal that cannot be compared."""
        if math.isnan(signal.value) or not math.isfinite(signal.ts):
            raise AlertError(f"signal {signal.kind} at {signal.source}: value {signal.value} or ts {signal.ts}")
        if not self.relative:
            return signal.value
        if signal.threshold is None or not signal.threshold > 0:
            raise AlertError(f"signal {signal.kind} at {signal.source}: needs a positive threshold of its own")
        return signal.value / signal.threshold

    def severity_of(self, signal: Signal) -> Severity:
        """Severity of a signal that is at or above `raise_at`."""
        if signal.severity is not None:
            return signal.severity
        if self.critical_at is not None and self.level_of(signal) >= self.critical_at:
            return "critical"
        return self.severity

    def threshold_of(self, signal: Signal) -> float:
        """The threshold that an alert names: the signal's own, or the one of this rule that was reached."""
        if signal.threshold is not None:
            return signal.threshold
        if self.critical_at is not None and signal.value >= self.critical_at:
            return self.critical_at
        return self.raise_at


@dataclass(frozen=True, slots=True)
class Signal:
    """One measurement of a detector: `value` of `kind` for `subject` at event time `ts`, caused by `source`.

    `severity` overrides the rule's; `threshold` is what the detector compared with, where that differs from the rule's
    (a limit of that account, say). `evidence` holds plain values only: it goes out as JSON.
    """

    kind: str
    subject: str
    value: float
    ts: float
    source: str
    message: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    threshold: float | None = None
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """What is published: the contract's fields of `risk-alerts`, in its order."""

    alert_id: str
    kind: str
    subject: str
    severity: Severity
    status: Status
    value: float
    threshold: float
    message: str
    evidence: dict[str, Any]
    first_ts: float
    last_ts: float
    source: str

    def fields(self) -> dict[str, Any]:
        """The record as a dict of plain values."""
        return asdict(self)

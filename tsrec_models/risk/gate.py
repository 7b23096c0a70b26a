"""Risk-gated recommendations: who is under a grave alert gets no promotions of the kinds that settings name.

>>> gate = RiskGate([GateRule("loss_limit", frozenset({"leverage", "margin"})), GateRule("*", frozenset({"credit"}))])
>>> decision = gate.decide([("loss_limit", "critical", "id1")], ["leverage", "newsletter", "credit"])
>>> decision.allowed, [(w.promotion, w.alert_kind) for w in decision.withheld]
(('newsletter',), [('leverage', 'loss_limit'), ('credit', 'loss_limit')])
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tsrec_models.risk.alerts import AlertError, Severity, rank
from tsrec_models.risk.alerts_book import AlertBook

__all__ = ["GateDecision", "GateRule", "RiskGate", "Withheld"]


@dataclass(frozen=True, slots=True)
class GateRule:
    """Alerts of `alert_kind` ("*": any) of at least `severity` withhold promotions of the kinds in `withhold` ("*" in
    it: all)."""

    alert_kind: str
    withhold: frozenset[str]
    severity: Severity = "critical"

    def __post_init__(self) -> None:
        if not self.withhold:
            raise AlertError(
                f"gate rule for {self.alert_kind!r} withholds nothing: name promotion kinds, or '*' for all"
            )


@dataclass(frozen=True, slots=True)
class Withheld:
    """One promotion kind that is not shown, and the alert that is the reason."""

    promotion: str
    alert_kind: str
    severity: Severity
    alert_id: str

    @property
    def reason(self) -> str:
        """For the decision's record."""
        return f"withheld: {self.severity} {self.alert_kind} alert {self.alert_id}"


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Promotion kinds in the order they were asked for: those that may be shown, and those withheld with why."""

    allowed: tuple[str, ...]
    withheld: tuple[Withheld, ...]


class RiskGate:
    """Decides by `rules`; the gravest alert is named as the reason, of equal ones the first."""

    def __init__(self, rules: Iterable[GateRule]) -> None:
        self.rules = tuple(rules)

    def decide(self, alerts: Sequence[tuple[str, Severity, str]], promotions: Sequence[str]) -> GateDecision:
        """What may be shown to one under open `alerts` (kind, severity, alert id), of `promotions` (kinds)."""
        allowed, withheld = [], []
        for promotion in promotions:
            reasons = [
                Withheld(promotion, kind, severity, alert_id)
                for kind, severity, alert_id in alerts
                if any(_applies(rule, kind, severity, promotion) for rule in self.rules)
            ]
            if reasons:
                withheld.append(max(reasons, key=lambda w: rank(w.severity)))
            else:
                allowed.append(promotion)
        return GateDecision(tuple(allowed), tuple(withheld))

    def decide_for(self, book: AlertBook, subjects: Sequence[str], promotions: Sequence[str]) -> GateDecision:
        """The same from a book: `subjects` are the user and the accounts that are theirs. A silenced or capped alert
        counts too: that nobody has heard of it does not make the risk smaller."""
        alerts = [(e.kind, e.severity, e.alert_id) for subject in subjects for e in book.open_alerts(subject)]
        return self.decide(alerts, promotions)


def _applies(rule: GateRule, kind: str, severity: Severity, promotion: str) -> bool:
    return (
        rule.alert_kind in ("*", kind)
        and rank(severity) >= rank(rule.severity)
        and ("*" in rule.withhold or promotion in rule.withhold)
    )

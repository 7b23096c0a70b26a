"""Alerts that are over: the books forget one after its cooldown, and who looked away should still see it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from topics.decisions import RiskAlert

__all__ = ["ResolvedAlerts"]

#: Kept and shown, the latest: enough to see what happened lately, few enough to leave open ones the room.
MOST = 8


class ResolvedAlerts:
    """The last ones that were published as resolved, as `AlertView` has them; one that fires again is none of them."""

    def __init__(self) -> None:
        self._alerts: dict[str, RiskAlert] = {}
        self._decode = msgspec.json.Decoder(RiskAlert).decode

    def add(self, records: Iterable[bytes]) -> None:
        """Take records of `risk-alerts`, each alert's in the order in which they were published."""
        for record in records:
            alert = self._decode(record)
            self._alerts.pop(alert.alert_id, None)
            if alert.status == "resolved":
                self._alerts[alert.alert_id] = alert
        while len(self._alerts) > MOST:
            del self._alerts[min(self._alerts, key=lambda name: self._alerts[name].last_ts)]

    def besides(self, known: Iterable[str]) -> list[dict[str, Any]]:
        """Those whose ids are not among the `known`, latest first."""
        ids = set(known)
        left = [alert for name, alert in self._alerts.items() if name not in ids]
        left.sort(key=lambda alert: -alert.last_ts)
        return [{**msgspec.to_builtins(alert), "state": "resolved"} for alert in left]

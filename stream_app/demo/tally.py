"""What the demo counts: rates, latencies, and how often the next purchase was in the list shown last."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Tally"]


@dataclass
class Tally:
    """Counts of one run.

    The list a purchase is compared with is the last one caused by an event before the item's own (simulated) view:
    after the view the item is no longer recommended, since the user has seen it. The baseline beside it is the ten
    items bought most often in the run so far.
    """

    sent: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)
    rungs: Counter[str] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=200_000))
    recent_recommendations: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=4))
    recent_alerts: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=6))
    forecasts: dict[str, dict[str, Any]] = field(default_factory=dict)
    hits: int = 0
    baseline_hits: int = 0
    compared: int = 0
    compared_baseline: int = 0

    def __post_init__(self) -> None:
        self._sent_at: dict[str, tuple[float, str, int]] = {}
        self._turn: Counter[str] = Counter()
        self._viewed: dict[tuple[str, str], int] = {}
        self._lists: dict[str, deque[tuple[int, frozenset[str]]]] = defaultdict(lambda: deque(maxlen=100))
        self._bought: Counter[str] = Counter()
        self._open: dict[str, list[tuple[int, str]]] = defaultdict(list)

    def shop_event_sent(self, source: str, topic: str, user: str, item: str, at_s: float) -> None:
        """A view or purchase went out; `source` is what its decision will name."""
        turn = self._turn[user] = self._turn[user] + 1
        self._sent_at[source] = (at_s, user, turn)
        if topic == "clicks":
            self._viewed.setdefault((user, item), turn)
            return
        viewed = self._viewed.get((user, item), turn)
        # Only the first purchase of an item: what was bought before is not recommended again.
        if self._viewed.get((user, item)) != -1:
            self._viewed[user, item] = -1
            if viewed > 1:
                self._open[user].append((viewed, item))
                self.compared_baseline += 1
                self.baseline_hits += item in {best for best, _ in self._bought.most_common(10)}
        self._bought[item] += 1

    def recommendation(self, decision: dict[str, Any], at_s: float) -> None:
        """A recommendation came."""
        self.received["recommendations"] += 1
        self.rungs[decision["rung"]] += 1
        sent = self._sent_at.pop(decision["source"], None)
        if sent is None:
            return
        sent_at, user, turn = sent
        self.latencies_s.append(at_s - sent_at)
        self.recent_recommendations.append(decision)
        self._lists[user].append((turn, frozenset(item["item_id"] for item in decision["items"])))
        self._compare(user)

    def _compare(self, user: str) -> None:
        """Close the purchases of `user` whose list is known: the one of the turn just before the view."""
        lists = dict(self._lists[user])
        waiting = []
        for viewed, item in self._open[user]:
            shown = lists.get(viewed - 1)
            if shown is None:
                waiting.append((viewed, item))
                continue
            self.compared += 1
            self.hits += item in shown
        self._open[user] = waiting[-50:]

    def alert(self, alert: dict[str, Any]) -> None:
        """An alert came."""
        self.received["risk-alerts"] += 1
        self.alerts[f"{alert['severity']} {alert['status']}"] += 1
        self.recent_alerts.append(alert)

    def forecast(self, forecast: dict[str, Any]) -> None:
        """A forecast came."""
        self.received["forecasts"] += 1
        self.forecasts[forecast["subject"]] = forecast

    def percentile_ms(self, percent: float) -> float | None:
        """Latency from sending an event to holding its recommendation, both in this process, ms."""
        if not self.latencies_s:
            return None
        return round(float(np.percentile(np.fromiter(self.latencies_s, np.float64), percent)) * 1000, 1)

    def summary(self, seconds: float) -> dict[str, Any]:
        """The run in one JSON object."""
        return {
            "seconds": round(seconds, 1),
            "events": dict(self.sent),
            "recommendations": self.received["recommendations"],
            "rungs": dict(self.rungs),
            "next_purchase_in_last_list": round(self.hits / self.compared, 4) if self.compared else None,
            "next_purchase_in_bestsellers": (
                round(self.baseline_hits / self.compared_baseline, 4) if self.compared_baseline else None
            ),
            "purchases_compared": self.compared,
            "alerts": dict(self.alerts),
            "forecasts": self.received["forecasts"],
            "latency_ms": {"p50": self.percentile_ms(50), "p99": self.percentile_ms(99)},
        }

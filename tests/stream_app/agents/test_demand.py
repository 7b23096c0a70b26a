"""Demand: counts of all partitions of users meet, each window is forecast once, intervals hold, also after crashes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.stream_app.agents.desk import Desk
from topics.events import Purchase

HOUR = 3600.0
START = 1_700_006_400.0
DEMAND = {"windows": 48, "items": 20, "level": 0.8}


def purchases(hours: int, seed: int = 1, items: int = 6) -> list[list[Purchase]]:
    """By partition of users, in order of time: items that are bought at rates of their own, forty an hour in all."""
    rng = np.random.default_rng(seed)
    rate = np.random.default_rng(9).lognormal(1.5, 0.6, items)
    found: list[list[Purchase]] = [[] for _ in range(4)]
    for hour in range(hours):
        for item in range(items):
            for _ in range(rng.poisson(rate[item])):
                user = int(rng.integers(100))
                ts = START + hour * HOUR + float(rng.uniform(0, HOUR))
                found[user % 4].append(Purchase(f"u{user}", f"item-{item}", ts))
    return [sorted(part, key=lambda p: p.ts) for part in found]


async def deliver(desk: Desk, parts: list[list[Purchase]], begin: float = 0.0, end: float = np.inf) -> None:
    """Ten minutes of each partition in turn."""
    last = min(end, max(part[-1].ts for part in parts) - START + 1)
    for t in np.arange(begin, last, 600.0):
        for partition, part in enumerate(parts):
            if batch := [p for p in part if t <= p.ts - START < min(t + 600.0, end)]:
                await desk.send("purchases", batch, partition)


async def test_each_window_is_forecast_from_the_counts_of_all_partitions() -> None:
    parts = purchases(60)
    desk = Desk(demand=DEMAND)
    await deliver(desk, parts)
    truth = Counter((p.item_id, int((p.ts - START) // HOUR)) for part in parts for p in part)
    forecasts = desk.sent["forecasts"]
    assert {f.subject for f in forecasts} == {f"item-{k}" for k in range(6)}
    assert len({(f.subject, f.ts) for f in forecasts}) == len(forecasts)
    for f in forecasts:
        assert f.value == truth[f.subject, int((f.ts - START) // HOUR) - 1]  # of the window that has just ended
        assert 0 <= f.lower <= f.upper
        assert (f.horizon, f.step_s, f.level, f.model) == (1, HOUR, 0.8, "arima(0,1,1)")
        assert f.source.startswith("item-counts:")
    # A forecast for every window from the twentieth on, but for the last, which nothing has ended.
    hours = sorted({int((f.ts - START) // HOUR) for f in forecasts})
    assert hours == list(range(20, 60))
    held = [f.lower <= truth[f.subject, int((f.ts - START) // HOUR)] <= f.upper for f in forecasts]
    assert np.mean(held) == pytest.approx(0.8, abs=0.08)
    assert desk.metrics.interval_coverage.labels("item")._value.get() == pytest.approx(np.mean(held), abs=0.03)
    desk.close()


async def test_only_the_items_wanted_most_are_forecast() -> None:
    desk = Desk(demand={**DEMAND, "items": 1})
    await deliver(desk, purchases(30))
    by_partition = Counter(f.source.rsplit(":", 1)[0] for f in desk.sent["forecasts"] if f.ts == START + 25 * HOUR)
    assert by_partition
    assert set(by_partition.values()) == {1}
    desk.close()


async def test_a_crash_counts_nothing_twice_and_forecasts_the_same() -> None:
    parts = purchases(40, 2)
    whole, desk = Desk(demand=DEMAND), Desk(demand=DEMAND)
    await deliver(whole, parts)
    await deliver(desk, parts, end=30.5 * HOUR)
    desk.checkpoint()
    at = {key: offset for key, offset in desk.offsets.items() if key[0] == "purchases"}
    kept = list(desk.sent["forecasts"])
    await deliver(desk, parts, 30.5 * HOUR, 32.5 * HOUR)
    desk.sent["forecasts"] = kept
    await desk.crash()
    desk.offsets.update(at)  # purchases are read again; their counts stay in the topic, and come a second time
    await deliver(desk, parts, 30.5 * HOUR)
    got = [(f.subject, f.ts, f.mean, f.lower, f.upper, f.value) for f in desk.sent["forecasts"]]
    assert got == [(f.subject, f.ts, f.mean, f.lower, f.upper, f.value) for f in whole.sent["forecasts"]]
    whole.close()
    desk.close()


async def test_a_late_purchase_is_added_to_its_window() -> None:
    parts = purchases(3, 3)
    desk = Desk(demand=DEMAND)
    await deliver(desk, parts)
    late = [Purchase("u0", "item-0", START + 10.0), Purchase("u0", "item-0", START + 2 * HOUR + 3599.0)]
    await desk.send("purchases", late, 0)
    table = next(table for table in desk.app.columnar_tables if table.name == "item-demand")
    row = table.get("item-0")
    assert row is not None
    window = int(START // HOUR)
    truth = Counter(int(p.ts // HOUR) for part in parts for p in part if p.item_id == "item-0")
    assert row["ring"][window % 48] == truth[window] + 1
    assert row["ring"][(window + 1) % 48] == truth[window + 1]
    desk.close()

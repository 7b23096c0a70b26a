"""The shipped monitoring on a live worker: real Prometheus, the shipped rules and dashboard, an alert that fires."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_app.transport.partitioning import partitions_of
from tests.system.brokers import Kafka
from tests.system.kafka_io import Record, produce
from tests.system.monitored import DEPLOY, Prometheus, worker_of
from tests.system.workers import ROOT, WorkerProcess, wait_until
from topics.spans import Spans

pytestmark = [pytest.mark.system, pytest.mark.kafka]

#: Panels that may be empty within the seconds of a test: they show what has not happened yet, or hours of bars.
EMPTY = {
    "Losses beyond value at risk", "Risk alerts open", "Risk alerts an hour", "Drift", "Skipped to keep the deadline",
    "Request duration, p99",
}  # fmt: skip


@pytest.fixture
def worker(kafka: Kafka, tmp_path: Path, name: str) -> Iterator[tuple[WorkerProcess, int]]:
    with worker_of(kafka, tmp_path, name) as running:
        yield running


def clicks(n: int, begin: float) -> list[Record]:
    """Clicks of fifty users, one second after another, some hours late at the end."""
    draw = np.random.default_rng(3)
    items = json.loads((ROOT / "stream_app" / "demo" / "data" / "model" / "items.json").read_text())
    users, chosen = draw.integers(0, 50, n), draw.integers(0, len(items), n)
    ts = begin + np.arange(n)
    ts[-5:] -= 7200
    keys = [b"u%d" % user for user in users.tolist()]
    places = partitions_of(Spans.of(keys), 4).tolist()
    return [
        Record(p, key, json.dumps({"user_id": key.decode(), "item_id": items[i], "ts": t}).encode())
        for p, key, i, t in zip(places, keys, chosen.tolist(), ts.tolist(), strict=True)
    ]


def trades(bars: int, begin: float) -> list[Record]:
    """Two trades a minute of one symbol: more bars than its model warms up with."""
    draw = np.random.default_rng(4)
    price = 100.0 * np.exp(np.cumsum(draw.normal(0, 1e-3, 2 * bars)))
    (place,) = partitions_of(Spans.of([b"ACME"]), 4).tolist()
    return [
        Record(place, b"ACME", b'{"symbol":"ACME","price":%.4f,"quantity":1,"ts":%.1f}' % (p, begin + 30.0 * i))
        for i, p in enumerate(price.tolist())
    ]


async def test_prometheus_sees_every_recorded_series_and_poison_raises_the_alert(
    kafka: Kafka, tmp_path: Path, name: str, worker: tuple[WorkerProcess, int]
) -> None:
    process, port = worker
    prometheus = Prometheus(tmp_path, port)
    try:
        wait_until(lambda: prometheus.values("up") == [1.0], 20, "a scrape with the token")
        now = time.time()
        await produce(kafka.bootstrap, f"{name}-trades", trades(60, now - 4000))
        poison = [Record(0, b"u1", b"{not json"), Record(1, b"u1", b'{"user_id":"u1"}')]
        events = clicks(600, now - 700)
        for k in range(0, 600, 100):  # for some seconds: a rate needs two scrapes
            await produce(kafka.bootstrap, f"{name}-clicks", [*events[k : k + 100], *poison])
            time.sleep(1.0)
        groups = prometheus.get("rules")["groups"]
        recorded = [rule["name"] for group in groups for rule in group["rules"] if rule["type"] == "recording"]
        assert len(recorded) > 15

        def missing() -> list[str]:
            return [record for record in recorded if not prometheus.values(record)]

        try:
            wait_until(lambda: not missing(), 30, "every recorded series", every_s=1.0)
        except TimeoutError:
            pytest.fail(f"no value of {missing()}; the log of the worker:\n{process.log()[-3000:]}")
        assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}

        # Ten counted, two a round; scrapes may have missed the first round's beginning.
        wait_until(lambda: bool(_firing(prometheus, "TsrecDeadLetters")), 20, "TsrecDeadLetters")
        found = {alert["labels"]["reason"]: alert for alert in _firing(prometheus, "TsrecDeadLetters")}
        assert found.keys() == {"undecodable", "invalid"}
        assert found["invalid"]["labels"]["topic"] == f"{name}-clicks"
        assert "went to the dead letters: invalid" in found["invalid"]["annotations"]["summary"]
        assert "<no value>" not in json.dumps(found)
        firing = {alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"]}
        assert not firing & {"TsrecWorkerDown", "TsrecNoWorkers", "TsrecRecoveryTooLong", "TsrecPartitionsUnread"}

        assert _empty_panels(prometheus) <= EMPTY
        assert prometheus.values('tsrec_model_created_timestamp_seconds{job="tsrec"}')
    finally:
        prometheus.close()


def _firing(prometheus: Prometheus, alert: str) -> list[Any]:
    found = prometheus.get("alerts")["alerts"]
    return [one for one in found if one["labels"]["alertname"] == alert and one["state"] == "firing"]


def _empty_panels(prometheus: Prometheus) -> set[str]:
    """Panels of the dashboard none of whose queries gives a number."""
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "tsrec.json").read_text())
    return {
        panel["title"]
        for panel in board["panels"]
        if panel["type"] != "row"
        and not any(prometheus.values(target["expr"].replace("$job", "tsrec")) for target in panel["targets"])
    }

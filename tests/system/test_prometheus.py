"""The shipped monitoring on a live worker: real Prometheus, the shipped rules and dashboard, an alert that fires."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_app.transport.partitioning import partitions_of
from tests.system.brokers import Kafka, free_port
from tests.system.kafka_io import Record, produce
from tests.system.workers import ROOT, WorkerProcess, wait_until
from topics.spans import Spans

pytestmark = [pytest.mark.system, pytest.mark.kafka]

DEPLOY = ROOT / "deploy"
TOKEN = "the-token-of-this-test"

#: Panels that may be empty within the seconds of a test: they show what has not happened yet, or hours of bars.
EMPTY = {
    "Losses beyond value at risk", "Risk alerts open", "Risk alerts an hour", "Drift", "Skipped to keep the deadline",
    "Request duration, p99",
}  # fmt: skip


class Prometheus:
    """A real Prometheus with the shipped configuration, but for addresses and a second in place of fifteen."""

    def __init__(self, folder: Path, worker_port: int) -> None:
        yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("prometheus is not installed")
        shutil.copytree(DEPLOY / "prometheus", folder / "prometheus")
        (folder / "token").write_text(TOKEN)
        path = folder / "prometheus" / "prometheus.yml"
        config = yaml.safe_load(path.read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["alerting"] = {}
        job = next(job for job in config["scrape_configs"] if job["job_name"] == "tsrec")
        job["authorization"]["credentials_file"] = str(folder / "token")
        assert job.pop("dns_sd_configs")[0]["port"] == 6066
        job["static_configs"] = [{"targets": [f"127.0.0.1:{worker_port}"]}]
        config["scrape_configs"] = [job]
        path.write_text(yaml.safe_dump(config))
        self.port = free_port()
        self._log = (folder / "prometheus.log").open("wb")
        self.process = subprocess.Popen(
            [
                program, f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=self._log, stderr=self._log,
        )  # fmt: skip
        wait_until(lambda: _answers(f"http://127.0.0.1:{self.port}/-/ready"), 30, "Prometheus is ready")

    def get(self, path: str, **query: str) -> Any:
        """The `data` of an answer of the API."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]

    def values(self, query: str) -> list[float]:
        """Values of an instant query that are numbers."""
        found = [float(sample["value"][1]) for sample in self.get("query", query=query)["result"]]
        return [value for value in found if not np.isnan(value)]

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(15)
        self._log.close()


@pytest.fixture
def worker(kafka: Kafka, tmp_path: Path, name: str) -> Iterator[tuple[WorkerProcess, int]]:
    """A worker as deployed, with a model and a token; ready."""
    port = free_port()
    process = WorkerProcess(
        tmp_path, "worker", "-m", "stream_app.cli", "worker", TSREC_BOOTSTRAP=kafka.bootstrap,
        TSREC_TOPIC_PREFIX=f"{name}-", TSREC_GROUP=name, TSREC_SESSION_TIMEOUT_S="6", TSREC_WEB_PORT=str(port),
        TSREC_WEB_TOKEN=TOKEN, TSREC_MODEL=str(ROOT / "stream_app" / "demo" / "data" / "model"),
        TSREC_LADDER__BUDGET_MS="60000",
    ).start()  # fmt: skip
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/readyz"), 200, "readiness")
        yield process, port
    except TimeoutError as error:
        raise TimeoutError(f"{error}; the log:\n{process.log()[-3000:]}") from None
    finally:
        process.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


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

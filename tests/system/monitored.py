"""A worker as deployed and a real Prometheus that watches it with what ships."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_app.orphans import ends_with_us
from tests.system.brokers import Kafka, free_port
from tests.system.workers import ROOT, WorkerProcess, wait_until

__all__ = ["DEPLOY", "Prometheus", "answers", "worker_of"]

DEPLOY = ROOT / "deploy"
TOKEN = "the-token-of-this-test"


class Prometheus:
    """A real Prometheus with the shipped configuration, but for addresses and a second in place of fifteen.

    alertmanager: the port of one that is told of alerts. rules: what is written otherwise in the alert rules.
    """

    def __init__(
        self, folder: Path, worker_port: int, alertmanager: int | None = None, rules: dict[str, str] | None = None
    ) -> None:
        yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("prometheus is not installed")
        shutil.copytree(DEPLOY / "prometheus", folder / "prometheus")
        (folder / "token").write_text(TOKEN)
        alerts = folder / "prometheus" / "rules" / "alerts.yml"
        for ours, otherwise in (rules or {}).items():
            assert ours in alerts.read_text()
            alerts.write_text(alerts.read_text().replace(ours, otherwise))
        path = folder / "prometheus" / "prometheus.yml"
        config = yaml.safe_load(path.read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        found = {"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}
        config["alerting"] = {} if alertmanager is None else {"alertmanagers": [found]}
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
            stdout=self._log, stderr=self._log, preexec_fn=ends_with_us(),
        )  # fmt: skip
        wait_until(lambda: answers(f"http://127.0.0.1:{self.port}/-/ready"), 30, "Prometheus is ready")

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


@contextmanager
def worker_of(kafka: Kafka, folder: Path, name: str) -> Iterator[tuple[WorkerProcess, int]]:
    """A worker as deployed, with a model and a token; ready. And the port of its web server."""
    port = free_port()
    process = WorkerProcess(
        folder, "worker", "-m", "stream_app.cli", "worker", TSREC_BOOTSTRAP=kafka.bootstrap,
        TSREC_TOPIC_PREFIX=f"{name}-", TSREC_GROUP=name, TSREC_SESSION_TIMEOUT_S="6", TSREC_WEB_PORT=str(port),
        TSREC_WEB_TOKEN=TOKEN, TSREC_MODEL=str(ROOT / "stream_app" / "demo" / "data" / "model"),
        TSREC_LADDER__BUDGET_MS="60000",
    ).start()  # fmt: skip
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), 200, "readiness")
        yield process, port
    except TimeoutError as error:
        raise TimeoutError(f"{error}; the log:\n{process.log()[-3000:]}") from None
    finally:
        process.close()


def answers(url: str) -> bool:
    """Whether a GET is answered 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False

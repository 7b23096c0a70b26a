"""From a record that breaks the contract to whoever is told of it, and told that it is over: a real worker, Prometheus
with the shipped rules, Alertmanager with the shipped routes."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stream_app.orphans import ends_with_us
from tests.system.brokers import Kafka, free_port
from tests.system.kafka_io import Record, produce
from tests.system.monitored import DEPLOY, Prometheus, answers, worker_of
from tests.system.workers import wait_until

pytestmark = [pytest.mark.system, pytest.mark.kafka]

#: For how long a dead letter is told of here; the shipped rule says an hour.
WINDOW_S = 20


class Told:
    """Listens as a channel of a team would; what it was sent, by receiver."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told.sent += [(self.path.strip("/"), alert) for alert in body["alerts"]]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def has(self, receiver: str, alert: str, status: str, **labels: str) -> bool:
        """Whether a receiver was told so."""
        wanted = {"alertname": alert, **labels}.items()
        return any(
            where == receiver and one["status"] == status and one["labels"].items() >= wanted
            for where, one in self.sent
        )  # fmt: skip


@contextmanager
def alertmanager(folder: Path, told: Told) -> Iterator[int]:
    """The shipped configuration, with an address for each receiver and a second in place of minutes; its port."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("alertmanager is not installed")
    config = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())
    for route in (config["route"], *config["route"]["routes"]):
        route.update(group_wait="1s", group_interval="1s")
    for receiver in config["receivers"]:
        receiver["webhook_configs"] = [{"url": f"http://127.0.0.1:{told.port}/{receiver['name']}"}]
    path, port = folder / "alertmanager.yml", free_port()
    path.write_text(yaml.safe_dump(config))
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program, f"--config.file={path}", "--cluster.listen-address=",
                f"--web.listen-address=127.0.0.1:{port}", f"--storage.path={folder / 'alertmanager'}",
            ],
            stdout=log, stderr=log, preexec_fn=ends_with_us(),
        )  # fmt: skip
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/-/ready"), 30, "Alertmanager is ready")
        yield port
    finally:
        process.terminate()
        process.wait(15)


async def test_somebody_is_told_that_letters_are_dead_and_that_it_is_over(
    kafka: Kafka, tmp_path: Path, name: str
) -> None:
    told = Told()
    with worker_of(kafka, tmp_path, name) as (_, port), alertmanager(tmp_path, told) as manager:
        prometheus = Prometheus(
            tmp_path, port, manager, {"tsrec_dead_letters_total[1h]": f"tsrec_dead_letters_total[{WINDOW_S}s]"}
        )
        try:
            wait_until(lambda: prometheus.values("up") == [1.0], 20, "a scrape with the token")
            await produce(kafka.bootstrap, f"{name}-clicks", [Record(0, b"u1", b"{not json")] * 3)

            def seen(status: str) -> bool:
                return told.has("ticket", "TsrecDeadLetters", status, topic=f"{name}-clicks", reason="undecodable")

            wait_until(lambda: seen("firing"), 60, "somebody is told")
            first = next(alert for _, alert in told.sent if alert["labels"]["alertname"] == "TsrecDeadLetters")
            assert "went to the dead letters: undecodable" in first["annotations"]["summary"]
            assert "tsrec dlq list" in first["annotations"]["description"]
            wait_until(lambda: seen("resolved"), 60 + WINDOW_S, "somebody is told that it is over")
            assert not [alert for where, alert in told.sent if where == "page"], "nobody is woken by three letters"
        finally:
            prometheus.close()
            told.server.shutdown()

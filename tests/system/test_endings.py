"""How a worker ends: at a signal, without a broker, and when something in it fails."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.system.brokers import Kafka, free_port
from tests.system.conftest import Start
from tests.system.counting import Clicks, judge
from tests.system.crashes import wait_for_outputs
from tests.system.kafka_io import create_topics, produce, read_all
from tests.system.workers import WorkerProcess, wait_until

pytestmark = [pytest.mark.system, pytest.mark.kafka]


def test_a_broker_that_was_never_there_is_one_line_and_sigterm_ends_at_once(start: Start) -> None:
    address = f"127.0.0.1:{free_port()}"
    worker = start("echo", address)
    worker.wait_for_log("no broker answers", 60)
    time.sleep(3.0)
    log = worker.log()
    assert len(re.findall("no broker answers at " + address, log)) == 1
    assert "Traceback" not in log
    assert "aiokafka" not in log
    began = time.monotonic()
    assert worker.terminate(10) == 0
    assert time.monotonic() - began < 5


def test_the_whole_worker_ends_without_a_word_of_leaks_and_compiles_once(tmp_path: Path) -> None:
    """It has processes that estimate, and shares semaphores with them."""
    address = f"127.0.0.1:{free_port()}"
    settings = {"TSREC_BOOTSTRAP": address, "TSREC_WEB_PORT": str(free_port()), "PYTHONWARNINGS": ""}
    worker = WorkerProcess(tmp_path, "worker", "-m", "stream_app.cli", "worker", **settings).start()
    try:
        worker.wait_for_log("no broker answers", 240)
        time.sleep(3.0)
        assert worker.terminate(15) == 0
        time.sleep(2.0)  # who would complain does so when the worker is gone
        assert "resource_tracker" not in worker.log()
        compiled = worker.log().count("kernels compiled")
        worker.start()  # its log goes on in the same file
        wait_until(lambda: worker.log().count("no broker answers") == 2, 60, "it has begun again")
        assert worker.log().count("kernels compiled") == compiled <= 1
        assert worker.terminate(15) == 0
    finally:
        worker.close()


def test_sigterm_while_the_broker_is_down_ends_by_the_deadline_and_says_so(own_kafka: Kafka, start: Start) -> None:
    own_kafka.start()
    worker = start("echo", own_kafka.bootstrap, SHUTDOWN_TIMEOUT_S="3")
    worker.wait_for_log("worker ready")
    own_kafka.stop(signal.SIGKILL)
    time.sleep(2.0)
    began = time.monotonic()
    assert worker.terminate(15) in (0, 4)
    assert time.monotonic() - began < 8
    assert "Traceback" not in worker.log()


async def test_a_failed_checkpoint_ends_the_worker_with_one_error_and_nothing_is_lost(
    kafka: Kafka, start: Start, name: str
) -> None:
    topic, output = f"{name}-in", f"{name}-out"
    await create_topics(kafka.bootstrap, topic)
    clicks = Clicks(users=50)
    worker = start("failing", kafka.bootstrap)
    worker.wait_for_log("worker ready")
    for _ in range(3):
        await produce(kafka.bootstrap, topic, clicks.take(500))
        time.sleep(1.2)
    assert worker.wait(15) == 1
    log = worker.log()
    assert log.count("ERROR stream_app") == 1
    assert log.count("Traceback") == 1
    assert "Event loop is closed" not in log
    again = start("echo", kafka.bootstrap, worker="again")
    await wait_for_outputs(kafka.bootstrap, output, 1500, 60)
    assert again.terminate() == 0
    outputs = Counter(r.value for r in await read_all(kafka.bootstrap, output))
    assert sum(outputs.values()) >= 1500


async def test_a_changelog_of_other_columns_ends_the_worker_with_a_sentence(
    kafka: Kafka, start: Start, name: str
) -> None:
    topic, output = f"{name}-in", f"{name}-out"
    await create_topics(kafka.bootstrap, topic)
    await produce(kafka.bootstrap, topic, Clicks(users=50).take(200))
    worker = start("echo", kafka.bootstrap)
    await wait_for_outputs(kafka.bootstrap, output, 200, 60)
    assert worker.terminate() == 0
    other = start("other_columns", kafka.bootstrap, worker="other")
    assert other.wait(60) == 1
    log = other.log()
    assert log.count("was written with other columns") == 1
    assert "Traceback" not in log


async def test_sigterm_commits_what_was_done(kafka: Kafka, start: Start, name: str) -> None:
    """Nothing is repeated by the next worker, though the last commit before the signal was up to a second old."""
    topic, output = f"{name}-in", f"{name}-out"
    await create_topics(kafka.bootstrap, topic)
    clicks = Clicks(users=100)
    for round in range(2):
        await produce(kafka.bootstrap, topic, clicks.take(500))
        worker = start("standard", kafka.bootstrap, worker=f"worker{round}")
        await wait_for_outputs(kafka.bootstrap, output, 500 * (round + 1), 60)
        began = time.monotonic()
        assert worker.terminate() == 0
        assert time.monotonic() - began < 5
    verdict = judge(clicks.truth, await read_all(kafka.bootstrap, output))
    assert (verdict.missing, verdict.repeated, verdict.wrong) == (0, 0, 0)

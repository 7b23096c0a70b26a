"""One Apache Kafka for all system tests of a run; each test has topics of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.brokers import Kafka, kafka_home


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

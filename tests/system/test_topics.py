"""Topics that are missing, empty or of the wrong shape are found before anything is consumed."""

from __future__ import annotations

import pytest

from tests.system.brokers import Kafka
from tests.system.conftest import Start
from tests.system.counting import Clicks, judge
from tests.system.crashes import wait_for_outputs
from tests.system.kafka_io import create_topics, end_offsets, produce, read_all

pytestmark = [pytest.mark.system, pytest.mark.kafka]


async def test_a_wrong_partition_count_is_a_sentence_that_says_what_to_do(
    kafka: Kafka, start: Start, name: str
) -> None:
    await create_topics(kafka.bootstrap, f"{name}-in", partitions=3)
    await produce(kafka.bootstrap, f"{name}-in", (r for r in Clicks(users=1).take(10)))
    worker = start("echo", kafka.bootstrap)
    assert worker.wait(60) == 1
    log = worker.log()
    assert f"{name}-in has 3 and 4 are declared" in log
    assert "make the topics anew" in log
    assert "Traceback" not in log
    assert sum((await end_offsets(kafka.bootstrap, f"{name}-out")).values()) == 0


async def test_missing_topics_are_made_and_an_empty_topic_is_waited_on(kafka: Kafka, start: Start, name: str) -> None:
    worker = start("standard", kafka.bootstrap)
    worker.wait_for_log(f"worker ready: {name}-in 0 1 2 3")
    clicks = Clicks(users=300, hot=0.5)
    await produce(kafka.bootstrap, f"{name}-in", clicks.take(3000))
    await wait_for_outputs(kafka.bootstrap, f"{name}-out", 3000, 60)
    assert worker.terminate() == 0
    verdict = judge(clicks.truth, await read_all(kafka.bootstrap, f"{name}-out"))
    assert (verdict.missing, verdict.repeated, verdict.wrong) == (0, 0, 0)

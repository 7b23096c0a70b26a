"""Workers join, leave, are paused, brokers restart: state is handed over; who lost a partition writes no more."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.system.brokers import Kafka
from tests.system.conftest import SESSION_TIMEOUT_S, Start
from tests.system.counting import Clicks, judge
from tests.system.crashes import settled
from tests.system.kafka_io import create_topics, produce, read_all

pytestmark = [pytest.mark.system, pytest.mark.kafka]


async def _feed(bootstrap: str, topic: str, clicks: Clicks, seconds: float, rate: int = 600) -> None:
    for _ in range(round(seconds * 2)):
        await produce(bootstrap, topic, clicks.take(rate // 2))
        await asyncio.sleep(0.4)


async def test_a_worker_joins_and_another_leaves_while_input_flows(kafka: Kafka, start: Start, name: str) -> None:
    guarantee = "exactly_once"
    topic, output = f"{name}-in", f"{name}-out"
    await create_topics(kafka.bootstrap, topic, output)
    clicks = Clicks(users=500)
    first = start("standard", kafka.bootstrap, worker="first", GUARANTEE=guarantee)
    await asyncio.to_thread(first.wait_for_log, "worker ready")
    feeding = asyncio.create_task(_feed(kafka.bootstrap, topic, clicks, 12))
    second = start("standard", kafka.bootstrap, worker="second", GUARANTEE=guarantee)
    await asyncio.to_thread(second.wait_for_log, r"worker ready: \S+ \d")
    await asyncio.sleep(2.0)
    assert await asyncio.to_thread(first.terminate) == 0
    await feeding
    await settled(kafka.bootstrap, output, clicks)
    assert await asyncio.to_thread(second.terminate) == 0
    verdict = judge(clicks.truth, await read_all(kafka.bootstrap, output))
    assert (verdict.missing, verdict.repeated, verdict.wrong) == (0, 0, 0), verdict


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
async def test_a_worker_paused_beyond_its_session_is_kept_from_writing(
    kafka: Kafka, start: Start, name: str, guarantee: str
) -> None:
    topic, output = f"{name}-in", f"{name}-out"
    await create_topics(kafka.bootstrap, topic, output)
    clicks = Clicks(users=500)
    zombie = start("standard", kafka.bootstrap, worker="zombie", GUARANTEE=guarantee)
    await asyncio.to_thread(zombie.wait_for_log, "worker ready")
    await _feed(kafka.bootstrap, topic, clicks, 3)
    zombie.signal(signal.SIGSTOP)
    other = start("standard", kafka.bootstrap, worker="other", GUARANTEE=guarantee)
    await asyncio.to_thread(other.wait_for_log, rf"worker ready: {topic} 0 1 2 3")
    await _feed(kafka.bootstrap, topic, clicks, 2)
    zombie.signal(signal.SIGCONT)
    await _feed(kafka.bootstrap, topic, clicks, float(SESSION_TIMEOUT_S))
    await settled(kafka.bootstrap, output, clicks)
    # Whoever has the rows now, has the right ones.
    other.kill()
    if zombie.alive:
        await asyncio.to_thread(zombie.terminate)
    else:
        assert zombie.wait(1) == 1
        assert "Fenced" in zombie.log()
    heir = start("standard", kafka.bootstrap, worker="heir", GUARANTEE=guarantee)
    await _feed(kafka.bootstrap, topic, clicks, 1)
    await settled(kafka.bootstrap, output, clicks)
    assert await asyncio.to_thread(heir.terminate) == 0
    verdict = judge(clicks.truth, await read_all(kafka.bootstrap, output))
    assert (verdict.missing, verdict.wrong) == (0, 0), verdict
    if guarantee == "exactly_once":
        assert verdict.repeated == 0, verdict


@pytest.mark.parametrize(("guarantee", "how"), [("at_least_once", signal.SIGTERM), ("exactly_once", signal.SIGKILL)])
async def test_workers_go_on_by_themselves_when_the_broker_was_away(
    own_kafka: Kafka, start: Start, name: str, guarantee: str, how: signal.Signals
) -> None:
    own_kafka.start()
    topic, output = f"{name}-in", f"{name}-out"
    await create_topics(own_kafka.bootstrap, topic, output)
    clicks = Clicks(users=500)
    worker = start("standard", own_kafka.bootstrap, GUARANTEE=guarantee)
    await asyncio.to_thread(worker.wait_for_log, "worker ready")
    await _feed(own_kafka.bootstrap, topic, clicks, 1.5)
    await asyncio.to_thread(own_kafka.stop, how)
    await asyncio.sleep(1.0)
    await asyncio.to_thread(own_kafka.start)
    await _feed(own_kafka.bootstrap, topic, clicks, 1.5)
    await settled(own_kafka.bootstrap, output, clicks)
    assert await asyncio.to_thread(worker.terminate) == 0
    verdict = judge(clicks.truth, await read_all(own_kafka.bootstrap, output))
    assert (verdict.missing, verdict.wrong) == (0, 0), verdict
    if guarantee == "exactly_once":
        assert verdict.repeated == 0, verdict

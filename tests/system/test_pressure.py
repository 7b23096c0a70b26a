"""Slow agents and slow brokers hold up the stream; they do not grow memory. Standbys make a failover quick."""

from __future__ import annotations

import asyncio
import signal
import time

import psutil
import pytest

from tests.system.brokers import Kafka
from tests.system.conftest import Start
from tests.system.counting import Clicks, judge
from tests.system.crashes import wait_for_outputs
from tests.system.kafka_io import Record, create_topics, end_offsets, produce, read_all
from tests.system.workers import WorkerProcess

pytestmark = [pytest.mark.system, pytest.mark.kafka]

MB = 1 << 20


def _memory(worker: WorkerProcess) -> int:
    assert worker.process is not None
    return int(psutil.Process(worker.process.pid).memory_info().rss)


async def test_an_agent_that_sleeps_and_a_broker_that_hangs_do_not_grow_memory(
    kafka: Kafka, start: Start, name: str
) -> None:
    topic, output = f"{name}-in", f"{name}-out"
    await create_topics(kafka.bootstrap, topic)
    value = b'{"user_id":"u1","item_id":"i","ts":%d.0,"padding":"%s"}' % (int(time.time()), b"x" * 900)
    worker = start("echo", kafka.bootstrap, SLEEP_S="0.2")
    await asyncio.to_thread(worker.wait_for_log, "worker ready")
    before = _memory(worker)
    for _ in range(10):  # 200 MB in all
        await produce(kafka.bootstrap, topic, [Record(i % 4, b"u1", value) for i in range(20_000)])
    largest = before
    assert kafka.process is not None
    for how in (signal.SIGSTOP, signal.SIGCONT):
        await asyncio.to_thread(_signal_group, kafka, how)
        for _ in range(8):
            largest = max(largest, _memory(worker))
            await asyncio.sleep(0.25)
    assert 0 < sum((await end_offsets(kafka.bootstrap, output)).values()) < 200_000
    assert worker.terminate(20) in (0, 4)
    assert largest - before < 140 * MB, (before, largest)


def _signal_group(kafka: Kafka, how: signal.Signals) -> None:
    assert kafka.process is not None
    root = psutil.Process(kafka.process.pid)
    for process in [root, *root.children(recursive=True)]:
        process.send_signal(how)


@pytest.mark.parametrize("together", [True, False], ids=["joined together", "joined one after the other"])
async def test_a_standby_takes_over_with_the_state_it_has_followed(
    kafka: Kafka, start: Start, name: str, *, together: bool
) -> None:
    """One that joins later follows from the first record on: what only the first had written is there too."""
    topic, output = f"{name}-in", f"{name}-out"
    await create_topics(kafka.bootstrap, topic, output)
    clicks = Clicks(users=2000)
    workers = [start("standard", kafka.bootstrap, worker="worker0")]
    if not together:
        await produce(kafka.bootstrap, topic, clicks.take(5000))
        await asyncio.to_thread(workers[0].wait_for_log, r"worker ready: \S+ \d")
    workers.append(start("standard", kafka.bootstrap, worker="worker1"))
    for worker in workers:
        await asyncio.to_thread(worker.wait_for_log, f"worker ready: {topic} \\d \\d\\n")
    if together:
        await produce(kafka.bootstrap, topic, clicks.take(5000))
    await produce(kafka.bootstrap, topic, clicks.take(5000))
    await wait_for_outputs(kafka.bootstrap, output, 10_000, 60)
    await asyncio.sleep(1.5)
    workers[0].kill()
    await asyncio.to_thread(workers[1].wait_for_log, f"worker ready: {topic} 0 1 2 3", 30)
    await produce(kafka.bootstrap, topic, clicks.take(1000))
    await wait_for_outputs(kafka.bootstrap, output, 11_000, 60)
    # What it had followed as a standby was not read again: no line about recovered rows before it was ready.
    log = workers[1].log().splitlines()
    ready = max(i for i, line in enumerate(log) if f"worker ready: {topic} 0 1 2 3" in line)
    recovered = [line for line in log[ready - 1 : ready] if " recovered " in line]
    assert not recovered, recovered
    assert await asyncio.to_thread(workers[1].terminate) == 0
    verdict = judge(clicks.truth, await read_all(kafka.bootstrap, output))
    assert (verdict.missing, verdict.wrong) == (0, 0), verdict

"""An ordinary Faust topic, agent and table beside batch topics in one app; and the embedded broker."""

from __future__ import annotations

import asyncio
import re
import signal
from collections import Counter

import pytest

from tests.system.brokers import Kafka, Tansu
from tests.system.conftest import Start
from tests.system.counting import Clicks, judge
from tests.system.crashes import wait_for_outputs
from tests.system.kafka_io import Record, create_topics, end_offsets, produce, read_all
from tests.system.workers import wait_until

pytestmark = pytest.mark.system


@pytest.mark.kafka
@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
async def test_an_ordinary_agent_and_table_work_beside_batches_and_commit(
    kafka: Kafka, start: Start, name: str, guarantee: str
) -> None:
    words, totals = f"{name}-words", f"{name}-totals"
    await create_topics(kafka.bootstrap, f"{name}-in", words, totals)
    env = {"WORDS": words, "TOTALS": totals, "GUARANTEE": guarantee}
    clicks, said = Clicks(users=100), 0
    for round in range(2):
        await produce(kafka.bootstrap, f"{name}-in", clicks.take(500))
        await produce(kafka.bootstrap, words, [Record(i % 4, b"w%d" % (i % 8), b"x") for i in range(40)])
        said += 40
        worker = start("beside", kafka.bootstrap, worker=f"worker{round}", **env)
        await wait_for_outputs(kafka.bootstrap, f"{name}-out", 500 * (round + 1), 60)
        await wait_for_outputs(kafka.bootstrap, totals, said, 60)
        assert worker.terminate() == 0
        assert "Traceback" not in worker.log()
    outputs = Counter((r.key, r.value) for r in await read_all(kafka.bootstrap, totals))
    # Each word was said ten times, over both workers: the table was recovered, and no message taken twice.
    assert outputs == Counter((b"w%d" % w, b"%d" % n) for w in range(8) for n in range(1, 11))
    assert len(await read_all(kafka.bootstrap, f"{name}-out")) == 1000


@pytest.mark.kafka
async def test_an_ordinary_agent_of_two_workers_sends_to_any_partition_under_exactly_once(
    kafka: Kafka, start: Start, name: str
) -> None:
    """The partition that a message goes to, and with it Faust's choice of a transaction, may be the other worker's."""
    words, totals = f"{name}-words", f"{name}-totals"
    await create_topics(kafka.bootstrap, f"{name}-in", words, totals)
    env = {"WORDS": words, "TOTALS": totals, "GUARANTEE": "exactly_once"}
    workers = [start("beside", kafka.bootstrap, worker=f"worker{i}", **env) for i in range(2)]

    def share() -> bool:
        ready = [re.findall(r"worker ready: \S+((?: \d)+)", worker.log()) for worker in workers]
        return all(lines and len(lines[-1].split()) == 2 for lines in ready)

    await asyncio.to_thread(wait_until, share, 60, "two partitions each")
    await produce(kafka.bootstrap, words, [Record(i % 4, b"w%d" % (i % 8), b"x") for i in range(400)])
    for _ in range(200):  # by records: ends of transactions take offsets too
        if len(await read_all(kafka.bootstrap, totals)) >= 400:
            break
        await asyncio.sleep(0.3)
    for worker in workers:
        assert "Traceback" not in worker.log()
    # One after the other would have the second end in the middle of taking over: another test's matter.
    for worker in workers:
        worker.signal(signal.SIGTERM)
    for worker in workers:
        worker.wait(30)
    outputs = Counter((r.key, r.value) for r in await read_all(kafka.bootstrap, totals))
    assert outputs == Counter((b"w%d" % w, b"%d" % n) for w in range(8) for n in range(1, 51))
    # Ends of transactions take offsets of their own: what was sent outside of them would leave none.
    assert sum((await end_offsets(kafka.bootstrap, totals)).values()) > 400


async def _outputs(broker: Tansu, topic: str, n: int) -> None:
    """Until there are `n`: this broker says of the end of a partition only where its last batch begins."""
    for _ in range(200):
        if len(await read_all(broker.bootstrap, topic)) >= n:
            return
        await asyncio.sleep(0.3)
    raise TimeoutError(f"fewer than {n} outputs")


async def test_the_standard_job_runs_on_the_embedded_broker_and_takes_its_place_again_after_a_kill(
    tansu: Tansu, start: Start, name: str
) -> None:
    topic, output = f"{name}-in", f"{name}-out"
    await create_topics(tansu.bootstrap, topic, output)
    clicks = Clicks(users=200)
    await produce(tansu.bootstrap, topic, clicks.take(1000))
    worker = start("standard", tansu.bootstrap, SESSION_TIMEOUT_S="6")
    await _outputs(tansu, output, 1000)
    await asyncio.sleep(1.5)  # a checkpoint
    worker.kill()
    await produce(tansu.bootstrap, topic, clicks.take(1000))
    worker.start()
    await _outputs(tansu, output, 2000)
    assert worker.terminate() == 0
    verdict = judge(clicks.truth, await read_all(tansu.bootstrap, output))
    assert (verdict.missing, verdict.wrong) == (0, 0), verdict

"""Event to output of the standard job at a steady rate, and beside it the floor: event to a bare consumer of the input.

latency.py [--guarantee at_least_once] [--checkpoint-s 1] [--rate 2000] [--seconds 15] [--bootstrap HOST:PORT]

Both are taken in one process from the same events, so that what the machine does to one it does to the other. Starts an
Apache Kafka of its own unless told of one; prints one JSON line.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.system.brokers import borrow_kafka
from tests.system.counting import PARTITIONS, Clicks
from tests.system.crashes import standard_job
from tests.system.kafka_io import create_topics, produce

#: Seconds at the beginning that do not count.
WARM_UP_S = 3.0


async def measure(bootstrap: str, folder: Path, guarantee: str, rate: int, seconds: float, checkpoint_s: float) -> dict:
    """Latencies in ms of the job and of the bare consumer."""
    tag = uuid.uuid4().hex[:6]
    topic, output = f"latency-{tag}-in", f"latency-{tag}-out"
    await create_topics(bootstrap, topic, output)
    clicks = Clicks(users=10_000, step_s=1 / rate, seed=3)
    await produce(bootstrap, topic, clicks.take(2 * rate))
    worker = standard_job(
        folder, "worker", bootstrap, f"latency-{tag}", topic, output, guarantee,
        CHECKPOINT_INTERVAL_S=str(checkpoint_s),
    ).start()  # fmt: skip
    await asyncio.to_thread(worker.wait_for_log, "worker ready")
    sent: dict[tuple[int, int], list[float]] = defaultdict(list)
    before = dict(clicks.truth)
    direct, through = [], []
    began = time.time()

    async def consume(name: str, out: list, stamp) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, isolation_level="read_committed" if "out" in name else "read_uncommitted"
        )
        await consumer.start()
        tps = [TopicPartition(name, p) for p in range(PARTITIONS)]
        consumer.assign(tps)
        await consumer.seek_to_end(*tps)
        try:
            while True:
                polled = await consumer.getmany(timeout_ms=200)
                now = time.time()
                for records in polled.values():
                    for record in records:
                        at = stamp(record)
                        if at is not None and at > began + WARM_UP_S:
                            out.append((now - at) * 1e3)
        finally:
            await consumer.stop()

    def of_output(record) -> float | None:
        row = json.loads(record.value)
        key = (int(row["user_id"][1:]), int(row["window_start"]))
        nth = row["count"] - before.get(key, 0) - 1
        return sent[key][nth] if 0 <= nth < len(sent[key]) else None

    def of_input(record) -> float:
        return float(dict(record.headers)["sent"])

    tasks = [
        asyncio.create_task(consume(topic, direct, of_input)),
        asyncio.create_task(consume(output, through, of_output)),
    ]
    await asyncio.sleep(1.0)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0)
    await producer.start()
    began = time.time()
    done, futures = 0, []
    while (now := time.time()) < began + WARM_UP_S + seconds:
        for record in clicks.take(int((now - began) * rate) - done):
            row = json.loads(record.value)
            at = time.time()
            sent[int(row["user_id"][1:]), int(row["ts"] // 300) * 300].append(at)
            futures.append(
                await producer.send(topic, record.value, record.key, record.partition, headers=[("sent", b"%f" % at)])
            )
            done += 1
        await asyncio.sleep(0.002)
    await asyncio.gather(*futures)
    await asyncio.sleep(2.5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await producer.stop()
    worker.terminate()
    row = {
        "bench": "latency", "guarantee": guarantee, "checkpoint_s": checkpoint_s, "rate": rate, "events": len(direct),
        "outputs": len(through),
    }  # fmt: skip
    for name, values in (("job", through), ("bare_consumer", direct)):
        for q in (50, 90, 99):
            row[f"{name}_p{q}_ms"] = round(float(np.percentile(values, q)), 1)
    return row


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guarantee", default="at_least_once", choices=["at_least_once", "exactly_once"])
    parser.add_argument("--rate", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--checkpoint-s", type=float, default=1.0, help="seconds between two checkpoints")
    parser.add_argument("--bootstrap")
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bootstrap = args.bootstrap or borrow_kafka(stack, folder, parser.error).bootstrap
        row = measure(bootstrap, folder, args.guarantee, args.rate, args.seconds, args.checkpoint_s)
        print(json.dumps(asyncio.run(row)), flush=True)


if __name__ == "__main__":
    main()

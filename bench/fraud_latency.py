"""Live payments through a worker: from the send of a payment to its score at a consumer, and what went out of order.

    python bench/fraud_latency.py [--rate 500] [--seconds 15] [--partitions 4] [--idle 1] [--guarantee exactly_once]

Payments of the handbook's cards and merchants, with the time at which they are sent, go to an Apache Kafka of its own.
Those of `--idle` partitions stop after five seconds and come back at the end: the others must not wait for them. One
JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from fraud_stream import DATA, FIRST_DAY, ROOT, trained

sys.path.insert(0, str(ROOT))

from stream_app.embedded import free_port
from stream_app.transport.partitioning import partitions_of
from tests.system.brokers import borrow_kafka
from tests.system.kafka_io import create_topics
from tests.system.workers import WorkerProcess
from topics import wire
from topics.decisions import FraudScore
from topics.events import CardTransaction
from topics.spans import Spans
from tsrec_models.evaluation.fraud_reading import Transactions, read_transactions

#: Seconds at the beginning that do not count, and in which no partition is idle yet.
WARM_UP_S = 5.0


class Live:
    """Payments sent at a rate, and the scores that come back."""

    def __init__(self, bootstrap: str, partitions: int, idle: int) -> None:
        self.bootstrap = bootstrap
        self.partitions = partitions
        self.idle = idle
        #: Number of a payment -> when and to which partition it was sent; when its score came.
        self.sent: dict[int, tuple[float, int]] = {}
        self.scored: dict[int, float] = {}

    async def consume(self) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, isolation_level="read_committed")
        await consumer.start()
        places = [TopicPartition("fraud-scores", p) for p in range(self.partitions)]
        consumer.assign(places)
        await consumer.seek_to_end(*places)
        try:
            while True:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    now = time.time()
                    for record in records:
                        score = msgspec.json.decode(record.value, type=FraudScore)
                        self.scored.setdefault(int(score.transaction_id or -1), now)
        finally:
            await consumer.stop()

    async def send(self, data: Transactions, first: int, rate: float, seconds: float) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=0)
        await producer.start()
        begin, row, futures = time.time(), 0, []
        while (now := time.time()) < begin + WARM_UP_S + seconds:
            quiet = WARM_UP_S < now - begin < WARM_UP_S + 0.8 * seconds
            while row < (now - begin) * rate:
                at, row = first + row, row + 1
                key = b"card-%d" % data.account[at]
                partition = int(partitions_of(Spans.of([key]), self.partitions)[0])
                if quiet and partition < self.idle:
                    continue
                moment = time.time()
                paid = CardTransaction(
                    key.decode(), f"shop-{data.merchant[at]}", moment, float(data.amount[at]), str(row)
                )
                self.sent[row] = (moment, partition)
                futures.append(
                    await producer.send("card-transactions", wire.encode([paid])[0], key, partition)
                )  # fmt: skip
            await asyncio.sleep(0.002)
        await asyncio.gather(*futures)
        await producer.stop()

    def figures(self, seconds: float) -> dict[str, float]:
        begin = min(moment for moment, _ in self.sent.values()) + WARM_UP_S
        counted = {row: moment for row, (moment, _) in self.sent.items() if moment > begin}
        took = np.array([self.scored[row] - moment for row, moment in counted.items() if row in self.scored]) * 1e3
        quantiles = {f"p{q}_ms": round(float(np.percentile(took, q)), 1) for q in (50, 90, 99)}
        return {"payments": len(counted), "scores": len(took), **quantiles, "max_ms": round(float(took.max()), 1)}


def unordered(port: int) -> float:
    """Payments that went on before their turn, as the worker counts them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("tsrec_payments_unordered_total"))


async def measure(data: Transactions, model: Path, args: argparse.Namespace) -> dict:
    """Latencies of one worker."""
    folder, port = Path(tempfile.mkdtemp(prefix="fraud-latency-")), free_port()
    with ExitStack() as stack:
        broker = borrow_kafka(stack, folder, sys.exit)
        env = {
            "TSREC_BOOTSTRAP": broker.bootstrap, "TSREC_GROUP": "bench", "TSREC_WEB_PORT": str(port),
            "TSREC_PARTITIONS": str(args.partitions), "TSREC_FRAUD__MODEL": str(model),
            "TSREC_GUARANTEE": args.guarantee, "TSREC_LOG_LEVEL": "INFO",
        }  # fmt: skip
        worker = WorkerProcess(folder, "worker", "-m", "stream_app.cli", "worker", **env)
        stack.callback(worker.close)
        await create_topics(broker.bootstrap, "card-transactions", "fraud-scores", partitions=args.partitions)
        worker.start()
        await asyncio.to_thread(worker.wait_for_log, "worker ready", 120)
        live = Live(broker.bootstrap, args.partitions, args.idle)
        reading = asyncio.create_task(live.consume())
        await asyncio.sleep(1.0)
        await live.send(data, int(np.searchsorted(data.day, FIRST_DAY)), args.rate, args.seconds)
        await asyncio.sleep(3.0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return {**live.figures(args.seconds), "unordered": unordered(port)}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--idle", type=int, default=0, help="partitions that fall silent for most of the time")
    parser.add_argument("--guarantee", default="at_least_once", choices=["at_least_once", "exactly_once"])
    parser.add_argument("--model", type=Path, help="folder of a model that `tsrec evaluate fraud --save` has written")
    args = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"no data at {DATA}")
    data, _ = read_transactions(DATA)
    model = args.model or trained(data)[1]
    row = asyncio.run(measure(data, model, args))
    print(json.dumps({"bench": "fraud_latency", **{k: v for k, v in vars(args).items() if k != "model"}, **row,
                      "load": round(os.getloadavg()[0], 1)}))  # fmt: skip


if __name__ == "__main__":
    main()

"""The whole job: a recommendation of ten for each click, by one worker, on a Kafka at BOOTSTRAP.

    python bench/whole_job.py throughput --events 200000 [--model FOLDER]
    python bench/whole_job.py latency --rate 2000 --seconds 30 [--model FOLDER]

Clicks are drawn as shops see them: users log-uniform (a few hot, a long tail), items by Zipf within a taste of each
user's. The worker is a process of its own; what is measured is what it publishes. Each run has topics of its own.
JSON lines.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream_app.orphans import ends_with_us
from stream_app.transport.builder import build_batches
from stream_app.transport.partitioning import partitions_of
from topics.catalog import Catalog
from topics.spans import Spans


def clicks(
    n: int, users: int, items: int, start_s: float, gap_s: float, model: str | None = None
) -> tuple[Spans, Spans]:
    """`n` clicks as keys and JSON values, of items that the model knows."""
    names = json.loads((Path(model) / "items.json").read_text())[:items] if model else [f"i{i}" for i in range(items)]
    ids = [name.encode() for name in names]
    draw = np.random.default_rng(7)
    user = (users ** draw.random(n)).astype(np.int64)
    taste = (user * 2_654_435_761) % items
    rank = np.minimum((draw.pareto(1.1, n) * 3).astype(np.int64), items - 1)
    item = (taste + rank) % len(ids)
    ts = start_s + np.arange(n) * gap_s
    keys = [b"u%d" % u for u in user.tolist()]
    values = [
        b'{"user_id":"u%d","item_id":"%b","ts":%.3f}' % (u, ids[i], t)
        for u, i, t in zip(user.tolist(), item.tolist(), ts.tolist(), strict=True)
    ]
    return Spans.of(keys), Spans.of(values)


async def make_topics(bootstrap: str, catalog: Catalog) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(t.kafka_name, t.partitions, 1) for t in catalog.values()])
    await admin.close()


def start_worker(args: argparse.Namespace, prefix: str, budget_ms: float) -> subprocess.Popen[bytes]:
    env = dict(
        os.environ, TSREC_TOPIC_PREFIX=prefix, TSREC_GROUP=f"{prefix}worker", TSREC_BOOTSTRAP=args.bootstrap,
        TSREC_LADDER__BUDGET_MS=str(budget_ms), TSREC_WEB_PORT=str(args.web_port), TSREC_LOG_LEVEL="WARNING",
        TSREC_GUARANTEE=args.guarantee, TSREC_PARTITIONS=str(args.partitions),
    )  # fmt: skip
    if args.model:
        env["TSREC_MODEL"] = args.model
    return subprocess.Popen([sys.executable, "-m", "stream_app.cli", "worker"], env=env, preexec_fn=ends_with_us())


class Producer:
    """Sends columns of clicks to the partitions of their keys."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self.producer, self.topic, self.partitions = producer, topic, partitions

    async def send(self, keys: Spans, values: Spans) -> None:
        place = partitions_of(keys, self.partitions)
        await asyncio.gather(*(self._send_to(p, keys, values, place == p) for p in range(self.partitions)))

    async def _send_to(self, p: int, keys: Spans, values: Spans, mask: np.ndarray) -> None:
        for batch in build_batches(keys.take(mask), values.take(mask), max_bytes=128 << 10):
            await (await self.producer.send_batch(batch, self.topic, partition=p))


async def throughput(args: argparse.Namespace) -> None:
    prefix = f"whole-{uuid.uuid4().hex[:6]}-"
    catalog = Catalog(prefix, partitions=args.partitions)
    await make_topics(args.bootstrap, catalog)
    producer = AIOKafkaProducer(bootstrap_servers=args.bootstrap)
    await producer.start()
    sender = Producer(producer, catalog["clicks"].kafka_name, args.partitions)
    await sender.send(
        *clicks(args.events, args.users, args.items, time.time() - args.events * 0.002, 0.002, args.model)
    )
    worker = start_worker(args, prefix, 3_600_000.0)
    process = psutil.Process(worker.pid)
    watcher = AIOKafkaConsumer(bootstrap_servers=args.bootstrap)
    await watcher.start()
    tps = [TopicPartition(catalog["recommendations"].kafka_name, p) for p in range(4)]
    marks: dict[float, tuple[float, int, float]] = {}
    began, done = time.time(), 0
    while done < args.events and time.time() - began < args.limit and worker.poll() is None:
        await asyncio.sleep(0.05)
        done = sum((await watcher.end_offsets(tps)).values())
        for share in (0.1, 0.9):
            if done >= share * args.events and share not in marks:
                cpu = process.cpu_times()
                marks[share] = (time.time(), done, cpu.user + cpu.system)
    rss = process.memory_info().rss
    worker.send_signal(signal.SIGTERM)
    worker.wait(20)
    await watcher.stop()
    await producer.stop()
    row = {
        "bench": "whole_job",
        "events": args.events,
        "items": args.items,
        "model": args.model,
        "core": args.core,
        "done": done,
    }
    if len(marks) == 2:
        (t0, n0, c0), (t1, n1, c1) = marks[0.1], marks[0.9]
        row |= {
            "recommendations_per_s": round((n1 - n0) / (t1 - t0)),
            "cpu_s_per_million": round((c1 - c0) / (n1 - n0) * 1e6, 1),
            "rss_mb": round(rss / 1e6),
        }
    print(json.dumps(row), flush=True)


async def latency(args: argparse.Namespace) -> None:
    prefix = f"whole-{uuid.uuid4().hex[:6]}-"
    catalog = Catalog(prefix, partitions=args.partitions)
    await make_topics(args.bootstrap, catalog)
    worker = start_worker(args, prefix, args.budget_ms)
    producer = AIOKafkaProducer(bootstrap_servers=args.bootstrap, linger_ms=0)
    await producer.start()
    isolation = "read_committed" if args.guarantee == "exactly_once" else "read_uncommitted"
    consumer = AIOKafkaConsumer(bootstrap_servers=args.bootstrap, fetch_max_wait_ms=100, isolation_level=isolation)
    await consumer.start()
    tps = [TopicPartition(catalog["recommendations"].kafka_name, p) for p in range(4)]
    consumer.assign(tps)
    sender = Producer(producer, catalog["clicks"].kafka_name, args.partitions)
    seen: list[tuple[float, float]] = []
    rungs: dict[str, int] = {}

    async def read() -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                now = time.time()
                for record in records:
                    answer = json.loads(record.value)
                    rungs[answer["rung"]] = rungs.get(answer["rung"], 0) + 1
                    seen.append((answer["event_ts"], now))

    reader = asyncio.create_task(read())
    tick_s, n = 0.005, 0
    total = int(args.rate * (args.seconds + args.warmup))
    keys, values = clicks(total, args.users, args.items, 0.0, 1.0, args.model)
    keys_list, values_list = keys.tolist(), values.tolist()
    began = None
    sending: list[asyncio.Task[None]] = []
    half: tuple[float, float] | None = None  # time and the worker's CPU seconds when half of it was sent
    # The first events wait until the worker is up; latency counts from the warm-up's end.
    while n < total and worker.poll() is None:
        now = time.time()
        if began is None:
            began = now
        if half is None and n > total / 2:
            half = (now, sum(psutil.Process(worker.pid).cpu_times()[:2]))
        due = min(total, int((now - began) * args.rate))
        if due > n:
            stamped = [
                (v or b"").replace(b'"ts":%d.000' % i, b'"ts":%.6f' % now)
                for i, v in enumerate(values_list[n:due], start=n)
            ]
            sending.append(asyncio.create_task(sender.send(Spans.of(keys_list[n:due]), Spans.of(stamped))))
            n = due
            if not seen and n > args.rate * 2:
                began, n_hold = None, n  # still starting: hold until the first answer
                while not seen and worker.poll() is None:
                    await asyncio.sleep(0.2)
                began = time.time() - n_hold / args.rate
        await asyncio.sleep(tick_s)
    cpu, ended = psutil.Process(worker.pid).cpu_times(), time.time()
    await asyncio.gather(*sending)
    await asyncio.sleep(3)
    reader.cancel()
    worker.send_signal(signal.SIGTERM)
    worker.wait(20)
    await consumer.stop()
    await producer.stop()
    last = max((event for event, _ in seen), default=0.0)
    took = np.array([now - event for event, now in seen if event > last - args.seconds]) * 1000
    print(json.dumps({
        "bench": "whole_job_latency", "rate": args.rate, "answers": len(took), "model": args.model, "rungs": rungs,
        "core": args.core, "pace_ms": args.pace_ms, "partitions": args.partitions,
        **({"worker_cores": round((cpu.user + cpu.system - half[1]) / (ended - half[0]), 2)} if half else {}),
        **({f"p{q}_ms": round(float(np.percentile(took, q)), 1) for q in (50, 90, 99)} if len(took) else {}),
    }), flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["throughput", "latency"])
    parser.add_argument("--bootstrap", default=os.environ.get("BOOTSTRAP", "127.0.0.1:9092"))
    parser.add_argument("--guarantee", default="at_least_once")
    parser.add_argument("--core", type=int, help="core that the worker keeps to")
    parser.add_argument("--pace-ms", type=float, help="fetch_pace_ms of the worker")
    parser.add_argument("--partitions", type=int, default=4, help="of every keyed topic")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--items", type=int, default=3_800)
    parser.add_argument("--model", help="folder of an artifact; without it the rules answer")
    parser.add_argument("--rate", type=float, default=2000.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--warmup", type=float, default=10.0)
    parser.add_argument("--budget-ms", type=float, default=40.0)
    parser.add_argument("--limit", type=float, default=300.0)
    parser.add_argument("--web-port", type=int, default=0, help="of the worker, to look at its metrics meanwhile")
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.environ["TSREC_CORE"] = str(arguments.core)
    if arguments.pace_ms is not None:
        os.environ["TSREC_FETCH_PACE_MS"] = str(arguments.pace_ms)
    asyncio.run(throughput(arguments) if arguments.mode == "throughput" else latency(arguments))

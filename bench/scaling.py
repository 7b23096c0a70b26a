"""Scaling: the standard job by one, two, three and four processes of one group on one topic of four partitions.

scaling.py [--events 8000000] [--users 200000] [--processes 1 2 3 4] [--guarantee at_least_once] [--rounds 1] [--check]

The processes join first, on an empty topic, and are stopped (SIGSTOP, well within their session) while the clicks are
written; then all go on at once, with everything before them. Counted is while the output grew from 10 % to 90 % of the
clicks: neither the start nor the tail. Runs of one round follow each other, so a ratio is of the same hour. Starts an
Apache Kafka of its own unless told of one by --bootstrap; prints one JSON line a run. `cores` is what broker, processes
and this script share: with two of them the curve ends at two.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stream_app.transport.builder import build_batches
from tests.system.brokers import borrow_kafka
from tests.system.counting import PARTITIONS, WINDOW_S
from tests.system.crashes import standard_job
from tests.system.kafka_io import create_topics
from tests.system.workers import WorkerProcess
from topics.spans import Spans

#: Clicks encoded at a time, so that the Python objects of all of them are never there together.
CHUNK = 500_000

#: Session of the group: longer than writing the clicks takes, while nobody answers.
SESSION_S = 300

#: Seconds without another assignment after which a group has settled.
SETTLED_S = 3.0


class Count(msgspec.Struct):
    """An output of the job."""

    user_id: str
    window_start: int
    count: int


def encode(events: int, users: int) -> tuple[list[list], Counter]:
    """The clicks as record batches, a list a partition, and how many each (user, window) has."""
    draw = np.random.default_rng(7)
    start = time.time() - events * 0.0005
    batches: list[list] = [[] for _ in range(PARTITIONS)]
    truth: Counter = Counter()
    for first in range(0, events, CHUNK):
        n = min(CHUNK, events - first)
        user = (users ** draw.random(n)).astype(np.int64)
        item = draw.integers(0, 20_000, n)
        ts = np.round(start + (first + np.arange(n)) * 0.0005, 3)
        window = (ts // WINDOW_S).astype(np.int64) * WINDOW_S
        pairs, counts = np.unique(np.stack([user, window]), axis=1, return_counts=True)
        for (u, w), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
            truth[u, w] += count
        for p in range(PARTITIONS):
            mine = user % PARTITIONS == p
            ids = user[mine].tolist()
            keys = Spans.of([b"u%d" % u for u in ids])
            values = Spans.of([
                b'{"user_id":"u%d","item_id":"i%d","ts":%.3f}' % row
                for row in zip(ids, item[mine].tolist(), ts[mine].tolist(), strict=True)
            ])  # fmt: skip
            batches[p] += build_batches(keys, values, max_bytes=256 << 10)
    return batches, truth


async def write(bootstrap: str, topic: str, batches: list[list]) -> None:
    """All of it, every partition beside the others."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=256 << 10, linger_ms=0)
    await producer.start()

    async def one(partition: int) -> None:
        sent = [await producer.send_batch(batch, topic, partition=partition) for batch in batches[partition]]
        await asyncio.gather(*sent)

    await asyncio.gather(*(one(p) for p in range(PARTITIONS)))
    await producer.stop()


def usage(workers: list[WorkerProcess]) -> tuple[float, int]:
    """CPU seconds and resident bytes of all of them."""
    found = [psutil.Process(worker.process.pid) for worker in workers if worker.process is not None]
    times = [process.cpu_times() for process in found]
    return sum(t.user + t.system for t in times), sum(process.memory_info().rss for process in found)


async def settle(workers: list[WorkerProcess], topic: str) -> list[int]:
    """Until the group has given everybody partitions and stays so; partitions of each."""
    before, since = [], time.monotonic()
    while True:
        held = []
        for worker in workers:
            if not worker.alive:
                raise RuntimeError(f"{worker.name} ended:\n{worker.log()[-2000:]}")
            last = re.findall(rf"worker ready: {re.escape(topic)}((?: \d+)*)", worker.log())
            held.append(len(last[-1].split()) if last else 0)
        if held != before:
            before, since = held, time.monotonic()
        if sum(held) == PARTITIONS and min(held) and time.monotonic() - since > SETTLED_S:
            return held
        if time.monotonic() - since > 180:
            raise TimeoutError(f"the group does not settle: {held}")
        await asyncio.sleep(0.2)


async def wrong_counts(bootstrap: str, output: str, truth: Counter) -> dict[str, int]:
    """Every output read back: counts that are missing, come twice, or should not be."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed", max_poll_records=50_000)
    await consumer.start()
    tps = [TopicPartition(output, p) for p in range(PARTITIONS)]
    consumer.assign(tps)
    await consumer.seek_to_beginning(*tps)
    decode = msgspec.json.Decoder(Count).decode
    seen: dict[tuple[int, int], set[int]] = {}
    repeated, ends = 0, await consumer.end_offsets(tps)
    while any([await consumer.position(tp) < ends[tp] for tp in tps]):
        for records in (await consumer.getmany(timeout_ms=1000)).values():
            for record in records:
                out = decode(record.value)
                counts = seen.setdefault((int(out.user_id[1:]), out.window_start), set())
                repeated += out.count in counts
                counts.add(out.count)
    await consumer.stop()
    missing = sum(n - len(seen.get(key, set()) & set(range(1, n + 1))) for key, n in truth.items())
    wrong = sum(len(counts - set(range(1, truth[key] + 1))) for key, counts in seen.items())
    return {"missing": missing, "repeated": repeated, "wrong": wrong}


async def run(bootstrap: str, folder: Path, processes: int, args: argparse.Namespace, batches: list, truth: Counter):
    """One run; its line."""
    tag = uuid.uuid4().hex[:6]
    topic, output = f"scale-{tag}-in", f"scale-{tag}-out"
    await create_topics(bootstrap, topic, output)
    workers = [
        standard_job(
            folder,
            f"{tag}-{i}",
            bootstrap,
            f"scale-{tag}",
            topic,
            output,
            args.guarantee,
            SESSION_TIMEOUT_S=str(SESSION_S),
        ).start()
        for i in range(processes)
    ]
    watcher = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await watcher.start()
    tps = [TopicPartition(output, p) for p in range(PARTITIONS)]
    try:
        held = await settle(workers, topic)
        for worker in workers:
            worker.signal(signal.SIGSTOP)
        await asyncio.wait_for(write(bootstrap, topic, batches), SESSION_S / 2)
        for worker in workers:
            worker.signal(signal.SIGCONT)
        began, marks, peak, done = time.monotonic(), {}, 0, 0
        while done < args.events:
            if time.monotonic() - began > args.limit or not all(worker.alive for worker in workers):
                raise TimeoutError(f"{done:,} of {args.events:,}; a log:\n{workers[0].log()[-2000:]}")
            await asyncio.sleep(0.02)
            done = sum((await watcher.end_offsets(tps)).values())
            cpu, rss = usage(workers)
            peak = max(peak, rss)
            for share in (0.1, 0.9):
                if done >= share * args.events and share not in marks:
                    marks[share] = (time.monotonic(), done, cpu)
        (t0, n0, c0), (t1, n1, c1) = marks[0.1], marks[0.9]
        row = {
            "bench": "scaling", "processes": processes, "partitions_held": sorted(held), "guarantee": args.guarantee,
            "cores": os.cpu_count(), "events": args.events, "events_per_s": round((n1 - n0) / max(t1 - t0, 1e-3)),
            "cpu_s_per_million": round((c1 - c0) / (n1 - n0) * 1e6, 2), "peak_mb": round(peak / 1e6),
            "measured_s": round(t1 - t0, 2), "all_s": round(time.monotonic() - began, 2),
        }  # fmt: skip
    finally:
        await watcher.stop()
        for worker in workers:
            if worker.alive:
                worker.terminate(30)
            worker.close()
    if args.check:
        row |= await wrong_counts(bootstrap, output, truth)
    return row


def main() -> None:
    """Run them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", help="a running Kafka; without it one is started")
    parser.add_argument("--events", type=int, default=8_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 3, 4], choices=range(1, PARTITIONS + 1))
    parser.add_argument("--guarantee", default="at_least_once", choices=["at_least_once", "exactly_once"])
    parser.add_argument("--rounds", type=int, default=1, help="all runs again, as often")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds of one run")
    parser.add_argument("--check", action="store_true", help="read every output back and compare with the truth")
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bootstrap = args.bootstrap
        if bootstrap is None:
            broker = borrow_kafka(stack, folder, parser.error)
            bootstrap = broker.bootstrap
        batches, truth = encode(args.events, args.users)
        for _ in range(args.rounds):
            single = None
            for processes in args.processes:
                row = asyncio.run(run(bootstrap, folder, processes, args, batches, truth))
                single = single or (row["events_per_s"] if processes == 1 else None)
                if single:
                    row["against_one"] = round(row["events_per_s"] / single, 2)
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

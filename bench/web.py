"""GET /recommendations/{user} while events flow, and what that costs the stream.

    python bench/web.py latency [--rate 1000] [--events-rate 2000] [--seconds 20] [--lead 60]
    python bench/web.py floor [--rate 1000] [--events-rate 2000] [--seconds 20]
    python bench/web.py throughput [--rate 1000] [--events 200000] [--rounds 3]

A worker with the demo's model on an Apache Kafka of its own (or --bootstrap). Requests are due at a steady rate and are
timed from the moment they were due, so that a worker that stands still is not flattered. Load and events come from
processes of their own. On a machine that others use too (both need root): --apart has Linux weigh the session of the
bench far above all others, and leaves what belongs to it at ordinary priority among itself; --first gives worker,
broker and load a real-time priority (chrt -r 10). `floor` asks a process that does nothing but answer, while worker and
events go on: what the load itself and the machine add. `throughput` clears a backlog with and without requests, in
turns. JSON lines.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import psutil
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from whole_job import Producer, clicks, make_topics  # noqa: E402

from stream_app.orphans import ends_with_us  # noqa: E402
from tests.system.brokers import borrow_kafka, free_port  # noqa: E402
from topics.catalog import Catalog  # noqa: E402
from topics.spans import Spans  # noqa: E402

MODEL = ROOT / "stream_app" / "demo" / "data" / "model"

USERS, ITEMS = 50_000, 3_800

#: Connections kept open by the load; more would only queue in the worker what else queues here.
CONNECTIONS = 32

LENGTH = re.compile(rb"(?i)content-length: (\d+)")

#: Seconds of requests that do not count: caches and branches are cold.
WARM_UP_S = 3.0


# -- the load, in a process of its own


class Connection(asyncio.Protocol):
    """One request at a time; tells `load` what came and that it is free."""

    def __init__(self, done: Callable[[Connection, bytes], None]) -> None:
        self.done = done
        self.at = 0.0
        self._got = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, at: float, request: bytes) -> None:
        self.at, self._got = at, b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if found and len(body) == int(LENGTH.search(head).group(1)):  # type: ignore[union-attr]
            self.done(self, self._got)


async def load(port: int, rate: float, seconds: float, names: list[str]) -> dict[str, Any]:
    """`rate` requests a second for `seconds`; latencies in ms from when each was due, and how late they were sent."""
    due: deque[tuple[float, bytes]] = deque()
    took: list[tuple[float, float]] = []
    late: list[float] = []
    statuses: Counter[str] = Counter()
    made: Counter[str] = Counter()
    free: deque[Connection] = deque()

    def done(connection: Connection, answer: bytes) -> None:
        took.append((connection.at, (time.perf_counter() - connection.at) * 1e3))
        statuses[answer[9:12].decode()] += 1
        made["published" if b'"made":"published"' in answer else "computed" if b'"made"' in answer else "none"] += 1
        free.append(connection)
        send()

    def send() -> None:
        while due and free:
            at, request = due.popleft()
            free.popleft().send(at, request)  # in turn: the server closes one that is idle for too long
            late.append((time.perf_counter() - at) * 1e3)

    loop = asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        _, connection = await loop.create_connection(lambda: Connection(done), "127.0.0.1", port)
        free.append(connection)
    draw = np.random.default_rng(5)
    asks = [f"GET /recommendations/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() for name in names]
    total = int(rate * seconds)
    chosen = draw.integers(len(names), size=total).tolist()
    began, sent = time.perf_counter(), 0
    while sent < total:
        until = min(total, int((time.perf_counter() - began) * rate) + 1)
        due.extend((began + i / rate, asks[chosen[i]]) for i in range(sent, until))
        sent = until
        send()
        await asyncio.sleep(0.001)  # a loop of libuv takes less for nothing, and spins
    while len(took) < total and not all(connection.transport.is_closing() for connection in free):
        await asyncio.sleep(0.05)
    ended = time.perf_counter()
    counted = np.array([ms for at, ms in took if at >= began + WARM_UP_S])
    return {
        "requests": len(took), "requests_per_s": round(len(took) / (ended - began)), "statuses": dict(statuses),
        "made": dict(made), **{f"p{q}_ms": round(float(np.percentile(counted, q)), 2) for q in (50, 90, 99, 99.9)},
        "max_ms": round(float(counted.max()), 1), "sent_late_p99_ms": round(float(np.percentile(late, 99)), 2),
        "load_cores": round(time.process_time() / (ended - began), 2),
    }  # fmt: skip


class Nothing(asyncio.Protocol):
    """Answers everything at once with as many bytes as a list has: what remains is the load's and the machine's."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1800\r\n\r\n" + b" " * 1800)


async def answer_nothing(port: int) -> None:
    """Until killed."""
    server = await asyncio.get_running_loop().create_server(Nothing, "127.0.0.1", port)
    await server.serve_forever()


async def produce(bootstrap: str, topic: str, rate: float, seconds: float) -> None:
    """`rate` clicks a second for `seconds`, stamped now."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0)
    await producer.start()
    sender = Producer(producer, topic, 4)
    total = int(rate * seconds)
    drawn = min(total, 200_000)  # and then again
    keys, values = clicks(drawn, USERS, ITEMS, 0.0, 1.0, str(MODEL))
    key_list, value_list = keys.tolist(), values.tolist()
    began, n = time.time(), 0
    while n < total:
        now = time.time()
        until = min(total, int((now - began) * rate))
        if until > n:
            places = [i % drawn for i in range(n, until)]
            stamped = [(value_list[i] or b"").replace(b'"ts":%d.000' % i, b'"ts":%.6f' % now) for i in places]
            # One batch a partition is on its way at a time: where the broker is slow they become larger, not many.
            await sender.send(Spans.of([key_list[i] for i in places]), Spans.of(stamped))
            n = until
        await asyncio.sleep(0.002)
    await producer.stop()


# -- the worker


class Worker:
    """One `tsrec worker` on topics of its own."""

    def __init__(self, bootstrap: str, prefix: str, first: bool, port: int | None = None) -> None:
        self.port = port or free_port()
        env = dict(
            os.environ, TSREC_TOPIC_PREFIX=prefix, TSREC_GROUP=f"{prefix}worker", TSREC_BOOTSTRAP=bootstrap,
            TSREC_WEB_PORT=str(self.port), TSREC_WEB_RATE="0", TSREC_LOG_LEVEL="WARNING", TSREC_MODEL=str(MODEL),
        )  # fmt: skip
        command = [sys.executable, "-m", "stream_app.cli", "worker"]
        self.process = subprocess.Popen(command, env=env, cwd=ROOT, preexec_fn=ends_with_us())
        self.stats = psutil.Process(self.process.pid)
        self.first = first

    async def ready(self) -> None:
        """Until /readyz says so."""
        while self.process.poll() is None:
            try:
                with urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                    break
            except OSError:
                await asyncio.sleep(0.2)
        if self.first:
            prioritise(self.process.pid)

    def cpu_s(self) -> float:
        times = self.stats.cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def prioritise(pid: int) -> None:
    """Before everything that is not a kernel's: a process, its threads and what it starts."""
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        for thread in process.threads():
            os.sched_setscheduler(thread.id, os.SCHED_RR, os.sched_param(10))


def apart(pid: int) -> None:
    """Have the scheduler's group of a process, which is its session's, outweigh the others by far."""
    Path(f"/proc/{pid}/autogroup").write_text("-20")


def child(args: argparse.Namespace, *words: Any) -> subprocess.Popen[bytes]:
    """This file in a process of its own."""
    command = [sys.executable, __file__, *map(str, words)]
    if args.first:
        command = ["chrt", "-r", "10", *command]
    return subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=ends_with_us())


async def outputs(consumer: AIOKafkaConsumer, topic: str) -> int:
    return sum((await consumer.end_offsets([TopicPartition(topic, p) for p in range(4)])).values())


async def latency(args: argparse.Namespace, bootstrap: str) -> None:
    """Requests and events at their rates at once."""
    prefix = f"web-{uuid.uuid4().hex[:6]}-"
    catalog = Catalog(prefix)
    await make_topics(bootstrap, catalog)
    worker = Worker(bootstrap, prefix, args.first, args.port)
    watcher = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await watcher.start()
    recommendations = catalog["recommendations"].kafka_name
    await worker.ready()
    # What is asked for must be known: events come first, for long enough that the worker is up and warm.
    first = child(args, "produce", bootstrap, catalog["clicks"].kafka_name, args.events_rate, args.lead)
    while (
        await outputs(watcher, recommendations) < args.events_rate * args.lead * 0.98 and worker.process.poll() is None
    ):
        await asyncio.sleep(0.2)
    first.wait()
    seconds = args.seconds + WARM_UP_S
    before, at, cpu = await outputs(watcher, recommendations), time.time(), worker.cpu_s()
    flow = child(args, "produce", bootstrap, catalog["clicks"].kafka_name, args.events_rate, seconds + 2)
    await asyncio.sleep(1.0)
    nothing, port = None, worker.port
    if args.mode == "floor":
        port = free_port()
        nothing = child(args, "nothing", port)
        await asyncio.sleep(1.0)
    asking = child(args, "load", port, args.rate, seconds, *["long"] * args.long)
    out, _ = await asyncio.to_thread(asking.communicate)
    if nothing is not None:
        nothing.kill()
    answers, took_s = await outputs(watcher, recommendations) - before, time.time() - at
    used = worker.cpu_s() - cpu
    flow.wait()
    worker.stop()
    await watcher.stop()
    row = {"bench": f"web_{args.mode}", "rate": args.rate, "events_rate": args.events_rate, "long": args.long}
    row |= json.loads(out) | {
        "recommendations_per_s": round(answers / took_s), "worker_cores": round(used / took_s, 2),
    }  # fmt: skip
    print(json.dumps(row), flush=True)


async def backlog(args: argparse.Namespace, bootstrap: str, rate: float) -> dict[str, Any]:
    """Recommendations a second of a worker that clears a backlog, while `rate` requests a second come."""
    prefix = f"web-{uuid.uuid4().hex[:6]}-"
    catalog = Catalog(prefix)
    await make_topics(bootstrap, catalog)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    sender = Producer(producer, catalog["clicks"].kafka_name, 4)
    start_s = time.time() - args.events * 0.002
    await sender.send(*clicks(args.events, USERS, ITEMS, start_s, 0.002, str(MODEL)))
    worker = Worker(bootstrap, prefix, args.first)
    watcher = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await watcher.start()
    recommendations = catalog["recommendations"].kafka_name
    asking, marks, done = None, {}, 0
    while done < args.events and worker.process.poll() is None:
        await asyncio.sleep(0.02)
        done = await outputs(watcher, recommendations)
        if done > 0 and rate and asking is None:
            asking = child(args, "load", worker.port, rate, WARM_UP_S + 0.5 + args.events / 20_000)
        for share in (0.15, 0.9):
            if done >= share * args.events and share not in marks:
                marks[share] = (time.time(), done)
    found: dict[str, Any] = {}
    if asking is not None:
        out, _ = await asyncio.to_thread(asking.communicate)
        found = json.loads(out)
    worker.stop()
    await producer.stop()
    await watcher.stop()
    (t0, n0), (t1, n1) = marks[0.15], marks[0.9]
    return {"per_s": (n1 - n0) / (t1 - t0), "cleared_in_s": t1 - t0, **found}


async def throughput(args: argparse.Namespace, bootstrap: str) -> None:
    """With and without requests, in turns."""
    ratios = []
    for _ in range(args.rounds):
        without = await backlog(args, bootstrap, 0.0)
        with_requests = await backlog(args, bootstrap, args.rate)
        ratios.append(with_requests["per_s"] / without["per_s"])
        print(json.dumps({
            "bench": "web_throughput", "rate": args.rate, "first": args.first,
            "without_per_s": round(without["per_s"]), "with_per_s": round(with_requests["per_s"]),
            "ratio": round(ratios[-1], 3), "requests_per_s": with_requests.get("requests_per_s"),
            "p99_ms": with_requests.get("p99_ms"), "statuses": with_requests.get("statuses"),
        }), flush=True)  # fmt: skip
    print(json.dumps({"bench": "web_throughput", "median_ratio": round(float(np.median(ratios)), 3)}), flush=True)


def main() -> None:
    """Run it."""
    if sys.argv[1:2] == ["load"]:
        port, rate, seconds = int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
        draw, u = np.random.default_rng(7), "%75" if "long" in sys.argv else "u"
        names = [f"{u}{int(user)}" for user in (USERS ** draw.random(4000)).astype(np.int64)]  # the clicks' first users
        print(json.dumps(uvloop.run(load(port, rate, seconds, names))))
        return
    if sys.argv[1:2] == ["nothing"]:
        uvloop.run(answer_nothing(int(sys.argv[2])))
        return
    if sys.argv[1:2] == ["produce"]:
        uvloop.run(produce(sys.argv[2], sys.argv[3], float(sys.argv[4]), float(sys.argv[5])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["latency", "floor", "throughput"])
    parser.add_argument("--bootstrap")
    parser.add_argument("--rate", type=float, default=1000.0, help="requests a second")
    parser.add_argument("--events-rate", type=float, default=2000.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument(
        "--lead", type=float, default=8.0, help="seconds of events before the requests; a new JVM's want 60"
    )
    parser.add_argument("--port", type=int, help="of the worker, for whoever wants to look at its page meanwhile")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--first", action="store_true")
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--long", action="store_true", help="encoded ids, which take the long way through the server")
    args = parser.parse_args()
    if (args.first or args.apart) and os.geteuid() != 0:
        parser.error("--first and --apart need root: leave them out")
    if args.apart and os.getsid(0) != os.getpid():
        os.execvp("setsid", ["setsid", "--wait", sys.executable, *sys.argv])  # a session, and so a group, of its own
    if args.apart:
        apart(os.getpid())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bootstrap = args.bootstrap
        if bootstrap is None:
            broker = borrow_kafka(stack, folder, parser.error)
            bootstrap = broker.bootstrap
            if args.first and broker.process is not None:
                prioritise(broker.process.pid)
            if args.apart and broker.process is not None:
                apart(broker.process.pid)
        run = throughput if args.mode == "throughput" else latency
        uvloop.run(run(args, bootstrap))


if __name__ == "__main__":
    main()

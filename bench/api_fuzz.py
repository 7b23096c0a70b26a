"""Ten thousand requests that nobody would write by hand, while events flow: statuses; did the stream stand still?

    python bench/api_fuzz.py [--requests 10000] [--events-rate 2000] [--bootstrap HOST:PORT]

Half of what schemathesis draws fits the OpenAPI document, half breaks it; half names ids that exist. They are drawn and
sent one after the other by a process of its own. Every answer is checked against the document; the first that is not
allowed, or is a 5xx, ends the run with a traceback. The stream is watched from outside: the longest time between two
looks at the broker that found new recommendations, twenty looks a second; and the same before the requests began. One
JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import uvloop
from aiokafka import AIOKafkaConsumer

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from web import Worker, child, outputs  # noqa: E402
from whole_job import make_topics  # noqa: E402

from tests.system.brokers import borrow_kafka  # noqa: E402
from tests.web_fuzz import fuzz  # noqa: E402
from topics.catalog import Catalog  # noqa: E402


def get(url: str) -> Any:
    with urlopen(url, timeout=10) as answer:
        return json.load(answer)


async def watched(watcher: AIOKafkaConsumer, topic: str, until: asyncio.Task[Any]) -> tuple[float, int]:
    """The longest time without a new record in `topic` until a task is done, seconds; and how many there are then."""
    last, last_at, gap_s = await outputs(watcher, topic), time.monotonic(), 0.0
    while not until.done():
        await asyncio.sleep(0.05)
        now = await outputs(watcher, topic)
        if now > last:
            gap_s, last, last_at = max(gap_s, time.monotonic() - last_at), now, time.monotonic()
    return max(gap_s, time.monotonic() - last_at), last


def send(url: str, wanted: int, known: dict[str, list[str]]) -> dict[str, Any]:
    """In a process of its own: how many answers had which status, and how long they took."""
    took_s: list[float] = []
    statuses = fuzz(url, get(f"{url}/openapi.json"), wanted, path_values=known, seen=lambda _, s: took_s.append(s))
    return {
        "statuses": {str(status): n for status, n in sorted(statuses.items())},
        **{f"answer_p{q}_ms": round(1e3 * float(np.percentile(took_s, q)), 1) for q in (50, 99)},
        "answer_max_ms": round(1e3 * max(took_s), 1),
    }


async def run(args: argparse.Namespace, bootstrap: str) -> None:
    prefix = f"fuzz-{uuid.uuid4().hex[:6]}-"
    catalog = Catalog(prefix)
    await make_topics(bootstrap, catalog)
    worker = Worker(bootstrap, prefix, args.first)
    watcher = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await watcher.start()
    await worker.ready()
    topic, url = catalog["recommendations"].kafka_name, f"http://127.0.0.1:{worker.port}"
    flow = child(args, "produce", bootstrap, catalog["clicks"].kafka_name, args.events_rate, args.limit)
    while await outputs(watcher, topic) < args.events_rate * 3:
        await asyncio.sleep(0.2)
    trending = await asyncio.to_thread(get, f"{url}/trending")
    answer = await asyncio.to_thread(get, f"{url}/recommendations/u1")
    known = {
        "user_id": ["u1", "u2", "u3", "u50"], "item_id": [item["item_id"] for item in trending["items"]],
        "decision_id": [answer["decision_id"]],
    }  # fmt: skip
    quiet_gap_s, _ = await watched(watcher, topic, asyncio.create_task(asyncio.sleep(args.before)))
    sending = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "send", url, str(args.requests), json.dumps(known), stdout=asyncio.subprocess.PIPE
    )
    began, before = time.monotonic(), await outputs(watcher, topic)
    said = asyncio.create_task(sending.communicate())
    gap_s, last = await watched(watcher, topic, said)
    took_s, (out, _) = time.monotonic() - began, said.result()
    flow.kill()
    worker.stop()
    await watcher.stop()
    if sending.returncode:
        raise SystemExit("an answer was not as the document says: see above")
    found = json.loads(out)
    statuses = found["statuses"]
    print(json.dumps({
        "bench": "api_fuzz", "requests": sum(statuses.values()), **found, "seconds": round(took_s, 1),
        "server_errors": sum(n for status, n in statuses.items() if status >= "5"), "events_rate": args.events_rate,
        "recommendations_per_s": round((last - before) / took_s), "longest_gap_s": round(gap_s, 2),
        "longest_gap_before_s": round(quiet_gap_s, 2),
    }), flush=True)  # fmt: skip


def main() -> None:
    """Run it."""
    if sys.argv[1:2] == ["send"]:
        print(json.dumps(send(sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--events-rate", type=float, default=2000.0)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds of events at most")
    parser.add_argument(
        "--before", type=float, default=20.0, help="seconds that the stream is watched without requests"
    )
    parser.add_argument("--first", action="store_true", help="real-time priority, see web.py")
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bootstrap = args.bootstrap
        if bootstrap is None:
            broker = borrow_kafka(stack, folder, parser.error)
            bootstrap = broker.bootstrap
        uvloop.run(run(args, bootstrap))


if __name__ == "__main__":
    main()

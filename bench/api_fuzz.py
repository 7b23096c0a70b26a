"""Ten thousand requests that nobody would write by hand, while events flow: statuses; did the stream stand still?

    python bench/api_fuzz.py [--requests 10000] [--events-rate 2000] [--bootstrap HOST:PORT]

Half of what schemathesis draws fits the OpenAPI document, half breaks it; half names ids that exist. Every answer is
checked against the document; the first that is not allowed, or is a 5xx, ends the run with a traceback. The stream is
watched from outside: the longest time between two recommendations that reached the broker. One JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

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
    found: dict[str, Any] = {}

    def send() -> None:
        try:
            found["statuses"] = fuzz(url, get(f"{url}/openapi.json"), args.requests, path_values=known)
        except BaseException as error:  # noqa: BLE001 - raised below, in the main thread
            found["error"] = error

    thread = threading.Thread(target=send)
    before, began = await outputs(watcher, topic), time.monotonic()
    last, last_at, gap_s = before, began, 0.0
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.05)
        now = await outputs(watcher, topic)
        if now > last:
            gap_s, last, last_at = max(gap_s, time.monotonic() - last_at), now, time.monotonic()
    gap_s, took_s = max(gap_s, time.monotonic() - last_at), time.monotonic() - began
    flow.kill()
    worker.stop()
    await watcher.stop()
    if "error" in found:
        raise found["error"]
    statuses = {str(status): n for status, n in sorted(found["statuses"].items())}
    print(json.dumps({
        "bench": "api_fuzz", "requests": sum(statuses.values()), "statuses": statuses, "seconds": round(took_s, 1),
        "server_errors": sum(n for status, n in statuses.items() if status >= "5"), "events_rate": args.events_rate,
        "recommendations_per_s": round((last - before) / took_s), "longest_gap_s": round(gap_s, 2),
    }), flush=True)  # fmt: skip


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--events-rate", type=float, default=2000.0)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds of events at most")
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

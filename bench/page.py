"""What the live page costs the worker, and how soon it is there.

    python bench/page.py throughput --bootstrap 127.0.0.1:9092 --pairs 6 [--model FOLDER] [--watch sse|chromium]
    python bench/page.py paint --url http://127.0.0.1:6066/ --runs 10

throughput: the whole job (bench/whole_job.py) by one worker, in pairs: once alone, once with the page open and /metrics
scraped every second; which comes first alternates. `sse` reads the page's stream as a browser on another machine does;
`chromium` is a browser on this one, whose drawing takes the same cores. The last line has the median of the ratios.
paint: first contentful paint in Chromium with nothing in its cache, and how long frames of the page take to draw.
JSON lines.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import statistics
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from whole_job import Producer, clicks, make_topics, start_worker

from stream_app.embedded import free_port
from topics.catalog import Catalog

#: The worker's first and last part is not measured: it starts, and it runs out of input.
FROM, TO = 0.15, 0.9

#: Without these Chromium runs in this container; the page is drawn as ever.
CHROMIUM = {"executable_path": shutil.which("chromium"), "args": ["--no-sandbox"]}


class Watcher:
    """What watches a worker: counts what it gets."""

    def __init__(self, url: str, kind: str) -> None:
        self.url = url
        self.kind = kind
        self.seen = {"bytes": 0, "frames": 0, "scrapes": 0}

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._scrape())]
        async with contextlib.AsyncExitStack() as stack:
            if self.kind == "chromium":
                from playwright.async_api import async_playwright

                started = await stack.enter_async_context(async_playwright())
                browser = await started.chromium.launch(**CHROMIUM)
                stack.push_async_callback(browser.close)
                page = await browser.new_page(viewport={"width": 1440, "height": 900})
                page.on("framenavigated", lambda _: None)
                tasks.append(asyncio.create_task(self._open(page)))
            else:
                tasks.append(asyncio.create_task(self._read()))
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, page: Any) -> None:
        while True:
            with contextlib.suppress(Exception):  # the worker does not listen yet
                await page.goto(self.url + "/")
                break
            await asyncio.sleep(0.3)
        while True:
            await asyncio.sleep(1.0)
            self.seen["frames"] = await page.evaluate("document.querySelectorAll('#feed > li').length")

    async def _read(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{self.url}/live/events") as response:
                        async for chunk in response.content.iter_any():
                            self.seen["bytes"] += len(chunk)
                            self.seen["frames"] += chunk.count(b"event: ")
                await asyncio.sleep(0.2)

    async def _scrape(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{self.url}/metrics") as response:
                        await response.read()
                        self.seen["scrapes"] += response.status == 200
                await asyncio.sleep(1.0)


async def one_run(args: argparse.Namespace, watch: str | None) -> dict[str, Any]:
    """One worker from start to the end of its input."""
    prefix = f"page-{uuid.uuid4().hex[:6]}-"
    catalog = Catalog(prefix)
    await make_topics(args.bootstrap, catalog)
    producer = AIOKafkaProducer(bootstrap_servers=args.bootstrap)
    await producer.start()
    begin = time.time() - args.events * 0.002
    await Producer(producer, catalog["clicks"].kafka_name, 4).send(
        *clicks(args.events, args.users, args.items, begin, 0.002, args.model)
    )
    await producer.stop()
    args.web_port = free_port()
    worker = start_worker(args, prefix, 3_600_000.0)
    process = psutil.Process(worker.pid)
    consumer = AIOKafkaConsumer(bootstrap_servers=args.bootstrap)
    await consumer.start()
    tps = [TopicPartition(catalog["recommendations"].kafka_name, p) for p in range(4)]
    marks: dict[float, tuple[float, int, float]] = {}
    watcher = Watcher(f"http://127.0.0.1:{args.web_port}", watch or "")
    async with contextlib.AsyncExitStack() as stack:
        if watch:
            await stack.enter_async_context(watcher.watching())
        began, done = time.time(), 0
        while done < TO * args.events and time.time() - began < args.limit and worker.poll() is None:
            await asyncio.sleep(0.05)
            done = sum((await consumer.end_offsets(tps)).values())
            for share in (FROM, TO):
                if done >= share * args.events and share not in marks:
                    cpu = process.cpu_times()
                    marks[share] = (time.time(), done, cpu.user + cpu.system)
    worker.send_signal(signal.SIGTERM)
    worker.wait(30)
    await consumer.stop()
    if len(marks) < 2:
        raise SystemExit(f"the worker did {done} of {args.events} events within {args.limit:g} s: raise --limit")
    (t0, n0, c0), (t1, n1, c1) = marks[FROM], marks[TO]
    return {
        "watch": watch, "per_s": round((n1 - n0) / (t1 - t0)),
        "cpu_s_per_million": round((c1 - c0) / (n1 - n0) * 1e6, 2), "seconds": round(t1 - t0, 1),
        **(watcher.seen if watch else {}),
    }  # fmt: skip


async def throughput(args: argparse.Namespace) -> None:
    """Pairs, and the medians of their ratios."""
    ratios, cpu = [], []
    for pair in range(args.pairs):
        order = [None, args.watch] if pair % 2 == 0 else [args.watch, None]
        runs = {}
        for watch in order:
            runs[watch] = await one_run(args, watch)
            print(json.dumps({"bench": "page", "pair": pair, **runs[watch]}), flush=True)
        ratios.append(runs[args.watch]["per_s"] / runs[None]["per_s"])
        cpu.append(runs[args.watch]["cpu_s_per_million"] / runs[None]["cpu_s_per_million"])
    print(json.dumps({
        "bench": "page_throughput", "watch": args.watch, "pairs": args.pairs, "events": args.events,
        "model": args.model, "ratio_p50": round(statistics.median(ratios), 4),
        "ratios": [round(ratio, 3) for ratio in ratios], "cpu_ratio_p50": round(statistics.median(cpu), 4),
        "load": round(os.getloadavg()[0], 1),
    }), flush=True)  # fmt: skip


async def paint(args: argparse.Namespace) -> None:
    """First contentful paint, and the longest tasks of ten seconds with data coming in."""
    from playwright.async_api import async_playwright

    paints, loads, longest, transferred = [], [], [], 0
    async with async_playwright() as started:
        for _ in range(args.runs):
            browser = await started.chromium.launch(**CHROMIUM)
            page = await browser.new_page(viewport={"width": 1440, "height": 900})
            await page.add_init_script(
                "window.slow = []; new PerformanceObserver(l => slow.push(...l.getEntries().map(e => e.duration)))"
                ".observe({type: 'longtask', buffered: true});"
            )
            await page.goto(args.url, wait_until="load")
            await page.wait_for_selector("#feed > li", timeout=30_000)
            loads.append(await page.evaluate("performance.now()"))
            await page.wait_for_timeout(args.look * 1000)
            paints.append(await page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            longest.append(max(await page.evaluate("window.slow"), default=0))
            transferred = await page.evaluate(
                "performance.getEntriesByType('resource').filter(e => e.name.includes('/static/'))"
                ".reduce((a, e) => a + e.decodedBodySize, 0)"
            )
            await browser.close()
    print(json.dumps({
        "bench": "page_paint", "runs": args.runs, "first_contentful_paint_ms_p50": round(statistics.median(paints)),
        "first_contentful_paint_ms_max": round(max(paints)), "first_rows_ms_p50": round(statistics.median(loads)),
        "longest_task_ms_p50": round(statistics.median(longest)), "longest_task_ms_max": round(max(longest)),
        "files_kb": round(transferred / 1000), "load": round(os.getloadavg()[0], 1),
    }), flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["throughput", "paint"])
    parser.add_argument("--bootstrap", default=os.environ.get("BOOTSTRAP", "127.0.0.1:9092"))
    parser.add_argument("--guarantee", default="at_least_once")
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--items", type=int, default=3_800)
    parser.add_argument("--model", help="folder of an artifact; without it the rules answer")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--watch", choices=["sse", "chromium"], default="sse")
    parser.add_argument("--limit", type=float, default=300.0)
    parser.add_argument("--url", default="http://127.0.0.1:6066/")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--look", type=float, default=10.0, help="seconds that the page is looked at")
    arguments = parser.parse_args()
    asyncio.run(throughput(arguments) if arguments.mode == "throughput" else paint(arguments))

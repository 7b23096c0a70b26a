"""What the live page costs the worker, and how soon it is there.

    python bench/page.py throughput --bootstrap 127.0.0.1:9092 [--model FOLDER] [--watch sse|chromium]
    python bench/page.py steady --url http://127.0.0.1:6066/ --pairs 10 --window 6
    python bench/page.py paint --url http://127.0.0.1:6066/ --runs 10

throughput: the whole job (bench/whole_job.py) by one worker with a backlog. In every other window of some seconds the
page is open and /metrics is scraped every second; neighbours are compared, so what else the machine does hits both.
`sse` reads the page's stream as a browser on another machine does; `chromium` is a browser on this one, whose drawing
takes the same cores. The last line has the medians of the ratios, of events a second and of CPU time an event.
steady: CPU time that the page and the scraper cost a worker that runs already, such as the demo's.
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
import yarl
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from whole_job import Producer, clicks, make_topics, start_worker

from stream_app.embedded import free_port
from topics.catalog import Catalog

#: Without these Chromium runs in this container; the page is drawn as ever.
CHROMIUM = {"executable_path": shutil.which("chromium"), "args": ["--no-sandbox"]}


class Watcher:
    """What watches a worker, by turns: a reader of the page's stream or a browser, and a scraper; and what it got."""

    def __init__(self, url: str, kind: str) -> None:
        self.url = url
        self.kind = kind
        self.on = asyncio.Event()
        self.seen = {"frames": 0, "bytes": 0, "scrapes": 0}
        self._page: Any = None

    async def switch(self, on: bool) -> None:
        """Watch, or do not."""
        if on != self.on.is_set():
            (self.on.set if on else self.on.clear)()
            if self._page is not None:
                await self._page.locator("#pause").click()

    @asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """Not watching yet."""
        async with contextlib.AsyncExitStack() as stack:
            tasks = [asyncio.create_task(self._scrape())]
            if self.kind == "chromium":
                from playwright.async_api import async_playwright

                started = await stack.enter_async_context(async_playwright())
                browser = await started.chromium.launch(**CHROMIUM)
                stack.push_async_callback(browser.close)
                self._page = await browser.new_page(viewport={"width": 1440, "height": 900})
                await self._page.goto(self.url + "/")
                await self._page.locator("#pause").click()
            else:
                tasks.append(asyncio.create_task(self._read()))
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
            while True:
                await self.on.wait()
                async with session.get(f"{self.url}/live/events") as response:
                    while self.on.is_set():
                        with contextlib.suppress(TimeoutError):
                            chunk = await asyncio.wait_for(response.content.readany(), 0.5)
                            self.seen["bytes"] += len(chunk)
                            self.seen["frames"] += chunk.count(b"event: ")

    async def _scrape(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                await self.on.wait()
                async with session.get(f"{self.url}/metrics") as response:
                    await response.read()
                    self.seen["scrapes"] += response.status == 200
                await asyncio.sleep(1.0)


async def throughput(args: argparse.Namespace) -> None:
    """One worker with much to do, watched in every other window; the medians of the ratios of neighbours."""
    prefix = f"page-{uuid.uuid4().hex[:6]}-"
    catalog = Catalog(prefix)
    await make_topics(args.bootstrap, catalog)
    await asyncio.sleep(2.0)  # leaders are chosen
    producer = AIOKafkaProducer(bootstrap_servers=args.bootstrap)
    await producer.start()
    begin = time.time() - args.events * 0.002
    await Producer(producer, catalog["clicks"].kafka_name, 4).send(
        *clicks(args.events, args.users, args.items, begin, 0.002, args.model)
    )
    await producer.stop()
    args.web_port = free_port()
    worker = start_worker(args, prefix, 3_600_000.0)
    consumer = AIOKafkaConsumer(bootstrap_servers=args.bootstrap)
    await consumer.start()
    tps = [TopicPartition(catalog["recommendations"].kafka_name, p) for p in range(4)]
    process = psutil.Process(worker.pid)

    async def now() -> tuple[float, int, float]:
        done = sum((await consumer.end_offsets(tps)).values())
        cpu = process.cpu_times()
        return time.monotonic(), done, cpu.user + cpu.system

    try:
        deadline = time.monotonic() + args.limit
        while (await now())[1] < args.skip * args.events:
            if worker.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the worker did not come to work: see its log, or raise --limit")
            await asyncio.sleep(0.2)
        windows: list[tuple[bool, float, float]] = []
        watcher = Watcher(f"http://127.0.0.1:{args.web_port}", args.watch)
        async with watcher.ready():
            order = [False, True, True, False]  # so that what drifts helps neither
            while (await now())[1] < 0.95 * args.events and len(windows) < 2 * args.pairs:
                on = order[len(windows) % 4]
                await watcher.switch(on)
                await asyncio.sleep(args.settle)
                t0, n0, c0 = await now()
                await asyncio.sleep(args.window)
                t1, n1, c1 = await now()
                if n1 >= args.events or n1 == n0:
                    break
                windows.append((on, (n1 - n0) / (t1 - t0), (c1 - c0) / (n1 - n0) * 1e6))
                on_off = {"watched": on, "per_s": round(windows[-1][1]), "cpu_s_per_million": round(windows[-1][2], 2)}
                print(json.dumps({"bench": "page", "window": len(windows), **on_off}), flush=True)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
        await consumer.stop()
    pairs = [sorted(windows[i : i + 2]) for i in range(0, len(windows) - 1, 2)]  # False, not watched, is first
    ratios = [on[1] / off[1] for off, on in pairs]
    cpu = [on[2] / off[2] for off, on in pairs]
    print(json.dumps({
        "bench": "page_throughput", "watch": args.watch, "pairs": len(pairs), "model": args.model,
        "per_s_p50": round(statistics.median(off[1] for off, _ in pairs)),
        "ratio_p50": round(statistics.median(ratios), 4),
        "ratios": [round(ratio, 3) for ratio in ratios], "cpu_ratio_p50": round(statistics.median(cpu), 4),
        "cpu_ratios": [round(ratio, 3) for ratio in cpu], **watcher.seen, "load": round(os.getloadavg()[0], 1),
    }), flush=True)  # fmt: skip


async def steady(args: argparse.Namespace) -> None:
    """CPU time a second of the worker at --url, watched in every other window, at whatever it has to do."""
    port = yarl.URL(args.url).port
    listening = (c.pid for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port)
    process = psutil.Process(next(listening))
    watcher = Watcher(args.url.rstrip("/"), args.watch)
    used: list[tuple[bool, float]] = []
    async with watcher.ready():
        for i in range(2 * args.pairs):
            on = (False, True, True, False)[i % 4]
            await watcher.switch(on)
            await asyncio.sleep(args.settle)
            began, before = time.monotonic(), process.cpu_times()
            await asyncio.sleep(args.window)
            after = process.cpu_times()
            spent = after.user + after.system - before.user - before.system
            used.append((on, 1000 * spent / (time.monotonic() - began)))
    pairs = [sorted(used[i : i + 2]) for i in range(0, len(used) - 1, 2)]
    more = [on - off for (_, off), (_, on) in pairs]
    print(json.dumps({
        "bench": "page_steady", "watch": args.watch, "pairs": len(pairs), **watcher.seen,
        "cpu_ms_per_s_p50": round(statistics.median(off for (_, off), _ in pairs), 1),
        "page_cpu_ms_per_s_p50": round(statistics.median(more), 1), "differences": [round(ms, 1) for ms in more],
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
    parser.add_argument("mode", choices=["throughput", "steady", "paint"])
    parser.add_argument("--bootstrap", default=os.environ.get("BOOTSTRAP", "127.0.0.1:9092"))
    parser.add_argument("--guarantee", default="at_least_once")
    parser.add_argument("--events", type=int, default=1_500_000)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--items", type=int, default=3_800)
    parser.set_defaults(partitions=4)  # what the clicks are written for
    parser.add_argument("--model", help="folder of an artifact; without it the rules answer")
    parser.add_argument("--pairs", type=int, default=30, help="at most; the backlog ends it")
    parser.add_argument("--window", type=float, default=4.0, help="seconds of a window")
    parser.add_argument("--settle", type=float, default=1.0, help="seconds before each, not measured")
    parser.add_argument("--skip", type=float, default=0.05, help="share of the backlog before the first window")
    parser.add_argument("--watch", choices=["sse", "chromium"], default="sse")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds until the worker works")
    parser.add_argument("--url", default="http://127.0.0.1:6066/")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--look", type=float, default=10.0, help="seconds that the page is looked at")
    arguments = parser.parse_args()
    asyncio.run({"throughput": throughput, "steady": steady, "paint": paint}[arguments.mode](arguments))

"""The demo itself: broker, worker, replay, and a reader of what comes out, until stopped or for some seconds."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import click
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream_app.demo.browser import show_page
from stream_app.demo.show import Show
from stream_app.demo.story import DATA, LATENESS_S, Event, items, shop_events, trade_events
from stream_app.demo.tally import Tally
from stream_app.embedded import FETCH_WAIT_MS, SESSION_TIMEOUT_S, EmbeddedBroker, free_port
from stream_app.errors import TsrecError
from stream_app.orphans import ends_with_us, unwind_when_terminated
from stream_app.settings import Settings, load
from stream_app.transport.builder import build_batches
from stream_app.transport.partitioning import partitions_of
from topics.catalog import Catalog
from topics.decisions import source_ref
from topics.spans import Spans

__all__ = ["DemoFailed", "run_demo"]

#: Sends of the replay in a second: many, so that latencies are those of a steady stream, not of bursts; and not more,
#: since the embedded broker goes through all batches of a partition for each fetch that finds something (twice as many
#: batches cost it four times the CPU, minutes later).
TICKS_S = 25

#: The worker compiles its kernels the first time: minutes on a slow machine.
READY_S = 280.0

#: Where the page is, as the documents say, unless somebody has the port.
USUAL_PORT = int(Settings.model_fields["web_port"].default)

#: After the last event, for the answers still on their way.
TAIL_S = 3.0


class DemoFailed(TsrecError):
    """Nothing came out, or a part of the demo ended."""


async def run_demo(*, seconds: float, rate: float, speed: float) -> int:
    """Run it; the exit code.

    seconds: how long to replay, 0 until stopped. rate: shop events a second. speed: trades replayed so much faster
    than they happened.
    """
    unwind_when_terminated()
    folder = Path(tempfile.mkdtemp(prefix="tsrec-demo-"))
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        broker = EmbeddedBroker(free_port(), folder / "broker.log")
        stack.callback(broker.stop)
        broker.start()
        settings = _settings(broker.bootstrap)
        catalog = Catalog(partitions=settings.partitions)
        worker = _start_worker(settings, folder)
        stack.callback(_stop_worker, worker)
        click.echo(f"broker {broker.bootstrap}; the worker is starting (the first time it compiles its kernels) …")
        await _wait_until_ready(settings, worker, folder)
        click.echo(f"live page {_page(settings)}")
        show_page(_page(settings))
        return await _replay(settings, catalog, worker, folder, seconds=seconds, rate=rate, speed=speed)


def _settings(bootstrap: str) -> Settings:
    model = DATA / "model"
    return load(
        bootstrap=bootstrap,
        group="demo",
        session_timeout_s=SESSION_TIMEOUT_S,
        model=model if model.exists() else None,
        web_port=_web_port(),
        log_level="WARNING",
    )


def _web_port() -> int:
    """The port that the documents name, unless somebody has it."""
    with socket.socket() as s:
        return free_port() if s.connect_ex(("127.0.0.1", USUAL_PORT)) == 0 else USUAL_PORT


def _page(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.web_port}/"


def _start_worker(settings: Settings, folder: Path) -> subprocess.Popen[bytes]:
    environment = dict(
        os.environ,
        TSREC_SESSION_TIMEOUT_S=str(settings.session_timeout_s),
        TSREC_CLICKS__LATENESS_S=str(LATENESS_S),
        TSREC_PURCHASES__LATENESS_S=str(LATENESS_S),
        # Ten minutes of trades: bars of two seconds, or there would be nothing to forecast from.
        TSREC_MARKET__BAR_S="2",
        # One machine plays broker, worker, shop and market.
        TSREC_LADDER__BUDGET_MS="200",
        # Every decision can be made again: tsrec replay-decision ID.
        TSREC_AUDIT_SHARE="1.0",
    )
    arguments = [
        f"--bootstrap={settings.bootstrap}", "--group=demo", f"--web-port={settings.web_port}", "--log-level=WARNING",
    ]  # fmt: skip
    if settings.model is not None:
        arguments.append(f"--model={settings.model}")
    with (folder / "worker.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "stream_app.cli", "worker", *arguments], env=environment, stdout=log, stderr=log,
            start_new_session=True, preexec_fn=ends_with_us(),
        )  # fmt: skip


def _stop_worker(worker: subprocess.Popen[bytes]) -> None:
    if worker.poll() is None:
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(15)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait(5)


async def _wait_until_ready(settings: Settings, worker: subprocess.Popen[bytes], folder: Path) -> None:
    url, deadline = f"{_page(settings)}readyz", time.monotonic() + READY_S
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline:
            if worker.poll() is not None:
                raise DemoFailed(f"the worker ended with code {worker.returncode}:\n{_tail(folder / 'worker.log')}")
            with suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.3)
    raise DemoFailed(f"the worker was not ready after {READY_S:g} s:\n{_tail(folder / 'worker.log')}")


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-15:])


async def _replay(
    settings: Settings,
    catalog: Catalog,
    worker: subprocess.Popen[bytes],
    folder: Path,
    *,
    seconds: float,
    rate: float,
    speed: float,
) -> int:
    tally = Tally()
    goods = items()
    titles = {event.key.decode(): json.loads(event.value).get("title") or event.key.decode() for event in goods}
    began = time.monotonic()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopping.set)
    async with AsyncExitStack() as stack:
        producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap)
        await producer.start()
        stack.push_async_callback(producer.stop)
        sender = _Sender(producer, catalog, tally)
        await sender.send(goods)
        await asyncio.sleep(2.0)  # the worker follows the catalog; the first lists should have it
        reader = asyncio.create_task(_read(settings, catalog, tally))
        show = stack.enter_context(Show(tally, titles, _page(settings)))
        player = asyncio.create_task(_play(sender, rate, speed, stopping))
        end = began + seconds + TAIL_S if seconds else None
        while not stopping.is_set() and (end is None or time.monotonic() < end):
            if seconds and time.monotonic() > began + seconds:
                player.cancel()
            for task in (reader, player):
                if task.done() and not task.cancelled() and task.exception() is not None:
                    raise DemoFailed(f"the demo cannot go on: {task.exception()!r}")
            if worker.poll() is not None:
                raise DemoFailed(f"the worker ended with code {worker.returncode}:\n{_tail(folder / 'worker.log')}")
            show.tick()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stopping.wait(), 0.1)
        for task in (player, reader):
            task.cancel()
        await asyncio.gather(player, reader, return_exceptions=True)
    summary = tally.summary(time.monotonic() - began)
    click.echo(json.dumps(summary))
    if not summary["recommendations"]:
        click.echo(f"tsrec: no recommendation came out; the worker said:\n{_tail(folder / 'worker.log')}", err=True)
        return 1
    return 0


class _Sender:
    """Sends events to the partitions of their keys, and tells the tally what offset each got."""

    def __init__(self, producer: AIOKafkaProducer, catalog: Catalog, tally: Tally) -> None:
        self._producer = producer
        self._catalog = catalog
        self._tally = tally

    async def send(self, events: list[Event]) -> None:
        by_place: dict[tuple[str, int], list[Event]] = {}
        partitions: dict[str, Any] = {}
        for name in {event.topic for event in events}:
            mine = [event for event in events if event.topic == name]
            topic = self._catalog[name]
            partitions[name] = partitions_of(Spans.of([event.key for event in mine]), topic.partitions)
            for event, partition in zip(mine, partitions[name].tolist(), strict=True):
                by_place.setdefault((name, partition), []).append(event)
        await asyncio.gather(*(self._send_to(name, p, part) for (name, p), part in by_place.items()))

    async def _send_to(self, name: str, partition: int, events: list[Event]) -> None:
        topic = self._catalog[name].kafka_name
        keys, values = Spans.of([e.key for e in events]), Spans.of([e.value for e in events])
        first = 0
        for batch in build_batches(keys, values, max_bytes=256 << 10):
            at_s = time.time()
            metadata = await (await self._producer.send_batch(batch, topic, partition=partition))
            for i in range(batch.record_count()):
                event = events[first + i]
                if name != "items":
                    self._tally.sent[name] += 1
                if event.user:
                    source = source_ref(topic, partition, metadata.offset + i)
                    self._tally.shop_event_sent(source, name, event.user, event.item, at_s)
            first += batch.record_count()


async def _play(sender: _Sender, rate: float, speed: float, stopping: asyncio.Event) -> None:
    """Send shop events at `rate` a second and trades `speed` times as fast as they happened, until either ends."""
    shop = shop_events()
    trade_at, trades = trade_events()
    began, sent_shop, sent_trades = time.monotonic(), 0, 0
    while not stopping.is_set():
        passed = time.monotonic() - began
        due: list[Event] = []
        while sent_shop < int(passed * rate):
            event = next(shop, None)
            if event is None:
                return
            due.append(event)
            sent_shop += 1
        upto = int(np.searchsorted(trade_at, passed * speed, side="right"))
        due += trades[sent_trades:upto]
        sent_trades = upto
        if due:
            await sender.send(due)
        await asyncio.sleep(max(0.0, 1.0 / TICKS_S - (time.monotonic() - began - passed)))


async def _read(settings: Settings, catalog: Catalog, tally: Tally) -> None:
    """Take what the worker publishes into the tally."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap, fetch_max_wait_ms=FETCH_WAIT_MS)
    await consumer.start()
    await asyncio.sleep(0)
    try:
        names = {catalog[name].kafka_name: name for name in ("recommendations", "risk-alerts", "forecasts")}
        tps = [TopicPartition(topic, p) for topic, name in names.items() for p in range(catalog[name].partitions)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        while True:
            for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                at_s = time.time()
                for record in records:
                    decision = json.loads(record.value)
                    if names[tp.topic] == "recommendations":
                        tally.recommendation(decision, at_s)
                    elif names[tp.topic] == "risk-alerts":
                        tally.alert(decision)
                    else:
                        tally.forecast(decision)
    finally:
        await consumer.stop()

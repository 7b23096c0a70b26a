"""What the examples share: an embedded broker and one worker of their own, records in, records out."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from stream_app.embedded import SESSION_TIMEOUT_S, EmbeddedBroker, free_port

ROOT = Path(__file__).resolve().parents[1]


class Stage:
    """`with Stage(setting=value) as stage:` a worker over fresh topics; both end with the block.

    worker: the command that runs it, `tsrec worker` unless the example has an agent of its own.
    """

    def __init__(self, worker: tuple[str, ...] = ("-m", "stream_app.cli", "worker"), **settings: object) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tsrec-example-")
        self._broker = EmbeddedBroker(free_port(), Path(self._folder.name) / "broker.log")
        self._log = Path(self._folder.name) / "worker.log"
        self._command = [sys.executable, *worker]
        self._settings = {f"TSREC_{name.upper()}": str(value) for name, value in settings.items()}

    def __enter__(self) -> Stage:
        self._broker.start()
        env = {
            "TSREC_BOOTSTRAP": self._broker.bootstrap, "TSREC_SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
            "TSREC_WEB_PORT": "0", "TSREC_PARTITIONS": "1", "TSREC_LADDER__BUDGET_MS": "1000", **self._settings,
        }  # fmt: skip
        self._env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **env}
        tsrec = [sys.executable, "-m", "stream_app.cli"]
        subprocess.run([*tsrec, "topics", "create"], env=self._env, check=True, stdout=subprocess.DEVNULL)
        print("the worker starts (the first time it compiles its kernels, which takes a minute) …", flush=True)
        return self

    def start_worker(self) -> None:
        """Start the worker and wait until it is ready."""
        with self._log.open("wb") as log:
            self._worker = subprocess.Popen(self._command, env=self._env, stdout=log, stderr=log)
        deadline = time.monotonic() + 300
        while "worker ready" not in self._log.read_text():
            if self._worker.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the worker did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_worker"):
            self._worker.terminate()
            self._worker.wait(20)
        self._broker.stop()
        self._folder.cleanup()

    def send(self, topic: str, rows: Iterable[dict[str, Any]], key: str, rate: float = 0) -> None:
        """Send records, keyed by the field `key`; `rate` a second, so that the worker learns on the way."""

        async def work() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self._broker.bootstrap)
            await producer.start()
            try:
                for row in rows:
                    await producer.send(topic, msgspec.json.encode(row), key=str(row[key]).encode())
                    if rate:
                        await asyncio.sleep(1 / rate)
            finally:
                await producer.stop()

        asyncio.run(work())

    def receive(self, topic: str, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """What is in `topic`, as soon as there is enough of it; a minute at most."""

        async def work() -> list[dict[str, Any]]:
            consumer = AIOKafkaConsumer(
                topic, bootstrap_servers=self._broker.bootstrap, auto_offset_reset="earliest", group_id=None
            )
            await consumer.start()
            found: list[dict[str, Any]] = []
            deadline = time.monotonic() + 60
            try:
                while not enough(found):
                    if time.monotonic() > deadline:
                        raise SystemExit(
                            f"{topic}: only {len(found)} records; the worker says:\n{self._log.read_text()}"
                        )
                    for records in (await consumer.getmany(timeout_ms=300)).values():
                        found += [msgspec.json.decode(record.value) for record in records if record.value]
            finally:
                await consumer.stop()
            return found

        return asyncio.run(work())

"""Small jobs for system tests: `python -m tests.system.jobs NAME`, told the rest by the environment."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

import faust
import msgspec
import numpy as np

from stream_app.batch import Batch
from stream_app.processor import Processor
from stream_app.state import Column, Columns
from stream_app.state.windows import TumblingCounts
from stream_app.worker import run_worker
from topics.events import Click
from topics.spans import Spans

INPUT = os.environ.get("INPUT", "in")
OUTPUT = os.environ.get("OUTPUT", "out")


class Echo(msgspec.Struct):
    """What the echo job sends."""

    user_id: str
    item_id: str


def processor(**options: Any) -> Processor:
    """The app every job begins with."""
    env = os.environ
    return Processor(
        env["GROUP"],
        bootstrap=env["BOOTSTRAP"],
        guarantee=env.get("GUARANTEE", "at_least_once"),
        partitions=int(env.get("PARTITIONS", "4")),
        session_timeout_s=float(env.get("SESSION_TIMEOUT_S", "10")),
        dead_letters=f"{OUTPUT}-dead",
        late_events=f"{OUTPUT}-late",
        compression=env.get("COMPRESSION"),
        **options,
    )


def echo() -> Processor:
    """Copies clicks. An item named `poison` raises, `slow` sleeps a second, `huge` makes an output of 20 MB."""
    app = processor()
    lateness = os.environ.get("LATENESS_S")
    clicks = app.batch_topic(INPUT, Click, lateness_s=float(lateness) if lateness else None)
    output = app.batch_topic(OUTPUT, Echo)
    seen = app.columnar_table("seen", Columns(n=Column(np.int64)), sources=[clicks])
    pause_s = float(os.environ.get("SLEEP_S", "0"))

    @app.process(clicks)
    async def copy(batch: Batch) -> None:
        shard = seen.shard(batch.partition)
        rows = shard.locate(batch.columns.user_id)
        fresh = shard.fresh(rows, 0, batch.offsets)
        shard.advance(rows, 0, batch.offsets, batch.columns.ts)
        np.add.at(shard.column("n"), rows[fresh], 1)
        if pause_s:
            await asyncio.sleep(pause_s)
        items = batch.columns.item_id.tolist()
        values = []
        for user, item in zip(batch.columns.user_id.tolist(), items, strict=True):
            if item == b"poison":
                raise ValueError("this item cannot be processed")
            values.append(b'{"user_id":"%s","item_id":"%s"}' % (user, item if item != b"huge" else b"x" * (20 << 20)))
        batch.send(output, batch.columns.user_id, Spans.of(values))

    return app


def beside() -> Processor:
    """An ordinary Faust agent and table beside a batch topic."""
    app = processor()
    clicks = app.batch_topic(INPUT, Click)
    output = app.batch_topic(OUTPUT, Echo)
    counts = app.columnar_table("counts", TumblingCounts(300, windows=12), sources=[clicks])

    @app.process(clicks)
    async def count(batch: Batch) -> None:
        shard = counts.shard(batch.partition)
        rows = shard.locate(batch.columns.user_id)
        shard.advance(rows, 0, batch.offsets, batch.columns.ts)
        batch.send(output, batch.columns.user_id, batch.records.values)

    words = app.topic(os.environ["WORDS"], key_type=str, value_type=str, value_serializer="raw", partitions=4)
    totals = app.topic(os.environ["TOTALS"], key_type=str, value_type=str, value_serializer="raw", partitions=4)
    table = app.Table("words", default=int, partitions=4)

    @app.agent(words)
    async def tally(stream: faust.Stream[str]) -> None:
        async for event in stream.events():
            key = event.key
            table[key] += 1
            await totals.send(key=key, value=str(table[key]))

    return app


def other_columns() -> Processor:
    """The echo job's table with other columns: its changelog cannot be read."""
    app = processor()
    clicks = app.batch_topic(INPUT, Click)
    seen = app.columnar_table("seen", Columns(n=Column(np.int64), more=Column(np.float32)), sources=[clicks])

    @app.process(clicks)
    async def touch(batch: Batch) -> None:
        seen.shard(batch.partition).locate(batch.columns.user_id)

    return app


def failing() -> Processor:
    """Its checkpoints fail after the first."""
    app = echo()
    send_rows = app.checkpoint._send_rows

    async def broken(*args: Any, **options: Any) -> None:
        if app.checkpoint.last_done_s is not None:
            raise RuntimeError("the changelog cannot be written")
        await send_rows(*args, **options)

    app.checkpoint._send_rows = broken  # type: ignore[method-assign]
    return app


if __name__ == "__main__":
    started = time.monotonic()
    run_worker(
        globals()[sys.argv[1]](),
        log_level=os.environ.get("LOG_LEVEL", "INFO"),
        shutdown_timeout_s=float(os.environ.get("SHUTDOWN_TIMEOUT_S", "5")),
    )

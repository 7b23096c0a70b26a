"""Frames go to everybody, nobody waits for a slow browser, and nothing is drawn for nobody."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stream_app.web.live import broadcast as module
from stream_app.web.live.broadcast import Broadcast
from stream_app.web.problems import Problem
from stream_app.web.taps import Taps

PADDING = "x" * 600_000


class Counting(Broadcast):
    """Draws a number a frame, 600 KB each: more than the kernel holds back for a reader."""

    def __init__(self) -> None:
        self.outbox = SimpleNamespace(tap=None)
        self.frames = 0
        super().__init__(SimpleNamespace(taps=Taps(self.outbox, {"a"}), items=None))  # type: ignore[arg-type]

    async def _draw_worker(self) -> None:
        self._put("worker", {"name": "one"}, only_changes=True)

    async def _read_past(self) -> None:
        pass

    async def _draw_frame(self, frame: int) -> None:
        self.frames += 1
        self._put("numbers", {"n": self.frames, "padding": PADDING})
        await self._draw_worker()


@pytest.fixture
async def serving(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Counting, TestServer]]:
    monkeypatch.setattr(module, "FRAME_S", 0.01)
    counting = Counting()
    site = web.Application()
    site.add_routes([web.get("/live/events", counting.serve)])
    server = TestServer(site)
    await server.start_server(shutdown_timeout=0.2)
    yield counting, server
    await server.close()


async def connect(server: TestServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 16)
    writer.write(b"GET /live/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return reader, writer


async def numbers_read(reader: asyncio.StreamReader, seconds: float, seen: bytes = b"") -> tuple[list[int], bytes]:
    """What came within `seconds`."""
    data = seen
    try:
        async with asyncio.timeout(seconds):
            while chunk := await reader.read(1 << 16):
                data += chunk
    except TimeoutError:
        pass
    return [int(n) for n in re.findall(rb'"n":(\d+)', data)], data


async def until(condition: Any, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_nothing_is_tapped_or_drawn_while_nobody_watches(serving: tuple[Counting, TestServer]) -> None:
    counting, server = serving
    await asyncio.sleep(0.05)
    assert (counting.frames, counting.outbox.tap) == (0, None)
    _, writer = await connect(server)
    await until(lambda: counting.frames > 3)
    assert counting.outbox.tap is not None
    writer.close()
    await until(lambda: counting.watchers == 0)
    await until(lambda: counting.outbox.tap is None)
    drawn = counting.frames
    await asyncio.sleep(0.1)
    assert counting.frames == drawn


async def test_parts_that_did_not_change_are_sent_once(serving: tuple[Counting, TestServer]) -> None:
    _, server = serving
    reader, writer = await connect(server)
    numbers, data = await numbers_read(reader, 0.5)
    writer.close()
    assert len(numbers) > 3
    assert data.count(b"event: worker") == 1
    first = re.search(rb"event: worker\ndata: (.*)\n\n", data)
    assert first is not None
    assert json.loads(first[1]) == {"name": "one"}


async def test_a_slow_browser_misses_frames_and_holds_up_nobody(serving: tuple[Counting, TestServer]) -> None:
    counting, server = serving
    slow, slow_writer = await connect(server)
    await until(lambda: counting.frames > 3)
    quick, quick_writer = await connect(server)
    numbers, _ = await numbers_read(quick, 2.0)
    assert len(numbers) > 10  # the other reads nothing all the while
    transports = [handler.transport for handler in server.handler.connections]  # type: ignore[union-attr]
    waiting = [t.get_write_buffer_size() for t in transports if t is not None]
    assert max(waiting) < 4 * len(PADDING)  # no queue: what waits is one frame, not all that were drawn
    at = counting.frames
    late, _ = await numbers_read(slow, 1.5)
    assert late == sorted(late)
    assert max(late) >= at  # it is up to date at once
    gaps = [b - a for a, b in itertools.pairwise(late)]
    assert max(gaps) > 5  # and what was between is gone
    for writer in (slow_writer, quick_writer):
        writer.close()


async def test_a_frame_that_cannot_be_drawn_is_told_once_and_the_next_is_drawn(
    serving: tuple[Counting, TestServer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    counting, server = serving
    draw, failures = counting._draw_frame, 3

    async def fail_first(frame: int) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise KeyError("no such table")
        await draw(frame)

    monkeypatch.setattr(counting, "_draw_frame", fail_first)
    reader, writer = await connect(server)
    numbers, _ = await numbers_read(reader, 1.0)
    writer.close()
    assert numbers
    assert len([record for record in caplog.records if "could not be drawn" in record.message]) == 1


async def test_more_browsers_than_the_limit_are_told_so(
    serving: tuple[Counting, TestServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    counting, _ = serving
    monkeypatch.setattr(module, "MAX_WATCHERS", 0)
    with pytest.raises(Problem, match="watch this worker already"):
        await counting.serve(SimpleNamespace())  # type: ignore[arg-type]
    assert counting.watchers == 0

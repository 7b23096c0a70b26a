from __future__ import annotations

import mmap
import resource
from typing import Any

import numpy as np
import pytest

from stream_app.state import Column, Columns, Layout, Shard
from stream_app.state import memory as memory_module
from stream_app.state.memory import RESERVE_BYTES, reserve
from topics.spans import Spans

LAYOUT = Layout(Columns(n=Column(np.int64, (100,))), ("clicks",))


class _Stingy:
    """A system that maps no more than `limit` bytes at a time."""

    MAP_PRIVATE, MAP_ANONYMOUS = mmap.MAP_PRIVATE, mmap.MAP_ANONYMOUS

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def mmap(self, fd: int, size: int, flags: int) -> Any:
        if size > self.limit:
            raise OSError(12, "Cannot allocate memory")
        return mmap.mmap(fd, size, flags=flags)


def _resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def test_address_space_costs_no_memory_until_it_is_written() -> None:
    before = _resident()
    memory = reserve()
    memory[:1000] = 1
    assert len(memory) == RESERVE_BYTES
    assert not memory[1 << 35 : (1 << 35) + 1000].any()
    assert _resident() - before < 1 << 24


def test_less_is_taken_where_the_system_grants_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "mmap", _Stingy(3 << 20))
    assert len(reserve()) == 2 << 20
    shard = Shard(LAYOUT)
    rows = shard.locate(Spans.of([b"%d" % i for i in range(1000)]))
    shard.column("n")[rows] = 7
    with pytest.raises(MemoryError, match="rows of a table"):
        shard.locate(Spans.of([b"more%d" % i for i in range(10_000)]))


def test_no_memory_at_all_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "mmap", _Stingy(0))
    with pytest.raises(MemoryError, match="1,048,576 bytes"):
        reserve()

"""Random lives of a shard beside a dict of Python objects."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stream_app.state import Shard
from topics.spans import Spans

from .model import LAYOUT, RECENT, WINDOWS, Model, Row

KEYS = st.sampled_from([b"", b"a", b"b", b"user-1", b"user-2", b"a-much-longer-user-id"])
EVENTS = st.lists(st.tuples(KEYS | st.none(), st.integers(-60, 60), st.integers(0, 99)), max_size=12)


class ShardMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.shard = Shard(LAYOUT, reserve_bytes=0)
        self.model = Model()
        self.offset = 0
        self.in_savepoint = False
        self.changelog: dict[bytes, bytes] = {}
        self.in_flight: list[tuple[Spans, Spans]] = []

    @rule(events=EVENTS)
    def clicks(self, events: list[tuple[bytes | None, int, int]]) -> None:
        shard, n = self.shard, len(events)
        rows = shard.locate(Spans.of([key for key, _, _ in events]))
        ts = np.array([float(ts) for _, ts, _ in events])
        items = np.array([item for _, _, item in events], np.int64)
        offsets = self.offset + np.arange(n)
        self.offset += n
        assert shard.fresh(rows, 0, offsets).tolist() == [key is not None for key, _, _ in events]
        shard.advance(rows, 0, offsets, ts)
        assert not shard.fresh(rows, 0, offsets).any()
        WINDOWS.add(shard, rows, ts)
        RECENT.push(shard, rows, item=items, ts=ts)
        held = rows >= 0
        shard.column("hidden")[rows[held]] = np.stack([items, ts], axis=1)[held]
        for (key, at, item), offset in zip(events, offsets.tolist(), strict=True):
            if key is not None:
                self.model.click(key, offset, float(at), item)

    @rule(keys=st.lists(KEYS, max_size=3))
    def only_locate(self, keys: list[bytes]) -> None:
        self.shard.locate(Spans.of(keys))
        for key in keys:
            self.model.row(key)

    @precondition(lambda self: not self.in_savepoint)
    @rule()
    def savepoint(self) -> None:
        self.in_savepoint = True
        self.shard.savepoint()
        self.model.savepoint()

    @precondition(lambda self: self.in_savepoint)
    @rule(keep=st.booleans())
    def end_savepoint(self, keep: bool) -> None:
        self.in_savepoint = False
        if keep:
            self.shard.release()
            self.model.release()
        else:
            self.shard.rollback()
            self.model.rollback()

    @precondition(lambda self: not self.in_savepoint)
    @rule(before=st.integers(-60, 60))
    def evict(self, before: int) -> None:
        assert self.shard.evict(float(before)) == self.model.evict(float(before))

    @precondition(lambda self: not self.in_savepoint)
    @rule()
    def drain(self) -> None:
        keys, values = self.shard.drain_dirty()
        written = [key for key, value in zip(keys, values, strict=True) if value is not None]
        removed = {key for key, value in zip(keys, values, strict=True) if value is None}
        assert len(written) == len(set(written))
        assert set(written) == self.model.dirty
        assert removed == self.model.gone - self.model.rows.keys()
        self.model.dirty, self.model.gone = set(), set()
        self.in_flight.append((keys, values))

    @precondition(lambda self: self.in_flight)
    @rule()
    def flush_succeeds(self) -> None:
        for keys, values in self.in_flight:
            for key, value in zip(keys, values, strict=True):
                assert key is not None
                if value is None:
                    self.changelog.pop(key, None)
                else:
                    self.changelog[key] = value
        self.in_flight = []

    @precondition(lambda self: self.in_flight and not self.in_savepoint)
    @rule()
    def flush_fails(self) -> None:
        for keys, values in self.in_flight:
            self.shard.restore_dirty(keys, values)
            for key, value in zip(keys, values, strict=True):
                assert key is not None
                if value is None:
                    self.model.gone.add(key)
                elif key in self.model.rows:
                    self.model.dirty.add(key)
        self.in_flight = []

    @precondition(lambda self: not self.in_savepoint)
    @rule()
    def recover_elsewhere(self) -> None:
        self.drain()
        self.flush_succeeds()
        self.shard = Shard(LAYOUT, reserve_bytes=0)
        self.shard.apply(Spans.of(self.changelog), Spans.of(self.changelog.values()))
        assert self.shard.dirty == 0

    @invariant()
    def rows_are_those_of_the_model(self) -> None:
        keys = list(self.model.rows)
        assert len(self.shard) == len(keys)
        for key, row in zip(keys, self.shard.find(Spans.of(keys)).tolist(), strict=True):
            assert row >= 0
            expected = self.model.rows[key]
            assert _read(self.shard, row) == expected


def _read(shard: Shard, row: int) -> Row:
    windows = {int(start // 10): int(count) for start, count in WINDOWS.read(shard, row).items()}
    recent = [(entry["item"], entry["ts"]) for entry in reversed(RECENT.read(shard, row))]
    marks, ts = shard.column("_mark")[row].tolist(), float(shard.column("_ts")[row])
    return Row(marks, ts, windows, recent, shard.column("hidden")[row].tolist())


TestShard = ShardMachine.TestCase
TestShard.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)

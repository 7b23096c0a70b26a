"""Lanes: batches are atomic, and the record that breaks one goes to the dead letters alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from stream_app.batch import Batch
from stream_app.errors import StateError
from stream_app.lanes import DEPTH, JOINED_RECORDS, Handler, _Lane, _Work
from stream_app.processor import Processor
from stream_app.state.windows import TumblingCounts
from stream_app.transport.ranges import RangeTracker
from stream_app.transport.records import RecordBatch
from tests.stream_app.agents.conftest import batch_of
from topics.errors import Reason
from topics.events import Click
from topics.spans import Spans

#: Topics of the test of lanes that are apart.
LANES_OF = {"clicks": "shop", "buys": "shop", "counts": "slow"}

Sent = list[tuple[str, int, list[bytes | None]]]


class Consumer:
    """The books of one partition, as the consumer keeps them."""

    def __init__(self) -> None:
        self.ranges = {TP("clicks", 0): RangeTracker(0, 1)}
        self.done: list[int] = []

    def begin_batch(self, tp: TP, records: RecordBatch) -> bool:
        return True

    def is_current(self, tp: TP, records: RecordBatch) -> bool:
        return True

    def finish_batch(self, tp: TP, records: RecordBatch) -> None:
        self.done.append(records.next_offset)


class Bench:
    """A processor without a broker: what would be sent is kept, in order."""

    def __init__(self, handler: Callable[[Bench, Batch], Awaitable[None]], max_records: int | None = None) -> None:
        self.app = Processor("lanes-test", bootstrap="127.0.0.1:1")
        self.clicks = self.app.batch_topic("clicks", Click, max_records=max_records)
        self.out = self.app.batch_topic("out", Click)
        self.windows = TumblingCounts(60, windows=4)
        self.counts = self.app.columnar_table("counts", self.windows, sources=[self.clicks])
        self.sent: Sent = []
        self.batches: list[int] = []
        self.crashed: list[BaseException] = []
        self.app._consumer = Consumer()
        self.app.outbox.send = self._send  # type: ignore[method-assign]

        async def agent(batch: Batch) -> None:
            self.batches.append(len(batch))
            await handler(self, batch)

        self.agent: Handler = agent

    async def _send(self, topic: str, partition: int, keys: Any, values: Spans, *_rest: Any, **_options: Any) -> None:
        self.sent.append((topic, partition, values.tolist()))

    async def feed(self, clicks: list[Click], junk: dict[int, bytes] | None = None) -> None:
        """Have the lane work on one poll; `junk` replaces the values at some places."""
        batch = batch_of(self.clicks, clicks)  # type: ignore[arg-type]
        records = batch.records
        if junk:
            values = records.values.tolist()
            for row, value in junk.items():
                values[row] = value
            records.values = Spans.of(values)
        await self.app.lanes._process([_Work(TP("clicks", 0), self.clicks, records, [("agent", self.agent)])])

    def users(self, topic: str) -> list[str]:
        return [
            msgspec.json.decode(v or b"")["user_id"] for name, _, values in self.sent if name == topic for v in values
        ]

    def count(self, user: str) -> int:
        row = self.counts.get(user)
        return 0 if row is None else int(sum(row["tumbling"].values()))


def clicks(n: int, *poison: int) -> list[Click]:
    return [Click("poison" if i in poison else f"u{i}", "x", 1_000.0) for i in range(n)]


async def count_and_echo(bench: Bench, batch: Batch) -> None:
    """Changes state and sends before it finds out: what it did so far has to be taken back."""
    shard = bench.counts.shard(batch.partition)
    rows = shard.locate(batch.columns.user_id)
    bench.windows.add(shard, rows, batch.columns.ts)
    batch.send(bench.out, batch.columns.user_id, batch.records.values)
    if b"poison" in batch.columns.user_id.tolist():
        raise ValueError("this one cannot be processed")


async def test_the_one_that_breaks_a_batch_goes_alone_and_all_others_count_once() -> None:
    bench = Bench(count_and_echo)
    await bench.feed(clicks(50, 17, 40))
    good = [f"u{i}" for i in range(50) if i not in (17, 40)]
    assert bench.users("out") == good  # each once, in order
    assert [bench.count(user) for user in good] == [1] * 48
    assert bench.count("poison") == 0
    assert bench.users("dead-letters") == ["poison", "poison"]
    assert bench.app.consumer.done == [50]
    assert _dead(bench, "failed") == 2


async def test_many_failures_of_a_kind_are_one_entry_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(count_and_echo)
    await bench.feed(clicks(200, *range(0, 200, 2)))
    assert bench.users("dead-letters") == ["poison"] * 100
    (entry,) = [record for record in caplog.records if "cannot process" in record.message]
    assert entry.message == "agent agent cannot process clicks:0:0"
    assert "this one cannot be processed" in (entry.exc_text or "")


async def test_what_does_not_decode_never_reaches_the_agent() -> None:
    bench = Bench(count_and_echo)
    await bench.feed(clicks(10), junk={3: b"{", 7: b'{"user_id":5}'})
    assert bench.batches == [8]
    assert bench.users("out") == [f"u{i}" for i in range(10) if i not in (3, 7)]
    letters = [v for name, _, values in bench.sent if name == "dead-letters" for v in values]
    assert letters == [b"{", b'{"user_id":5}']
    assert (_dead(bench, "undecodable"), _dead(bench, "invalid")) == (1, 1)


async def test_large_polls_come_in_cuts_and_a_bad_one_spoils_only_its_own() -> None:
    bench = Bench(count_and_echo, max_records=16)
    await bench.feed(clicks(40, 20))
    assert bench.batches[0] == 16
    assert max(bench.batches) == 16
    assert bench.batches[-1] == 8
    assert bench.users("out") == [f"u{i}" for i in range(40) if i != 20]


async def test_an_agent_may_set_one_aside_and_go_on() -> None:
    async def pick(bench: Bench, batch: Batch) -> None:
        batch.reject(1, Reason.INVALID, "u1 is not wanted")
        kept = batch.only(np.arange(len(batch)) != 1)
        kept.send(bench.out, kept.columns.user_id, kept.records.values)

    bench = Bench(pick)
    await bench.feed(clicks(3))
    assert bench.users("out") == ["u0", "u2"]
    assert bench.users("dead-letters") == ["u1"]


async def test_an_output_that_the_broker_would_refuse_is_the_failure_of_its_record() -> None:
    async def swell(bench: Bench, batch: Batch) -> None:
        values = [b"v" * (2_000 if user == b"poison" else 10) for user in batch.columns.user_id.tolist()]
        batch.send(bench.out, batch.columns.user_id, Spans.of(values))

    bench = Bench(swell)
    bench.app.max_message_bytes["out"] = 1_000
    await bench.feed(clicks(6, 2))
    assert sum(len(values) for name, _, values in bench.sent if name == "out") == 5
    assert bench.users("dead-letters") == ["poison"]


async def test_a_failing_broker_is_no_failure_of_a_record() -> None:
    async def refuse(_bench: Bench, _batch: Batch) -> None:
        raise KafkaConnectionError("gone")

    bench = Bench(refuse)
    with pytest.raises(KafkaConnectionError):
        await bench.feed(clicks(4))
    assert bench.sent == []
    assert bench.app.consumer.done == []  # not committed: it comes again


def _dead(bench: Bench, reason: str) -> float:
    return float(bench.app.metrics.dead_letters.labels("clicks", reason)._value.get())


async def test_small_batches_that_wait_are_processed_as_one() -> None:
    bench = Bench(count_and_echo)
    lane, all_clicks = _Lane(), clicks(12)
    offset = 0
    for size in (3, 4, 5):
        records = batch_of(bench.clicks, all_clicks[offset : offset + size]).records  # type: ignore[arg-type]
        records.offsets = records.offsets + offset
        records.fetch_offset, records.next_offset = offset, offset + size
        await lane.put(_Work(TP("clicks", 0), bench.clicks, records, [("agent", bench.agent)]))
        offset += size
    await bench.app.lanes._process(await lane.take())
    assert bench.batches == [12]
    assert bench.users("out") == [f"u{i}" for i in range(12)]
    assert bench.app._consumer.done == [3, 7, 12]  # each is done with by itself


async def test_batches_that_do_not_follow_each_other_stay_apart() -> None:
    bench = Bench(count_and_echo)
    lane = _Lane()

    def work(first: int, last: int, *, seek: int = 0, topic: str = "clicks") -> _Work:
        records = batch_of(bench.clicks, clicks(last - first)).records  # type: ignore[arg-type]
        records.fetch_offset, records.next_offset, records.seek = first, last, seek
        return _Work(TP(topic, 0), bench.clicks, records, [("agent", bench.agent)])

    large = JOINED_RECORDS
    for each in [
        work(0, 3), work(3, 6, seek=1), work(6, 9, seek=1, topic="purchases"), work(3, 6), work(7, 9),
        work(9, 9 + large), work(9 + large, 30 + large),
    ]:  # fmt: skip
        await lane.put(each)
    assert [len(await lane.take()) for _ in range(7)] == [1] * 7


async def test_a_full_lane_holds_up_whoever_brings_more_until_something_is_taken() -> None:
    bench, lane = Bench(count_and_echo), _Lane()
    for i in range(DEPTH):
        records = batch_of(bench.clicks, clicks(1)).records  # type: ignore[arg-type]
        records.fetch_offset = 10 * i  # apart, so that each take is one
        await lane.put(_Work(TP("clicks", 0), bench.clicks, records, []))
    assert lane.full
    waiting = asyncio.create_task(lane.put(_Work(TP("clicks", 0), bench.clicks, records, [])))
    await asyncio.sleep(0)
    assert not waiting.done()
    await lane.take()
    await asyncio.wait_for(waiting, 5)
    lane.clear()
    assert not lane.full
    for _ in range(DEPTH):  # all the room is back
        await asyncio.wait_for(lane.put(_Work(TP("clicks", 0), bench.clicks, records, [])), 5)


async def test_topics_of_one_lane_wait_for_each_other_and_those_of_another_do_not() -> None:
    """Of one partition number: what waits holds up its own lane alone, and undoes its own tables alone."""
    app = Processor("lanes-apart", bootstrap="127.0.0.1:1")
    topics = {name: app.batch_topic(name, Click, lane=lane) for name, lane in LANES_OF.items()}
    tables = {
        lane: app.columnar_table(f"{lane}-counts", TumblingCounts(60, windows=4), sources=sources)
        for lane, sources in (("shop", [topics["clicks"], topics["buys"]]), ("slow", [topics["counts"]]))
    }
    consumer = Consumer()
    app._consumer = consumer
    order: list[str] = []
    go_on = asyncio.Event()

    async def agent(batch: Batch) -> None:
        name = batch.topic.name
        table = tables[batch.topic.lane]
        table.shard(0).admit(batch.columns.user_id, table.source(name), batch.offsets, batch.columns.ts)
        order.append(f"{name} begins")
        if name == "counts":
            await go_on.wait()
            raise ValueError("no good")
        if name == "clicks":
            await asyncio.sleep(0.01)
        order.append(f"{name} ends")

    async def nowhere(*_: Any, **__: Any) -> None:
        order.append("set aside")

    app.outbox.send = nowhere  # type: ignore[method-assign]
    for name in ("counts", "clicks", "buys"):
        records = batch_of(topics[name], [Click("u1", "a", 5.0)]).records
        await app.lanes.put(TP(name, 0), topics[name], records, [("agent", agent)])
    async with asyncio.timeout(5):
        while "buys ends" not in order:
            await asyncio.sleep(0.001)
        assert order == ["counts begins", "clicks begins", "clicks ends", "buys begins", "buys ends"]
        go_on.set()
        while len(consumer.done) < 3:
            await asyncio.sleep(0.001)
    assert order[-1] == "set aside"
    assert len(tables["slow"].shard(0)) == 0, "what the failed batch changed is undone"
    assert len(tables["shop"].shard(0)) == 1, "and nothing of the other lane"
    await app.lanes.close()


def test_a_table_of_two_lanes_is_refused() -> None:
    app = Processor("lanes-mixed", bootstrap="127.0.0.1:1")
    sources = [app.batch_topic("a", Click), app.batch_topic("b", Click, lane="own")]
    with pytest.raises(
        StateError, match=r"table t: its sources must be in one lane, but they are a \(''\), b \('own'\)"
    ):
        app.columnar_table("t", TumblingCounts(60, windows=4), sources=sources)

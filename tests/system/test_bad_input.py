"""Bad, late and odd records among good ones: nothing stops the stream, nothing is lost, nothing changes its bytes."""

from __future__ import annotations

import time
from collections import Counter

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from tests.system.brokers import Kafka
from tests.system.conftest import Start
from tests.system.crashes import wait_for_outputs
from tests.system.kafka_io import Record, create_topics, produce, read_all

pytestmark = [pytest.mark.system, pytest.mark.kafka]

NOW = int(time.time()) - 600


def _click(user: str, item: str = "i1", ts: float = NOW) -> bytes:
    return b'{"user_id":"%s","item_id":"%s","ts":%.3f}' % (user.encode(), item.encode(), ts)


POISON: list[tuple[str, Record]] = [
    ("undecodable", Record(0, b"k", b"\xff\xfe not json")),
    ("undecodable", Record(0, None, b'{"user_id":"u1"')),
    ("undecodable", Record(0, b"k", b"", [("trace", b"abc")])),
    ("empty", Record(0, b"k", None, [("trace", b"\x00\xff")])),
    ("invalid", Record(0, b"k", b'{"user_id":7,"item_id":"i","ts":1}')),
    ("invalid", Record(0, b"k", b"[1,2,3]")),
    ("invalid", Record(0, b"k", b'{"user_id":"u1","item_id":"i"}')),
    ("invalid", Record(0, b"k", b'{"user_id":"u1","item_id":"i","ts":-1e300}')),
    ("undecodable", Record(0, b"k", b'{"user_id":"u1","item_id":"i","ts":NaN}')),
    ("invalid", Record(0, b"k", _click("u1", ts=NOW + 400 * 86400), [("trace", b"future")])),
    ("oversized", Record(0, b"k", b'{"user_id":"u1","item_id":"' + b"x" * (3 << 20) + b'","ts":1}')),
    ("failed", Record(0, b"k", _click("u5", "poison"))),
    ("failed", Record(0, b"k", _click("u5", "huge"))),
]


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
async def test_every_bad_record_is_in_the_dead_letters_as_it_came_and_every_good_one_is_processed_once(
    kafka: Kafka, start: Start, name: str, guarantee: str
) -> None:
    topic, output = f"{name}-in", f"{name}-out"
    await create_topics(kafka.bootstrap, topic, **{"max.message.bytes": str(8 << 20)})
    records: list[Record] = []
    for i, (_reason, bad) in enumerate(POISON):
        records += [Record(0, b"u1", _click("u1", f"i{i}")), bad]
    await produce(kafka.bootstrap, topic, [r._replace(headers=r.headers or [("n", b"1")]) for r in records],
                  max_request_size=16 << 20)  # fmt: skip
    worker = start("echo", kafka.bootstrap, GUARANTEE=guarantee)
    await wait_for_outputs(kafka.bootstrap, output, len(POISON), 60)
    assert worker.terminate() == 0
    goods = [r.value for r in await read_all(kafka.bootstrap, output)]
    assert goods == [b'{"user_id":"u1","item_id":"i%d"}' % i for i in range(len(POISON))]
    dead = await read_all(kafka.bootstrap, f"{output}-dead")
    assert Counter(_header(d, "error.reason") for d in dead) == Counter(reason for reason, _ in POISON)
    by_offset = {int(_header(d, "source.offset")): d for d in dead}
    for i, (reason, bad) in enumerate(POISON):
        letter = by_offset[2 * i + 1]
        assert (letter.key, letter.value) == (bad.key, bad.value)
        assert _header(letter, "error.reason") == reason
        assert _header(letter, "source.topic") == topic
        assert _header(letter, "error.message")
        assert next(iter(bad.headers or [("n", b"1")])) in list(letter.headers)


def _header(record: Record, name: str) -> str:
    return dict(record.headers)[name].decode()


async def test_late_events_go_to_their_topic_wherever_batches_begin_and_after_a_crash(
    kafka: Kafka, start: Start, name: str
) -> None:
    topic, output = f"{name}-in", f"{name}-out"
    await create_topics(kafka.bootstrap, topic)
    times = [NOW + (i if i % 7 else i - 100 - i % 3 * 50) for i in range(600)]
    records = [Record(1, b"u1", _click("u1", f"i{i}", ts)) for i, ts in enumerate(times)]
    newest, late = float("-inf"), []
    for i, ts in enumerate(times):
        if ts < newest - 120:
            late.append(i)
        newest = max(newest, ts)
    assert 0 < len(late) < 100
    await produce(kafka.bootstrap, topic, records[:300])
    worker = start("echo", kafka.bootstrap, LATENESS_S="120")
    await wait_for_outputs(kafka.bootstrap, output, 300 - sum(i < 300 for i in late), 60)
    worker.kill()
    # The first event after the crash is late by what was seen before it.
    await produce(kafka.bootstrap, topic, [Record(1, b"u1", _click("u1", "straggler", NOW + 100))])
    worker.start()
    for i in range(300, 600, 100):
        await produce(kafka.bootstrap, topic, records[i : i + 100])
    await wait_for_outputs(kafka.bootstrap, output, 600 - len(late), 60)
    assert worker.terminate() == 0
    set_aside = await read_all(kafka.bootstrap, f"{output}-late")
    expected = {records[i].value for i in late} | {_click("u1", "straggler", NOW + 100)}
    assert {r.value for r in set_aside} == expected
    assert {_header(r, "error.reason") for r in set_aside} == {"late"}
    assert {_header(r, "source.topic") for r in set_aside} == {topic}
    processed = {r.value for r in await read_all(kafka.bootstrap, output)}
    assert processed == {b'{"user_id":"u1","item_id":"i%d"}' % i for i in range(600) if i not in late}


async def test_input_of_every_codec_with_headers_null_keys_and_aborted_transactions(
    kafka: Kafka, start: Start, name: str
) -> None:
    topic, output = f"{name}-in", f"{name}-out"
    await create_topics(kafka.bootstrap, topic)
    expected = []
    for codec in (None, "gzip", "snappy", "lz4", "zstd"):
        rows = [_click("u1", f"{codec}{i}") for i in range(300)]
        expected += rows
        await produce(kafka.bootstrap, topic, [Record(2, None, row) for row in rows], compression_type=codec)
        expected += (row := [_click("u1", f"{codec}-with-header")])
        await produce(kafka.bootstrap, topic, [Record(2, b"u1", row[0], [("trace", b"abc")])], compression_type=codec)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=name)
    await producer.start()
    for i, end in enumerate([producer.abort_transaction, producer.commit_transaction] * 3):
        await producer.begin_transaction()
        row = _click("u1", f"transaction{i}")
        await producer.send_and_wait(topic, row, partition=2)
        await end()
        expected += [row] if i % 2 else []
    await producer.stop()
    worker = start("echo", kafka.bootstrap, GUARANTEE="exactly_once", COMPRESSION="zstd")
    await wait_for_outputs(kafka.bootstrap, output, len(expected), 60)
    assert worker.terminate() == 0
    outputs = [msgspec.json.decode(r.value) for r in await read_all(kafka.bootstrap, output)]
    assert [out["item_id"] for out in outputs] == [msgspec.json.decode(row)["item_id"] for row in expected]
    assert await read_all(kafka.bootstrap, f"{output}-dead") == []

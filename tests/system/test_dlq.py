"""`tsrec dlq requeue`: never twice, not for ever, by time; on Apache Kafka and on the embedded broker."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stream_app import dead_letters
from stream_app.cli import tsrec
from stream_app.commands.dlq import _when
from stream_app.dead_letters import ATTEMPTS, Filter, Letter, RequeueBroken, letters, requeue, summary
from tests.system.brokers import Kafka, Tansu
from tests.system.kafka_io import Record, create_topics, produce, read_all
from topics.errors import Origin, Reason, RecordError, error_headers

GOOD = b'{"user_id":"u%d","item_id":"i","ts":1.5}'


async def desk(bootstrap: str, prefix: str, n: int, **headers: bytes) -> str:
    """`n` letters of clicks; the name of their topic."""
    topic = f"{prefix}.dead-letters"
    await create_topics(bootstrap, topic, f"{prefix}.clicks")
    rows = []
    for i in range(n):
        own = [(key.replace("_", "."), value) for key, value in headers.items()]
        head = error_headers(RecordError(0, Reason.FAILED, "it broke"), "process", f"{prefix}.clicks", 0, i, own)
        rows.append(Record(i % 4, b"u%d" % i, GOOD % i, head, timestamp_ms=1_000_000 + 1000 * i))
    await produce(bootstrap, topic, rows)
    return topic


def a_letter(timestamp_ms: int = 0, **headers: bytes) -> Letter:
    own = [(key.replace("_", "."), value) for key, value in headers.items()]
    return Letter(0, 7, timestamp_ms, None, None, own, Origin("failed", "it broke", "process", "clicks", 0, 1))


def test_a_filter_by_time_takes_the_beginning_and_leaves_the_end() -> None:
    at = a_letter(10_000)
    assert Filter(since_s=10.0, until_s=10.001).matches(at)
    assert not Filter(since_s=10.001).matches(at)
    assert not Filter(until_s=10.0).matches(at)
    assert not Filter(position="0:7", until_s=10.0).matches(at)


@pytest.mark.parametrize("text", ["2026-01-31T14:00", "2026-01-31T14:00+00:00", "2026-01-31 14:00:00Z"])
def test_times_are_utc_where_they_do_not_say(text: str) -> None:
    assert _when(text, "--since") == 1769868000.0


def test_times_may_be_so_long_ago() -> None:
    assert _when(None, "--since") is None
    assert abs((_when("2h", "--since") or 0) - (time.time() - 7200)) < 5
    result = CliRunner().invoke(tsrec, ["dlq", "list", "--since", "yesterday", "--bootstrap", "127.0.0.1:1"])
    assert result.exit_code == 2
    assert "neither a time such as" in result.output


def test_attempts_are_read_from_the_record_and_told_of_a_group() -> None:
    assert [a_letter().attempts, a_letter(dlq_attempts=b"2").attempts, a_letter(dlq_attempts=b"x").attempts] == [
        0,
        2,
        0,
    ]
    (row,) = summary([a_letter(), a_letter(dlq_attempts=b"2")])
    assert row["attempts"] == 2


@pytest.mark.system
@pytest.mark.parametrize("kind", [pytest.param("kafka", marks=pytest.mark.kafka), "tansu"])
async def test_a_record_says_how_often_it_was_sent_back_and_stays_in_the_end(
    kind: str,
    request: pytest.FixtureRequest,
    name: str,
) -> None:
    bootstrap = request.getfixturevalue(kind).bootstrap
    topic = await desk(bootstrap, f"{name}a", 3)
    tired = await desk(bootstrap, f"{name}b", 2, dlq_attempts=b"3", trace=b"t")
    done = await requeue(bootstrap, topic, await letters(bootstrap, topic))
    assert (done.sent, done.exhausted) == (3, 0)
    home = await read_all(bootstrap, f"{name}a.clicks")
    assert sorted(r.value or b"" for r in home) == [GOOD % i for i in range(3)]
    assert all(dict(r.headers)[ATTEMPTS] == b"1" for r in home)
    found = await letters(bootstrap, tired)
    done = await requeue(bootstrap, tired, found)
    assert (done.sent, done.exhausted) == (0, 2)
    done = await requeue(bootstrap, tired, found, max_attempts=4)
    assert (done.sent, done.exhausted) == (2, 0)
    (first, *_) = await read_all(bootstrap, f"{name}b.clicks")
    assert list(first.headers) == [("trace", b"t"), (ATTEMPTS, b"4")]


@pytest.mark.system
async def test_a_sender_who_uses_the_markers_header_hides_no_letter(tansu: Tansu, name: str) -> None:
    """The record's own headers are kept in its letter, whatever they are called."""
    topic = await desk(tansu.bootstrap, name, 3, dlq_requeued=b"1")
    theirs = [b"no list of ours", b'["\xff"]', b"[" * 100_000, b""]
    await produce(tansu.bootstrap, topic, [Record(0, b"k", value, [("dlq.requeued", b"1")]) for value in theirs])
    found = await letters(tansu.bootstrap, topic)
    assert [letter.requeued for letter in found] == [False] * 7
    assert (await requeue(tansu.bootstrap, topic, found)).sent == 3
    assert [letter.requeued for letter in await letters(tansu.bootstrap, topic)].count(True) == 3


@pytest.mark.system
@pytest.mark.kafka
async def test_a_list_of_letters_that_is_old_sends_nothing_twice(kafka: Kafka, name: str) -> None:
    topic = await desk(kafka.bootstrap, name, 5)
    old = await letters(kafka.bootstrap, topic)
    assert (await requeue(kafka.bootstrap, topic, old)).sent == 5
    done = await requeue(kafka.bootstrap, topic, old)
    assert (done.sent, done.already) == (0, 5)
    assert len(await read_all(kafka.bootstrap, f"{name}.clicks")) == 5


@pytest.mark.system
@pytest.mark.kafka
async def test_a_crash_before_the_marks_sends_nothing_twice(
    kafka: Kafka,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic = await desk(kafka.bootstrap, name, 6)
    send_back = dead_letters._send_back

    async def crash(producer: Any, to: str, batch: list[Letter], partitions: dict[str, int]) -> None:
        await send_back(producer, to, batch, partitions)
        raise RuntimeError("the machine is gone")

    monkeypatch.setattr(dead_letters, "_send_back", crash)
    with pytest.raises(RuntimeError):
        await requeue(kafka.bootstrap, topic, await letters(kafka.bootstrap, topic))
    monkeypatch.setattr(dead_letters, "_send_back", send_back)
    assert await read_all(kafka.bootstrap, f"{name}.clicks") == []
    assert (await requeue(kafka.bootstrap, topic, await letters(kafka.bootstrap, topic))).sent == 6
    assert len(await read_all(kafka.bootstrap, f"{name}.clicks")) == 6


@pytest.mark.system
@pytest.mark.kafka
async def test_two_requeues_at_once_send_each_letter_once(kafka: Kafka, name: str) -> None:
    topic = await desk(kafka.bootstrap, name, 60)
    found = await letters(kafka.bootstrap, topic)
    outcomes = await asyncio.gather(
        requeue(kafka.bootstrap, topic, found, rate=40),
        _after(0.7, lambda: requeue(kafka.bootstrap, topic, found)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], RequeueBroken), outcomes
    home = await read_all(kafka.bootstrap, f"{name}.clicks")
    assert sorted(r.value or b"" for r in home) == sorted(GOOD % i for i in range(60))


async def _after(seconds: float, work: Callable[[], Any]) -> Any:
    await asyncio.sleep(seconds)
    return await work()


@pytest.mark.system
def test_the_command_chooses_by_time_and_leaves_what_was_tried_too_often(
    tansu: Tansu,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    asyncio.run(desk(tansu.bootstrap, name, 4))
    env = {"TSREC_BOOTSTRAP": tansu.bootstrap, "TSREC_TOPIC_PREFIX": f"{name}."}

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(tsrec, ["dlq", *arguments], env=env, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    window = ("--since", "1970-01-01T00:16:41", "--until", "1970-01-01T00:16:43")
    assert json.loads(run("list", "--json", *window))["letters"] == 2
    assert "would send 2 letters" in run("requeue", "--dry-run", *window)
    assert "sent 2 letters back" in run("requeue", *window)
    assert json.loads(run("list", "--json", *window))["requeued"] == 2
    asyncio.run(desk(tansu.bootstrap, f"{name}x", 1, dlq_attempts=b"3"))
    env["TSREC_TOPIC_PREFIX"] = f"{name}x."
    assert "1 failed 3 times or more" in run("requeue", "--all")
    assert "sent back 3 times before, and failed again" in run("show")
    assert "sent 1 letter back" in run("requeue", "--all", "--max-attempts", "9")

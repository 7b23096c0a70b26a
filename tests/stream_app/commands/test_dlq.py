"""`tsrec dlq` and `tsrec tail`: letters are listed, explained, and go home once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from stream_app.dead_letters import Filter, Letter, summary
from topics.errors import Origin, Reason, RecordError, error_headers

Run = Callable[..., Any]
GOOD = b'{"user_id":"u1","item_id":"i","ts":1.5}'


def letter(
    value: bytes | None, reason: Reason, message: str, offset: int, key: bytes | None = b"u1"
) -> tuple[Any, ...]:
    """Key, value and headers of a dead letter of `clicks`, with a header of its own."""
    headers = error_headers(RecordError(0, reason, message), "decode", "PREFIXclicks", 1, offset, [("trace", b"t")])
    return key, value, headers


LETTERS = [
    letter(b'{"user_id":"u1","item_id":"i"}', Reason.INVALID, "Object missing required field `ts`", 1),
    letter(
        b'{"user_id":"u1","item_id":"","ts":1}', Reason.INVALID, "Expected `str` of length >= 1 - at `$.item_id`", 2
    ),
    letter(b"{\xff\x00", Reason.UNDECODABLE, "JSON is malformed: invalid character (byte 1)", 3, None),
    letter(b"{\xff\x00", Reason.UNDECODABLE, "JSON is malformed: invalid character (byte 7)", 4, b"u2"),
    letter(GOOD, Reason.FAILED, "ZeroDivisionError: division by zero", 5),
]


@pytest.fixture
def desk(run: Run, broker: str) -> Callable[..., Any]:
    """Runs commands where five letters wait in fresh topics."""
    prefix = f"d{time.monotonic_ns()}."
    environment = {"TSREC_BOOTSTRAP": broker, "TSREC_TOPIC_PREFIX": prefix}
    run("topics", "create", "clicks", "dead-letters", **environment)

    async def fill() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=broker)
        await producer.start()
        try:
            for number, (key, value, headers) in enumerate(LETTERS):
                mine = [(name, text.replace(b"PREFIX", prefix.encode())) for name, text in headers]
                await producer.send_and_wait(
                    f"{prefix}dead-letters",
                    value,
                    key=key,
                    partition=number % 2,
                    headers=mine,
                    timestamp_ms=1000 + number,
                )
        finally:
            await producer.stop()

    asyncio.run(fill())
    return lambda *arguments: run(*arguments, **environment)


@pytest.mark.system
def test_letters_are_listed_by_reason_and_kind_of_message(desk: Callable[..., Any]) -> None:
    rows = [json.loads(line) for line in desk("dlq", "list", "--json").out.splitlines()]
    assert [(row["reason"], row["letters"]) for row in rows] == [
        ("undecodable", 2), ("invalid", 1), ("invalid", 1), ("failed", 1),
    ]  # fmt: skip
    table = desk("dlq", "list", "--reason", "invalid").out
    assert "2 letters" in table
    assert "undecodable" not in table


@pytest.mark.system
def test_a_letter_is_shown_beside_what_the_contract_says(desk: Callable[..., Any]) -> None:
    out = desk("dlq", "show", "--message", "item_id").out
    assert "reason   invalid: Expected `str` of length >= 1 - at `$.item_id`" in out
    assert '▸   "item_id": ""' in out
    assert "today    invalid" in out
    shown = [json.loads(line) for line in desk("dlq", "show", "--json").out.splitlines()]
    assert [one["contract_today"] == "accepted" for one in shown] == [False, False, False, False, True]
    assert shown[2]["value"] == "{\\xff\x00"
    assert shown[2]["key"] is None


def _clicks(desk: Callable[..., Any], n: int, *options: str) -> list[str]:
    """Lines of `tsrec tail clicks`, once there are `n` of them: a broker acknowledges a commit before the partitions
    have its markers, and until then a reader of what is committed sees nothing."""
    deadline = time.monotonic() + 20.0
    while True:
        lines: list[str] = desk("tail", "clicks", *options, "--from", "beginning", "--until-end").out.splitlines()
        if len(lines) >= n or time.monotonic() > deadline:
            return lines
        time.sleep(0.2)


@pytest.mark.system
def test_letters_go_home_once_with_their_key_bytes_and_own_headers(desk: Callable[..., Any]) -> None:
    good = desk("dlq", "requeue", "--reason", "failed", "--dry-run").out
    assert "would send 1 letter to " in good
    assert "refuses" not in good
    assert "still refuses 4 of them" in desk("dlq", "requeue", "--all", "--dry-run").out
    assert desk("tail", "clicks", "--raw", "--from", "beginning", "--until-end").out == ""
    outcome = desk("dlq", "requeue", "--reason", "failed")
    assert outcome.code == 0, outcome.err
    assert "sent 1 letter back" in outcome.out
    assert _clicks(desk, 1, "--raw") == [GOOD.decode()]
    assert "sent 0 letters back" in desk("dlq", "requeue", "--reason", "failed").out
    assert "sent 4 letters back" in desk("dlq", "requeue", "--all", "--rate", "1000").out
    assert "sent 5 letters back" in desk("dlq", "requeue", "--all", "--again").out
    rows = [json.loads(line) for line in desk("dlq", "list", "--json").out.splitlines()]
    assert sum(row["letters"] for row in rows) == sum(row["requeued"] for row in rows) == 5
    home = _clicks(desk, 10)
    assert len(home) == 10
    assert sum("undecodable" in line for line in home) == 4
    # Without a key the letter goes back to the partition it came from.
    assert any(" 1:" in line and " – " in line for line in home)


@pytest.mark.system
def test_tail_shows_dead_letters_and_topics_of_others(desk: Callable[..., Any]) -> None:
    out = desk("tail", "dead-letters", "--from", "beginning", "--until-end").out
    assert "failed at decode from" in out
    assert "division by zero" in out
    assert desk("tail", "dead-letters", "--from", "-1", "-n", "1").out.count("\n") == 1
    assert desk("tail", "dead-letters", "--from", "beginning", "--until-end", "--key", "u2").out.count("\n") == 1
    nowhere = desk("tail", "nowhere")
    assert (nowhere.code, "has no topic 'nowhere'" in nowhere.err) == (2, True)


def test_requeue_wants_to_know_which(run: Run) -> None:
    outcome = run("dlq", "requeue")
    assert outcome.code == 2
    assert "say which letters" in outcome.err
    assert run("dlq", "list", "--bootstrap", "127.0.0.1:1").code == 3
    assert run("tail", "clicks", "--bootstrap", "127.0.0.1:1").code == 3
    assert run("tail", "clicks", "--from", "yesterday").code == 2


def test_a_filter_needs_every_part_to_match() -> None:
    one = Letter(0, 7, 0, None, None, [], Origin("invalid", "bad ts", "decode", "clicks", 0, 1))
    stray = Letter(0, 8, 0, None, None, [], None)
    assert Filter().matches(one)
    assert Filter(reason="invalid", message="ts").matches(one)
    assert not Filter(reason="invalid", topic="trades").matches(one)
    assert Filter(position="0:7").matches(one)
    assert not Filter(position="0:7").matches(stray)
    assert Filter().matches(stray)
    assert not Filter(reason="invalid").matches(stray)


def test_messages_that_differ_in_numbers_and_values_are_one_kind() -> None:
    origins = [
        Origin("invalid", f"Invalid enum value '{word}' - at `$.action` (byte {n})", "decode", "clicks", 0, n)
        for n, word in ((1, "odd"), (22, "strange"))
    ]
    rows = summary([Letter(0, n, n, None, None, [], origin) for n, origin in enumerate(origins)])
    assert len(rows) == 1
    assert rows[0]["message"] == "Invalid enum value '…' - at `$.action` (byte N)"

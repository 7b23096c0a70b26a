"""`tsrec topics`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.mark.system
def test_topics_are_created_once_and_listed(run: Run, broker: str) -> None:
    first = run("topics", "create", "--bootstrap", broker, "--prefix", "a.", "--partitions", 3)
    assert first.code == 0, first.err
    assert "a.clicks: created with 3 partitions" in first.out
    assert "a.items: created with 1 partitions" in first.out
    again = run("topics", "create", "--bootstrap", broker, "--prefix", "a.")
    assert "a.clicks: exists with 3 partitions" in again.out
    listed = run("topics", "list", "--json", TSREC_BOOTSTRAP=broker, TSREC_TOPIC_PREFIX="a.")
    rows = {row["name"]: row for row in map(json.loads, listed.out.splitlines())}
    assert rows["clicks"] | {"partitions": 0} == {
        "topic": "a.clicks", "name": "clicks", "key": "user_id", "type": "Click", "partitions": 0, "cleanup": "delete",
        "retention_ms": 604_800_000, "on_broker": 3, "records": 0,
    }  # fmt: skip
    assert "missing" in run("topics", "list", TSREC_BOOTSTRAP=broker, TSREC_TOPIC_PREFIX="none.").out


@pytest.mark.system
def test_partition_counts_that_do_not_fit_are_told_with_code_1(run: Run, broker: str) -> None:
    assert run("topics", "create", "clicks", "--bootstrap", broker, "--prefix", "b.", "--partitions", 2).code == 0
    outcome = run("topics", "create", "purchases", "--bootstrap", broker, "--prefix", "b.", "--partitions", 4)
    assert outcome.code == 1
    assert "topics keyed by user need equal partition counts, but b.clicks has 2, b.purchases has 4" in outcome.err


@pytest.mark.system
def test_a_dry_run_creates_nothing(run: Run, broker: str) -> None:
    assert (
        "c.clicks: would be created"
        in run("topics", "create", "clicks", "--dry-run", "--bootstrap", broker, "--prefix", "c.").out
    )
    assert "c.clicks: created" in run("topics", "create", "clicks", "--bootstrap", broker, "--prefix", "c.").out


def test_without_a_broker_there_is_one_line_and_code_3(run: Run) -> None:
    for command in (("create",), ("list",)):
        outcome = run("topics", *command, "--bootstrap", "127.0.0.1:1")
        assert outcome.code == 3
        assert outcome.err.splitlines() == [
            "tsrec: no broker answers at 127.0.0.1:1: start one with `tsrec broker`, or see --bootstrap"
        ]


def test_the_list_needs_no_broker_offline(run: Run) -> None:
    outcome = run("topics", "list", "--offline")
    assert outcome.code == 0
    assert "recommendations" in outcome.out


def test_schemas_are_printed_for_one_topic_or_all(run: Run) -> None:
    one = json.loads(run("topics", "schema", "clicks").out)
    assert one["$defs"]["Click"]["required"] == ["user_id", "item_id", "ts"]
    assert {"Click", "Recommendation", "RiskAlert"} <= set(json.loads(run("topics", "schema").out)["$defs"])
    asyncapi = run("topics", "schema", "--asyncapi", TSREC_TOPIC_PREFIX="shop.").out
    assert 'asyncapi: "3.0.0"' in asyncapi
    assert 'address: "shop.clicks"' in asyncapi


def test_mistakes_are_one_line_and_code_2(run: Run) -> None:
    unknown = run("topics", "schema", "klicks")
    assert (unknown.code, unknown.err.count("\n")) == (2, 1)
    assert "no topic 'klicks' in the contract; there are clicks, purchases" in unknown.err
    assert "has no schema" in run("topics", "schema", "dead-letters").err
    assert run("topics", "create", "clicks", TSREC_PARTITIONS="many").code == 2

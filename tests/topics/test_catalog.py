"""The catalog fits the structs, and the names a deployment gives."""

from __future__ import annotations

import re

import msgspec
import pytest

from topics import TOPICS, Catalog
from topics.errors import Reason, RecordError, error_headers, parse_error_headers


def test_every_key_is_a_required_field_of_its_struct() -> None:
    for topic in TOPICS:
        if topic.type is not None:
            fields = {field.name: field for field in msgspec.structs.fields(topic.type)}
            # Accounts are optional on trades; the topic keyed by them carries only trades that have one.
            assert fields[topic.key].required or topic.name == "trades-by-account"


def test_topics_of_the_contract_table_are_there() -> None:
    assert {
        "clicks", "purchases", "trades", "items", "credit-applications", "feedback", "recommendations", "risk-alerts",
        "forecasts", "late-events", "dead-letters",
    } <= {topic.name for topic in TOPICS}  # fmt: skip


def test_the_items_topic_is_compacted_and_events_expire() -> None:
    catalog = Catalog()
    assert catalog["items"].config()["cleanup.policy"] == "compact"
    assert "retention.ms" not in catalog["items"].config()
    assert catalog["clicks"].config()["retention.ms"] == str(7 * 86_400_000)


def test_names_take_the_prefix_or_are_given() -> None:
    catalog = Catalog("shop.", {"clicks": "web-events"}, partitions=12)
    assert catalog["clicks"].kafka_name == "web-events"
    assert catalog["purchases"].kafka_name == "shop.purchases"
    assert catalog.by_kafka_name("shop.purchases") is catalog["purchases"]
    assert catalog.by_kafka_name("purchases") is None
    assert catalog["clicks"].partitions == 12
    assert catalog["items"].partitions == 1


def test_a_name_that_is_not_ours_or_given_twice_is_refused() -> None:
    with pytest.raises(KeyError, match="no topic klicks"):
        Catalog(names={"klicks": "x"})
    with pytest.raises(ValueError, match="same name"):
        Catalog(names={"clicks": "x", "trades": "x"})


def test_kafka_accepts_every_name() -> None:
    assert all(re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", topic.name) for topic in TOPICS)


def test_unequal_partition_counts_within_a_group_are_found() -> None:
    catalog = Catalog()
    assert all(len({topic.partitions for topic in group}) == 1 for group in catalog.groups().values())
    assert catalog.mismatches({"clicks": 4, "purchases": 4, "trades": 8, "items": 1}) == []
    problems = catalog.mismatches({"clicks": 4, "purchases": 8})
    assert problems == ["topics keyed by user need equal partition counts, but clicks has 4, purchases has 8"]


def test_the_headers_of_a_dead_letter_say_where_it_came_from_and_keep_its_own() -> None:
    error = RecordError(3, Reason.INVALID, "bad ü")
    headers = error_headers(error, "decode", "clicks", 2, 17, [("trace", b"1")])
    origin, own = parse_error_headers(headers)
    assert origin is not None
    assert (origin.reason, origin.message, origin.stage) == ("invalid", "bad ü", "decode")
    assert (origin.topic, origin.partition, origin.offset) == ("clicks", 2, 17)
    assert own == [("trace", b"1")]


def test_a_second_failure_replaces_the_headers_of_the_first() -> None:
    first = error_headers(RecordError(0, Reason.INVALID, "one"), "decode", "clicks", 0, 1)
    second = error_headers(RecordError(0, Reason.FAILED, "two"), "trends", "clicks", 0, 9, first)
    origin, own = parse_error_headers(second)
    assert origin is not None
    assert (origin.message, origin.offset) == ("two", 9)
    assert own == []
    assert len(second) == 6


def test_headers_that_are_not_complete_give_no_origin() -> None:
    assert parse_error_headers([("error.reason", b"invalid")]) == (None, [])
    broken = [*error_headers(RecordError(0, Reason.LATE, ""), "s", "t", 0, 0)[:-1], ("source.offset", b"x")]
    assert parse_error_headers(broken)[0] is None


def test_a_long_message_is_cut_and_a_broken_one_survives() -> None:
    headers = dict(error_headers(RecordError(0, Reason.FAILED, "\ud800" + "x" * 9999), "s", "t", 0, 0))
    assert len(headers["error.message"]) == 400

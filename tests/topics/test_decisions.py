"""Ids of decisions come from their source alone."""

from __future__ import annotations

from topics import wire
from topics.decisions import Recommendation, RecommendedItem, RiskAlert, alert_id, decision_id, decision_ids, source_ref


def test_the_same_event_always_gives_the_same_id() -> None:
    source = source_ref("clicks", 3, 1042)
    assert source == "clicks:3:1042"
    assert decision_id(source) == decision_id("clicks:3:1042") == "f2dd170990c9453a3f429932"
    assert alert_id(source, "velocity", "acct-1") == alert_id(source, "velocity", "acct-1")


def test_other_events_kinds_and_subjects_give_other_ids() -> None:
    ids = {
        decision_id("clicks:3:1042"), decision_id("clicks:3:1043"), decision_id("clicks:31:042"),
        decision_id("clicks:3:1042", "offer"), alert_id("clicks:3:1042", "velocity", "a"),
        alert_id("clicks:3:1042", "velocity", "b"), alert_id("clicks:3:1042", "wash", "a"),
    }  # fmt: skip
    assert len(ids) == 7


def test_ids_of_a_batch_equal_those_one_by_one() -> None:
    assert decision_ids("clicks", 2, range(5, 9)) == [decision_id(f"clicks:2:{k}") for k in range(5, 9)]


def test_decisions_can_be_read_back() -> None:
    decisions = [
        Recommendation("d", "u", [RecommendedItem("i", 0.5, "you viewed j")], "gru", "gru", 1.0, 1.5, "clicks:0:1"),
        RiskAlert("a", "velocity", "s", "critical", "firing", 9.0, 5.0, "m", {"n": [1]}, 1.0, 2.0, "trades:0:4"),
    ]
    for decision in decisions:
        assert wire.decode(type(decision), wire.encode([decision])).records == [decision]


def test_a_source_that_names_no_record_is_refused() -> None:
    bad = wire.encode([Recommendation("d", "u", [], "gru", "gru", 1.0, 1.5, "clicks/0/1")])
    assert "$.source" in wire.decode(Recommendation, bad).errors[0].message

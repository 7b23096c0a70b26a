"""Promotions under alerts: what is withheld, why, and what is not."""

from __future__ import annotations

import pytest

from tsrec_models.risk.alerts import AlertError, Rule, Signal
from tsrec_models.risk.alerts_book import AlertBook
from tsrec_models.risk.alerts_silence import Silence
from tsrec_models.risk.gate import GateRule, RiskGate

GATE = RiskGate([GateRule("loss_limit", frozenset({"leverage"})), GateRule("fraud", frozenset({"*"}), "warning")])


def test_only_named_kinds_are_withheld_and_the_reason_says_why() -> None:
    decision = GATE.decide([("loss_limit", "critical", "id1")], ["leverage", "newsletter"])
    assert decision.allowed == ("newsletter",)
    assert decision.withheld[0].reason == "withheld: critical loss_limit alert id1"


def test_a_warning_is_not_grave_enough_unless_the_rule_says_so() -> None:
    assert GATE.decide([("loss_limit", "warning", "id1")], ["leverage"]).allowed == ("leverage",)
    assert GATE.decide([("fraud", "warning", "id2")], ["leverage", "any"]).allowed == ()


def test_the_gravest_alert_is_the_reason() -> None:
    alerts = [("fraud", "warning", "id2"), ("loss_limit", "critical", "id1")]
    assert GATE.decide(alerts, ["leverage"]).withheld[0].alert_id == "id1"


def test_no_alerts_no_gate() -> None:
    assert GATE.decide([], ["leverage"]).withheld == ()


def test_from_a_book_all_subjects_count_and_a_silenced_alert_too() -> None:
    book = AlertBook([Rule("loss_limit", 1.0, critical_at=2.0)])
    book.silence(Silence("s", until_ts=100.0, subject="acc-9", up_to="critical"))
    book.observe(Signal("loss_limit", "acc-9", 3.0, 1.0, "trades:0:1"))
    assert GATE.decide_for(book, ["ann", "acc-9"], ["leverage"]).allowed == ()
    book.observe(Signal("loss_limit", "acc-9", 0.0, 2.0, "trades:0:2"))
    assert GATE.decide_for(book, ["ann", "acc-9"], ["leverage"]).allowed == ("leverage",)


def test_a_rule_that_withholds_nothing_is_refused() -> None:
    with pytest.raises(AlertError, match="nothing"):
        GateRule("x", frozenset())

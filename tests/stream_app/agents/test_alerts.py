"""Alert books in the stream: what people hear of, what they answer, and that a crash changes neither."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream_app.agents.alert_rows import ROW_BYTES, alert_columns, read_rows, write_rows
from stream_app.agents.alerts import Alerts
from stream_app.batch import Batch
from stream_app.gate import Gate
from stream_app.state.columns import Layout
from stream_app.state.shard import Shard
from tests.stream_app.agents.desk import Desk, record_batch
from topics import wire
from topics.errors import Reason
from topics.events import AlertAction, Trade
from tsrec_models.risk.alerts import Signal

T = 1_700_000_000.0


def signal(kind: str = "drawdown", subject: str = "ann", level: float = 1.5, ts: float = T, offset: int = 0) -> Signal:
    """A level relative to its threshold of 100."""
    source = f"trades-by-account:0:{offset}"
    return Signal(kind, subject, 100.0 * level, ts, source, f"{subject} is down", {"trades": []}, 100.0)


async def tell(desk: Desk, *signals: Signal, partition: int = 0) -> None:
    """The book of accounts gets signals as their agent would give them."""
    alerts: Alerts = desk.desk.alerts
    values = wire.encode([Trade("S", 1.0, 1.0, s.ts) for s in signals])
    records = record_batch("trades-by-account", partition, values)
    topic = desk.topics["trades-by-account"]
    batch = Batch(topic, records, topic.decode(records.values))
    newest = max(signals, key=lambda s: s.ts)
    alerts.take(batch, "accounts", signals, (newest.ts, newest.source))
    await desk._route(batch.outgoing)


async def act(desk: Desk, action: str, alert_id: str, partition: int = 0, **more: Any) -> None:
    await desk.send("alert-actions", [AlertAction(alert_id, action, T + 5.0, by="eve", **more)], partition)  # type: ignore[arg-type]


async def test_an_alert_fires_once_rises_and_ends_under_one_id() -> None:
    desk = Desk()
    await tell(desk, signal(offset=1), signal(level=1.6, ts=T + 1, offset=2), signal(level=2.5, ts=T + 2, offset=3))
    await tell(desk, signal(level=0.1, ts=T + 3, offset=4))
    sent = desk.alerts(None)
    assert [(a.severity, a.status) for a in sent] == [
        ("warning", "firing"), ("critical", "firing"), ("critical", "resolved")
    ]  # fmt: skip
    assert len({a.alert_id for a in sent}) == 1
    assert sent[0].source == "trades-by-account:0:1"
    assert desk.metrics.alerts.labels("drawdown", "critical", "firing")._value.get() == 1


async def test_books_come_back_after_a_crash_and_a_replay_gives_the_same_alert_again() -> None:
    desk = Desk()
    await tell(desk, signal(offset=1), signal(kind="loss_limit", level=3.0, offset=2))
    desk.checkpoint()
    first = desk.alerts()[0]
    await desk.crash()
    assert [e.kind for e in desk.desk.alerts.open_alerts()] == ["loss_limit", "drawdown"]
    assert [a.alert_id for a in desk.desk.alerts.waiting()] != []
    desk.sent.clear()
    await tell(desk, signal(offset=1))
    assert [a.alert_id for a in desk.alerts()] == [first.alert_id]
    await tell(desk, signal(level=1.7, ts=T + 9, offset=9))
    assert len(desk.alerts()) == 1


async def test_an_alert_that_is_forgotten_leaves_the_changelog() -> None:
    desk = Desk()
    await tell(desk, signal(offset=1))
    await tell(desk, signal(level=0.1, ts=T + 3, offset=2))
    desk.checkpoint()
    key = b"accounts|book|drawdown|ann"
    assert desk.log["alerts", 0][key] is not None
    await tell(desk, signal(kind="velocity", subject="bob", ts=T + 4000, offset=3))
    desk.checkpoint()
    assert desk.log["alerts", 0][key] is None
    await desk.crash()
    assert [e.subject for e in desk.desk.alerts.open_alerts()] == ["bob"]


async def test_a_flood_is_cut_to_the_cap_and_told_of_in_one_alert() -> None:
    desk = Desk(alerts={"cap_per_kind": 3})
    await tell(desk, *(signal(subject=f"u{k}", ts=T + k, offset=k) for k in range(10)))
    kinds = [a.kind for a in desk.alerts()]
    assert kinds == ["drawdown"] * 3 + ["alert_flood"]


@pytest.mark.parametrize("partition", [0, 2])
async def test_an_action_finds_its_alert_in_whichever_partition_it_arrives(partition: int) -> None:
    desk = Desk()
    await tell(desk, signal(offset=1))
    alert = desk.alerts()[0]
    await act(desk, "acknowledge", alert.alert_id, partition)
    assert desk.rejected == []
    assert desk.alerts()[-1].evidence["acknowledged_by"] == "eve"
    await act(desk, "confirm", alert.alert_id, partition, note="yes")
    (label,) = desk.desk.alerts.labels()
    assert (label.alert_id, label.confirmed, label.by, label.note) == (alert.alert_id, True, "eve", "yes")
    desk.checkpoint()
    await desk.crash()
    assert [label.confirmed for label in desk.desk.alerts.labels()] == [True]
    await act(desk, "reject", alert.alert_id, partition)
    assert [label.confirmed for label in desk.desk.alerts.labels()] == [False]


async def test_an_action_for_an_alert_that_nobody_has_ends_in_the_dead_letters_after_each_partition_looked() -> None:
    desk = Desk()
    await act(desk, "acknowledge", "nonsense", partition=3)
    (error,) = desk.rejected
    assert error.reason is Reason.INVALID
    assert "nonsense" in error.message
    assert [desk.offsets["alert-actions", p] for p in range(4)] == [1, 1, 1, 1]


async def test_a_silence_mutes_the_same_kind_and_subject_until_it_ends() -> None:
    desk = Desk()
    await tell(desk, signal(offset=1))
    await act(desk, "silence", desk.alerts()[0].alert_id, until_ts=T + 2000.0)
    await tell(desk, signal(level=0.1, ts=T + 10, offset=2))
    desk.checkpoint()
    await desk.crash()
    desk.sent.clear()
    await tell(desk, signal(ts=T + 400, offset=3))
    assert desk.alerts() == []
    assert len(desk.desk.alerts.open_alerts()) == 1
    await tell(desk, signal(subject="bob", ts=T + 410, offset=4))
    assert [a.subject for a in desk.alerts()] == ["bob"]
    await tell(desk, signal(subject="bob", ts=T + 2001, offset=5))
    assert [a.subject for a in desk.alerts()] == ["bob", "ann"]


async def test_who_is_under_a_critical_alert_is_gated_until_it_ends_also_after_a_crash() -> None:
    desk = Desk(alerts={"cap_critical": 1})
    gate = lambda: desk.desk.alerts.gate  # noqa: E731
    await tell(desk, signal(level=1.5, offset=1))
    assert gate().withheld("ann") is None  # a warning
    await tell(desk, signal(level=2.5, ts=T + 1, offset=2), signal(level=2.5, subject="bob", ts=T + 1, offset=3))
    assert "drawdown" in (gate().withheld("ann") or "")
    await tell(desk, signal(level=2.5, subject="cat", ts=T + 2, offset=4))
    assert gate().withheld("cat") is not None  # held back by the cap: nobody has heard, and yet
    desk.checkpoint()
    await desk.crash()
    assert gate().withheld("ann") is not None
    assert len(gate()) == 3
    await tell(desk, signal(level=0.1, ts=T + 3, offset=5))
    assert gate().withheld("ann") is None
    assert gate().withheld("bob") is not None


def test_a_gate_knows_only_the_kinds_it_was_told_and_forgets_what_is_held_elsewhere() -> None:
    gate = Gate(["drawdown"])
    gate.set(("accounts", 1), "velocity", "ann", "id1")
    assert gate.withheld("ann") is None
    gate.set(("accounts", 1), "drawdown", "ann", "id2")
    gate.set(("accounts", 2), "drawdown", "bob", "id3")
    assert gate.withheld("ann") == "critical alert drawdown (id2)"
    gate.forget(("accounts", 1))
    assert gate.withheld("ann") is None
    assert gate.withheld("bob") is not None
    gate.set(("accounts", 2), "drawdown", "bob", None)
    assert len(gate) == 0


def test_rows_of_any_size_are_kept_and_too_large_evidence_says_what_is_left_out() -> None:
    shard = Shard(Layout(alert_columns(), ("trades",)))
    rng = np.random.default_rng(1)
    noise = {"trades": rng.bytes(3 * ROW_BYTES).hex(), "note": "kept"}
    rows = {"a": {"x": 1, "evidence": {"y": [1, 2]}}, "b": {"x": 2, "evidence": noise}}
    write_rows(shard, "p|", rows)
    write_rows(shard, "q|", {"a": {"x": 3}})
    back = read_rows(shard, "p|")
    assert back["a"] == rows["a"]
    assert back["b"]["evidence"]["note"] == "kept"
    assert back["b"]["evidence"]["left_out"].startswith("trades")
    write_rows(shard, "p|", {"a": None, "gone": None, "b": {"x": 5}})
    assert read_rows(shard, "p|") == {"b": {"x": 5}}
    assert read_rows(shard, "q|") == {"a": {"x": 3}}
    with pytest.raises(ValueError, match="takes"):
        write_rows(shard, "p|", {"c": {"text": rng.bytes(3 * ROW_BYTES).hex()}})

"""The review queue: verdicts become labels, and labels say what the alerts were worth."""

from __future__ import annotations

import json

import pytest

from tsrec_models.risk.alerts import Alert, AlertError
from tsrec_models.risk.alerts_review import ReviewQueue


def alert(n: int, severity: str = "warning", value: float = 1.0) -> Alert:
    return Alert(
        f"id{n}", "wash_trade", f"acc{n}", severity, "firing", value, 1.0, "", {"trades": [n]}, n, n, f"trades:0:{n}"
    )  # type: ignore[arg-type]


def test_a_verdict_is_kept_as_a_label_with_what_the_alert_said() -> None:
    queue = ReviewQueue()
    queue.offer(alert(1, value=7.0))
    label = queue.review("id1", True, "ann", 5.0, "collusion")
    assert (label.confirmed, label.value, label.evidence, label.note) == (True, 7.0, {"trades": [1]}, "collusion")
    assert queue.waiting() == []


def test_a_person_may_change_their_mind() -> None:
    queue = ReviewQueue()
    queue.offer(alert(1))
    queue.review("id1", True, "ann", 5.0)
    queue.review("id1", False, "bob", 6.0)
    assert [(x.confirmed, x.by) for x in queue.labels.values()] == [(False, "bob")]


def test_a_reviewed_alert_does_not_come_back_to_the_queue() -> None:
    queue = ReviewQueue()
    queue.offer(alert(1))
    queue.review("id1", True, "ann", 5.0)
    queue.offer(alert(1))
    assert queue.waiting() == []


def test_worst_first_then_oldest() -> None:
    queue = ReviewQueue()
    for a in (alert(3), alert(1), alert(2, "critical")):
        queue.offer(a)
    assert [a.alert_id for a in queue.waiting()] == ["id2", "id1", "id3"]


def test_a_full_queue_drops_the_least_severe_and_oldest_and_counts_it() -> None:
    queue = ReviewQueue(capacity=2)
    for a in (alert(1), alert(2, "critical"), alert(3)):
        queue.offer(a)
    assert [a.alert_id for a in queue.waiting()] == ["id2", "id3"]
    assert queue.dropped == 1
    with pytest.raises(AlertError, match="dropped"):
        queue.review("id1", True, "ann", 1.0)


def test_precision_is_the_share_confirmed_within_its_interval() -> None:
    queue = ReviewQueue()
    for n in range(20):
        queue.offer(alert(n))
        queue.review(f"id{n}", n < 15, "ann", 1.0)
    found = queue.precision("wash_trade")
    assert (found.reviewed, found.share) == (20, 0.75)
    assert 0.5 < found.lower < 0.75 < found.upper < 0.9
    assert queue.precision("nothing").upper == 1.0


def test_the_suggested_threshold_is_the_lowest_that_reaches_the_precision() -> None:
    queue = ReviewQueue()
    for n in range(100):
        queue.offer(alert(n, value=float(n)))
        queue.review(f"id{n}", n >= 50, "ann", 1.0)
    level = queue.suggest_threshold("wash_trade", 0.8)
    assert level is not None
    kept = [x for x in queue.labels.values() if x.value >= level]
    below = [x for x in queue.labels.values() if x.value >= level - 1]
    assert sum(x.confirmed for x in kept) / len(kept) >= 0.8 > sum(x.confirmed for x in below) / len(below)
    assert queue.suggest_threshold("wash_trade", 0.8, min_reviewed=101) is None


def test_rows_bring_queue_and_labels_back() -> None:
    queue, table = ReviewQueue(), {}
    for n in range(4):
        queue.offer(alert(n))
    table |= json.loads(json.dumps(queue.take_changes()))
    queue.review("id2", True, "ann", 5.0)
    table |= json.loads(json.dumps(queue.take_changes()))
    again = ReviewQueue()
    again.restore(table)
    assert (again.waiting(), again.labels) == (queue.waiting(), queue.labels)

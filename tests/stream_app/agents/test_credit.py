"""Credit in the stream: every application gets an answer, or a reason why it has none."""

from __future__ import annotations

from typing import Any

import pytest

from stream_app.agents.credit import Credit
from stream_app.batch import Batch
from stream_app.inference import Inference
from stream_app.metrics import Metrics
from stream_app.settings_risk import CreditSettings
from tests.stream_app.agents.desk import Desk, record_batch
from topics import wire
from topics.decisions import CreditScore, decision_id
from topics.errors import Reason
from topics.events import CreditApplication


class Score:
    def __init__(self, points: int, probability: float, reasons: tuple[tuple[str, int, Any], ...]) -> None:
        self.points, self.probability, self.reasons = points, probability, reasons


class ByDuration:
    """Probability of default: a hundredth a month."""

    def score(self, features: dict[str, Any]) -> Score:
        from tsrec_models.risk.credit_encoding import CreditError

        if "duration" not in features:
            raise CreditError("field 'duration': missing")
        p = features["duration"] / 100
        return Score(round(600 - 100 * p), p, (("duration", round(50 * p), features["duration"]), ("job", 3, None)))


async def answers(applications: list[CreditApplication]) -> tuple[list[CreditScore], Batch]:
    desk = Desk()
    agent = Credit(
        scorer=ByDuration(), version="credit-test", output=desk.topics["credit-scores"], inference=Inference(),
        metrics=Metrics(), settings=CreditSettings(approve_below=0.2, decline_from=0.5),
    )  # fmt: skip
    topic = desk.topics["credit-applications"]
    records = record_batch("credit-applications", 2, wire.encode(applications), first_offset=7)
    batch = Batch(topic, records, topic.decode(records.values))
    await agent(batch)
    await desk._route(batch.outgoing)
    return desk.sent["credit-scores"], batch


async def test_each_application_is_answered_with_points_decision_and_reasons() -> None:
    scores, _ = await answers(
        [CreditApplication(f"acc-{k}", 5.0 + k, {"duration": float(d)}) for k, d in enumerate((10, 30, 60))]
    )
    assert [(s.account_id, s.decision, s.probability) for s in scores] == [
        ("acc-0", "approve", 0.1), ("acc-1", "review", 0.3), ("acc-2", "decline", 0.6)
    ]  # fmt: skip
    last = scores[-1]
    assert last.source == "credit-applications:2:9"
    assert last.decision_id == decision_id(last.source)
    assert last.reasons == ["duration 60.0: -30 points", "job not given: -3 points"]
    assert (last.ts, last.model, last.score) == (7.0, "credit-test", 540.0)


async def test_an_application_that_the_model_cannot_read_is_set_aside_alone() -> None:
    scores, batch = await answers(
        [CreditApplication("a", 1.0, {"age": 3.0}), CreditApplication("b", 1.0, {"duration": 5.0})]
    )
    assert [s.account_id for s in scores] == ["b"]
    ((_, error),) = batch.rejected
    assert (error.row, error.reason) == (0, Reason.INVALID)
    assert "duration" in error.message


@pytest.mark.parametrize(("p", "decision"), [(0.0, "approve"), (0.2, "review"), (0.5, "decline"), (1.0, "decline")])
def test_bounds_belong_to_the_stricter_side(p: float, decision: str) -> None:
    agent = Credit.__new__(Credit)
    agent.settings = CreditSettings(approve_below=0.2, decline_from=0.5)
    assert agent.decide(p) == decision

"""Credit: each application is answered with points, a probability, a decision and the reasons that cost most."""

from __future__ import annotations

import time
from typing import Any, Literal, Protocol

import numpy as np

from stream_app.agents.alerts import Alerts
from stream_app.agents.input_drift import InputDrift
from stream_app.batch import Batch, BatchTopic
from stream_app.inference import Inference
from stream_app.metrics import Metrics
from stream_app.rehearsal import NOWHERE
from stream_app.settings_risk import CreditSettings
from topics import wire
from topics.decisions import CreditScore, decision_id
from topics.errors import Reason
from topics.events import CreditApplication
from topics.spans import Spans
from tsrec_models.base import ModelError

__all__ = ["CHANNEL", "Credit", "Scorer"]

#: The alert book of this agent.
CHANNEL = "credit"


class Scorer(Protocol):
    """A fitted model: points, probability of turning bad, reasons (field, points it costs, value) of one applicant."""

    def score(self, features: dict[str, Any]) -> Any: ...


class Credit:
    """The agent of `credit-applications`: features -> model -> `credit-scores`. An answer depends on no state, so a
    replayed application gives the same one again, under the same id; drift of the inputs is watched beside it."""

    def __init__(
        self,
        *,
        scorer: Scorer,
        version: str,
        output: BatchTopic,
        inference: Inference,
        metrics: Metrics,
        settings: CreditSettings,
        drift: InputDrift | None = None,
        alerts: Alerts | None = None,
    ) -> None:
        self.drift = drift
        self.alerts = alerts
        self.scorer = scorer
        self.version = version
        self.output = output
        self.inference = inference
        self.metrics = metrics
        self.settings = settings

    async def __call__(self, batch: Batch) -> None:
        """Score each application; one that the model cannot read goes to the dead letters."""
        applications: list[CreditApplication] = batch.structs
        scores = await self.inference.run(self._score, applications)
        keys, records = [], []
        for i, (application, score) in enumerate(zip(applications, scores, strict=True)):
            if isinstance(score, ModelError):
                batch.reject(i, Reason.INVALID, str(score))
                continue
            source = batch.source(i)
            keys.append(application.account_id.encode())
            records.append(
                CreditScore(
                    decision_id=decision_id(source),
                    account_id=application.account_id,
                    ts=application.ts,
                    score=float(score.points),
                    probability=score.probability,
                    decision=self.decide(score.probability),
                    reasons=[_reason(*reason) for reason in score.reasons],
                    model=self.version,
                    source=source,
                )
            )
        batch.send(self.output, Spans.of(keys), Spans.of(wire.encode(records)))
        self._watch(batch, applications)
        if batch.partition != NOWHERE:
            self.metrics.decisions.labels("credit", "scorecard").inc(len(records))
            took = time.time() - batch.records.received_s
            for _ in records:
                self.metrics.decision_latency.labels("credit").observe(took)

    def _watch(self, batch: Batch, applications: list[CreditApplication]) -> None:
        """Whether applicants are still those that the model was trained on."""
        if self.drift is None or self.alerts is None or not applications:
            return
        panel = self.drift.panel
        found = self.drift.take(
            batch,
            lambda: np.stack([panel.bins_of(application.features) for application in applications]),
            [application.ts for application in applications],
        )
        if found:
            self.alerts.take(batch, CHANNEL, [signal for _, signal in found], None)

    def decide(self, probability: float) -> Literal["approve", "review", "decline"]:
        """What the settings make of a probability of turning bad."""
        if probability < self.settings.approve_below:
            return "approve"
        return "decline" if probability >= self.settings.decline_from else "review"

    def _score(self, applications: list[CreditApplication]) -> list[Any]:
        """In the inference thread: a score for each, or why there is none."""
        scores: list[Any] = []
        for application in applications:
            try:
                scores.append(self.scorer.score(application.features))
            except ModelError as error:
                scores.append(error)
        return scores


def _reason(name: str, points: int, value: Any) -> str:
    """`duration 48: -23 points`; a field that was not given says so."""
    return f"{name} {'not given' if value is None else value}: {-points:+d} points"

"""What goes out: recommendations, alerts, forecasts and scores, each with an id derived from its source.

The same event always gives the same id, so a consumer that remembers ids sees each decision once.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from topics.fields import Id, Label, Probability, Severity, SourceRef, Status, Time

__all__ = [
    "AccountRisk",
    "CreditScore",
    "Forecast",
    "FraudScore",
    "Recommendation",
    "RecommendedItem",
    "RiskAlert",
    "alert_id",
    "decision_id",
    "decision_ids",
    "source_ref",
]

#: 96 bits: among a trillion decisions the chance of one collision is about 6e-6.
ID_BYTES = 12


class RecommendedItem(Struct, frozen=True, gc=False, omit_defaults=True):
    """One item of a recommendation, best first."""

    item_id: Id
    score: float
    reason: str | None = None


class Recommendation(Struct, frozen=True, omit_defaults=True):
    """Items for one user, caused by one event. `rung` is the step of the deadline ladder that answered."""

    decision_id: Id
    user_id: Id
    items: list[RecommendedItem]
    model: Label
    rung: Label
    event_ts: Time
    produced_ts: Time
    source: SourceRef
    propensity: Annotated[float, Meta(gt=0, le=1, description="Probability with which these items were chosen.")] | (
        None
    ) = None
    note: Annotated[str, Meta(description="What held something back, such as a risk gate.")] | None = None


class RiskAlert(Struct, frozen=True, omit_defaults=True):
    """Something a person should look at. One alert keeps its id from `firing` to `resolved`."""

    alert_id: Id
    kind: Label
    subject: Id
    severity: Severity
    status: Status
    value: float
    threshold: float
    message: str
    evidence: dict[str, Any]
    first_ts: Time
    last_ts: Time
    source: SourceRef


class Forecast(Struct, frozen=True, gc=False, omit_defaults=True):
    """The value of a series `horizon` steps after `ts`, with an interval that should hold it in `level` of cases.

    For symbols also one-step value at risk and expected shortfall, as positive fractions of the price, and
    volatility per step.
    """

    subject: Id
    ts: Time
    horizon: Annotated[int, Meta(ge=1, description="Steps ahead.")]
    mean: float
    lower: float
    upper: float
    level: Annotated[float, Meta(gt=0, lt=1)]
    model: Label
    step_s: Annotated[float, Meta(gt=0, description="Width of a step in seconds.")] | None = None
    var_95: float | None = None
    var_99: float | None = None
    es_975: float | None = None
    volatility: Annotated[float, Meta(ge=0)] | None = None
    source: SourceRef | None = None
    value: Annotated[float, Meta(description="Where the series stood at `ts`: the close of the bar.")] | None = None


class CreditScore(Struct, frozen=True, omit_defaults=True):
    """Points (more is better) and probability of default for one application, with the reasons that cost most."""

    decision_id: Id
    account_id: Id
    ts: Time
    score: float
    probability: Probability
    decision: Literal["approve", "review", "decline"]
    reasons: list[str]
    model: Label
    source: SourceRef


class AccountRisk(Struct, frozen=True, gc=False, omit_defaults=True):
    """Tail risk of an account's positions over the next bar, and its drawdown, in the currency of the prices.

    VaR and ES are losses, as positive numbers; each is absent where there are too few scenarios for it.
    """

    account_id: Id
    ts: Time
    step_s: Annotated[float, Meta(gt=0, description="Width of the bar that the risk is of, in seconds.")]
    exposure: Annotated[float, Meta(ge=0, description="Sum of the positions' absolute values.")]
    net: Annotated[float, Meta(description="Long less short positions.")]
    positions: Annotated[int, Meta(ge=0)]
    scenarios: Annotated[int, Meta(ge=0, description="Past bars that the positions were put through.")]
    covered: Annotated[float, Meta(ge=0, le=1, description="Share of the exposure that has a history.")]
    equity: Annotated[float, Meta(description="Realised and unrealised profit.")]
    drawdown: Annotated[float, Meta(ge=0, description="Fall of the equity from its peak.")]
    model: Label
    source: SourceRef
    var_95: float | None = None
    var_99: float | None = None
    es_975: float | None = None


class FraudScore(Struct, frozen=True, gc=False, omit_defaults=True):
    """Probability that a card transaction is fraud, and what raised it."""

    decision_id: Id
    account_id: Id
    merchant_id: Id
    ts: Time
    amount: float
    probability: Probability
    is_warning: Annotated[bool, Meta(description="Above the threshold that gives the wanted number of warnings.")]
    threshold: float
    model: Label
    source: SourceRef
    transaction_id: Id | None = None


def source_ref(topic: str, partition: int, offset: int) -> str:
    """`topic:partition:offset`."""
    return f"{topic}:{partition}:{offset}"


def decision_id(source: str, what: str = "") -> str:
    """24 hex digits from the source; `what` separates several decisions of one event."""
    text = f"{source}\x00{what}" if what else source
    return blake2b(text.encode(), digest_size=ID_BYTES).hexdigest()


def decision_ids(topic: str, partition: int, offsets: Iterable[int]) -> list[str]:
    """`decision_id` of each offset of one partition; the common prefix is hashed once."""
    prefix = blake2b(f"{topic}:{partition}:".encode(), digest_size=ID_BYTES)
    ids = []
    for offset in offsets:
        state = prefix.copy()
        state.update(b"%d" % offset)
        ids.append(state.hexdigest())
    return ids


def alert_id(source: str, kind: str, subject: str) -> str:
    """24 hex digits from the event that raised the alert, its kind and its subject."""
    return decision_id(source, f"{kind}\x00{subject}")

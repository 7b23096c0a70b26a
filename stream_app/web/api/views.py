"""Items and lists as the API shows them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from stream_app.asking import Asked
from stream_app.blending import NEURAL, RULES
from stream_app.items import ItemIndex
from stream_app.latest import Listed
from topics.fields import Id, Label, Time

__all__ = ["Contribution", "RecommendationAnswer", "ShownItem", "Why", "of_asked", "of_listed", "shown"]


class Contribution(Struct, frozen=True, omit_defaults=True):
    """What one item of the past adds to the score, by the rules."""

    item_id: Id
    contribution: float
    title: str | None = None


class Why(Struct, frozen=True, omit_defaults=True):
    """Where a score comes from: model + the rules' contributions is the score; `trending` items have neither."""

    source: Literal["model", "rules", "trending"]
    model: Annotated[float, Meta(description="What the neural model adds.")] = 0.0
    rules: Annotated[list[Contribution], Meta(description="By past item, largest first.")] = []


class ShownItem(Struct, frozen=True, omit_defaults=True):
    """An item with what the catalog knows of it."""

    item_id: Id
    score: float
    reason: str | None = None
    title: str | None = None
    category: str | None = None
    price: float | None = None
    why: Why | None = None


class RecommendationAnswer(Struct, frozen=True, omit_defaults=True):
    """A list for one user, best first. `published`: the last one that was sent to the topic `recommendations`, less
    what may no longer be shown; `computed`: made now, by the same path, and not sent."""

    user_id: Id
    made: Literal["published", "computed"]
    items: list[ShownItem]
    model: Label
    rung: Annotated[Label, Meta(description="The step of the deadline ladder that answered.")]
    event_ts: Annotated[Time, Meta(description="Event time that the list is for.")]
    produced_ts: Time | None = None
    decision_id: Id | None = None
    source: Annotated[str, Meta(description="topic:partition:offset of the event that caused it.")] | None = None
    note: Annotated[str, Meta(description="What held something back, such as a risk gate.")] | None = None


_REASONS = ("fits what you did lately", "often taken next", "many take it now")


def shown(items: ItemIndex, index: int, score: float, reason: str | None = None, why: Why | None = None) -> ShownItem:
    """One item."""
    return ShownItem(
        items.text(index), round(score, 6), reason, items.titles.get(index), _category(items, index),
        items.price(index), why,
    )  # fmt: skip


def _category(items: ItemIndex, index: int) -> str | None:
    code = int(items.category_codes()[index])
    return items.categories[code] if code >= 0 else None


def reason_of(items: ItemIndex, source: int, cause: int) -> str:
    """Why an item is in a list, as `recommendations` says it."""
    return f"follows {items.label(cause)}" if cause >= 0 else _REASONS[source]


def of_listed(
    items: ItemIndex, user_id: str, listed: Listed, topic: str, partition: int, k: int
) -> RecommendationAnswer:
    """A published list."""
    rows = zip(listed.items, listed.scores, listed.sources, listed.causes, strict=True)
    found = [shown(items, i, score, reason_of(items, source, cause)) for i, score, source, cause in rows]
    return RecommendationAnswer(
        user_id, "published", found[:k], listed.model, listed.rung, listed.event_ts, listed.produced_ts,
        listed.decision_id, f"{topic}:{partition}:{listed.offset}", listed.note,
    )  # fmt: skip


def of_asked(items: ItemIndex, user_id: str, asked: Asked, *, explain: bool) -> RecommendationAnswer:
    """A list that was made now."""
    return RecommendationAnswer(
        user_id, "computed", items_of_asked(items, asked, explain=explain), asked.version, asked.rung, asked.ts,
        note=asked.note,
    )  # fmt: skip


def items_of_asked(items: ItemIndex, asked: Asked, *, explain: bool) -> list[ShownItem]:
    """The items of a list that was made now."""
    rows = zip(asked.items.tolist(), asked.scores.tolist(), asked.sources.tolist(), asked.causes.tolist(), strict=True)
    return [
        shown(items, i, score, reason_of(items, source, cause), _why(items, asked, at, source) if explain else None)
        for at, (i, score, source, cause) in enumerate(rows)
    ]


def _why(items: ItemIndex, asked: Asked, at: int, source: int) -> Why:
    adds: dict[int, float] = {}  # an item that was viewed and then bought is in the past twice
    for past, part in zip(asked.recent.tolist(), asked.rules[at].tolist(), strict=True):
        if past >= 0 and part > 0:
            adds[past] = adds.get(past, 0.0) + part
    parts = [Contribution(items.text(past), round(part, 9), items.titles.get(past)) for past, part in adds.items()]
    kind = {NEURAL: "model", RULES: "rules"}.get(source, "trending")
    return Why(kind, round(float(asked.model[at]), 9), sorted(parts, key=lambda part: -part.contribution))  # type: ignore[arg-type]

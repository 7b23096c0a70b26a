"""What a recommendation was made from, so that it can be made again: records of the topic `decision-records`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from topics.fields import Id, Label, SourceRef, Time

__all__ = ["DecisionRecord", "Past", "Scored", "Shown"]


class Past(Struct, frozen=True, gc=False):
    """One event of the user's history, in whole seconds as the user's row keeps it."""

    item_id: Id
    ts: float


class Scored(Struct, frozen=True, gc=False, omit_defaults=True):
    """A candidate of one source with the source's own score. `new`: scored by its features, not known to the model."""

    item_id: Id
    score: float
    new: bool = False


class Shown(Struct, frozen=True, omit_defaults=True):
    """An item of the list; `by_rule` is what each item of `recent` adds to the rules' score of it."""

    item_id: Id
    score: float
    source: Annotated[str, Meta(description="neural, rules or trending: what brought most of the score.")]
    by_rule: list[float] = []


class DecisionRecord(Struct, frozen=True, omit_defaults=True):
    """The inputs of one recommendation, as they were, and the list that came of them."""

    decision_id: Id
    user_id: Id
    source: SourceRef
    item_id: Id
    event_ts: Time
    rung: Label
    model: Label
    model_hash: str
    neural_weight: float
    k: int
    category_cap: int
    minimum_score: float
    diversity: float
    calibration: float
    history: Annotated[list[Past], Meta(description="The user's last events with this one, oldest first.")]
    whole_history: Annotated[bool, Meta(description="Whether the history is all the user ever did.")]
    recent: Annotated[list[str], Meta(description="What the rules looked at, the latest first.")]
    seen: Annotated[list[str], Meta(description="Items that were left out because the user had them.")]
    neural: Annotated[list[Scored], Meta(description="The model's candidates, logits.")]
    rules: Annotated[list[Scored], Meta(description="The rules' candidates, weights.")]
    trending: Annotated[list[Scored], Meta(description="What filled the list up, as far as it was looked at.")]
    categories: Annotated[dict[str, str], Meta(description="Category of each candidate that has one.")]
    removed: Annotated[dict[str, str], Meta(description="Candidates that may not be shown, and why.")]
    items: list[Shown]
    state: Annotated[str, Meta(description="The hidden state, float32 little-endian, base64.")] = ""
    classes: Annotated[dict[str, int], Meta(description="Popularity class of items, for calibration.")] = {}
    note: str | None = None

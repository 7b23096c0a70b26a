"""Makes a recommendation again from its record, and says whether the same list came of it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_app.auditing import SOURCES
from stream_app.blending import Blended
from stream_app.composing import Candidates, Order, Rules, compose
from topics.audit import DecisionRecord, Scored
from topics.decisions import Recommendation, decision_id
from tsrec_models.artifacts import Artifact

__all__ = ["Verdict", "redecide"]

#: Scores of the model that differ by more are others: logits are of order ten, and float32 sums differ in the seventh
#: digit with the size of a batch. A state encoded anew differs from a stepped one by some more roundings, as a share of
#: its largest number.
_SCORE, _ENCODED = 1e-4, 2e-4

#: The published list has its scores rounded to six digits.
_SHOWN = 2e-6


@dataclass
class Verdict:
    """What came of it. `differences` is empty if the decision is the same; the first is the first found.

    checks: what was compared and what came out, in words.
    """

    decision_id: str
    items: list[tuple[str, float, str]] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether the decision came out as it was recorded and published."""
        return not self.differences

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "decision_id": self.decision_id,
            "same": self.same,
            "differences": self.differences,
            "checks": self.checks,
            "items": [{"item_id": item, "score": score, "source": source} for item, score, source in self.items],
        }


class _Places:
    """Items of a record by number, in the order they are first named."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def add(self, names: list[str]) -> NDArray[np.int64]:
        return np.array([self.of.setdefault(name, len(self.of)) for name in names], np.int64)

    def scored(self, part: list[Scored]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        return self.add([entry.item_id for entry in part])[None], np.array([[e.score for e in part]], np.float32)


def redecide(
    record: DecisionRecord,
    published: Recommendation | None,
    artifact: Artifact | None,
) -> Verdict:
    """Compute the decision of `record` again.

    The model's candidates are scored anew by `artifact`, which must be the one the record names (None where no model
    was asked, or it is not at hand, which is a difference): from the recorded state, and, where the history is all the
    user ever did, from that history too. Rules, what trends and items scored by their features are taken as recorded:
    they have learnt on since. Then everything is blended, filtered and ordered again. published: the record of
    `recommendations`, None if it is gone.
    """
    verdict = Verdict(record.decision_id)
    if decision_id(record.source) != record.decision_id:
        verdict.differences.append(f"the id does not follow from the event {record.source}")
    past = [entry.item_id for entry in record.history]
    if past and past[-1] != record.item_id:
        verdict.differences.append(f"the history does not end with the event's item {record.item_id}")
    if past[::-1][: len(record.recent)] != record.recent:
        verdict.differences.append("what the rules looked at are not the latest items of the history")
    if record.seen and (missing := set(past) - set(record.seen)):
        verdict.differences.append(f"{min(missing)} is in the history, but was not left out")
    neural = _neural(record, artifact, verdict)
    lists, names = _composed(record, neural, artifact)
    kept = np.flatnonzero(lists.items[0] >= 0) if record.note is None else np.empty(0, np.int64)
    verdict.items = [
        (names[int(lists.items[0, j])], float(lists.scores[0, j]), SOURCES[int(lists.sources[0, j])])
        for j in kept.tolist()
    ]
    recorded = [(shown.item_id, shown.score, shown.source) for shown in record.items]
    _compare(verdict, "the record", verdict.items, recorded, 1e-5 if neural is not None else _SHOWN)
    if record.note is not None:
        verdict.checks.append(f"the list was held back: {record.note}")
    if published is None:
        verdict.checks.append("the published recommendation is no longer in its topic; the record alone was compared")
        return verdict
    if (published.user_id, published.source) != (record.user_id, record.source):
        verdict.differences.append("user or event of the published recommendation are others")
    shown = [(item.item_id, item.score, "") for item in published.items]
    _compare(verdict, "the published list", [(a, b, "") for a, b, _ in verdict.items], shown, 1e-5 + _SHOWN)
    return verdict


def _neural(record: DecisionRecord, artifact: Artifact | None, verdict: Verdict) -> list[Scored] | None:
    """The model's candidates scored again; None where no model was asked."""
    if not record.model_hash:
        verdict.checks.append(f"rung {record.rung}: no model was asked")
        return None
    if artifact is None or artifact.manifest.content_hash != record.model_hash:
        verdict.differences.append(
            f"model {record.model} ({record.model_hash[:12]}…) is not at hand; its scores are taken as recorded"
        )
        return record.neural
    model: Any = artifact.model
    place = {name: i for i, name in enumerate(artifact.item_ids)}
    state = np.frombuffer(base64.b64decode(record.state), "<f4").astype(np.float32)[None]
    if state.shape[1] != model.state_width:
        verdict.differences.append(f"the state has {state.shape[1]} numbers, the model {model.state_width}")
        return record.neural
    seen = np.array([place[name] for name in record.seen if name in place], np.int64)
    again = _ranked(record, artifact, model.topk(state, max(1, len(record.neural)), [seen]))
    worst = _worst(record.neural, again)
    verdict.checks.append(f"{len(record.neural)} of the model's scores again from the state: differ by {worst:.1e}")
    if worst > _SCORE:
        verdict.differences.append(f"the model scores its candidates otherwise from the recorded state: {worst:.3g}")
    if record.whole_history:
        known = [past for past in record.history if past.item_id in place]
        items = np.array([place[past.item_id] for past in known], np.int64)
        stamps = np.array([past.ts for past in known])
        encoded = model.encode([items], [stamps])
        worst = float(np.abs(encoded - state).max() / max(1.0, np.abs(state).max()))
        verdict.checks.append(f"the state again from the {len(known)} events of the history: differs by {worst:.1e}")
        # A history has whole seconds; where events have not, waits of a second or two fall into other buckets.
        if worst > _ENCODED and float(record.event_ts).is_integer():
            verdict.differences.append(f"the recorded history gives another state: {worst:.3g}")
    else:
        verdict.checks.append("the history is longer than a user's row remembers: the state was taken as recorded")
    return again


def _ranked(
    record: DecisionRecord, artifact: Artifact, top: tuple[NDArray[np.int64], NDArray[np.float32]]
) -> list[Scored]:
    """Candidates by the model, with those that were scored by features as recorded, best first, as many as were."""
    own = [
        Scored(artifact.item_ids[i], score)
        for i, score in zip(top[0][0].tolist(), top[1][0].tolist(), strict=True)
        if i >= 0
    ]
    both = own + [entry for entry in record.neural if entry.new]
    return sorted(both, key=lambda entry: -entry.score)[: len(record.neural)]


def _worst(recorded: list[Scored], again: list[Scored]) -> float:
    """Largest difference of an item's score; infinite where a candidate is missing that is clearly among the best."""
    scores = {entry.item_id: entry.score for entry in again}
    worst = abs(len(recorded) - len(again)) * np.inf if len(recorded) != len(again) else 0.0
    last = min(scores.values(), default=0.0)
    for entry in recorded:
        # Of two with all but equal scores at the end of the list either may be in it.
        worst = max(worst, abs(scores.get(entry.item_id, last) - entry.score))
    return float(worst)


def _composed(
    record: DecisionRecord, neural: list[Scored] | None, artifact: Artifact | None
) -> tuple[Blended, list[str]]:
    places = _Places()
    trending = places.scored(record.trending)
    candidates = Candidates(
        places.scored(neural) if neural is not None else None,
        places.scored(record.rules) if record.rung != "trending" else None,
        (trending[0][0], trending[1][0]),
    )
    seen = places.add(record.seen)[None]
    names = list(places.of)
    codes = {text: code for code, text in enumerate(dict.fromkeys(record.categories.values()))}
    category = np.array([codes.get(record.categories.get(name, ""), -1) for name in names] or [-1], np.int32)
    allowed = np.array([record.removed.get(name, "seen") == "seen" for name in names] or [False])
    rules = Rules(
        record.k, record.neural_weight, record.category_cap, record.minimum_score, record.diversity, record.calibration
    )
    order = None
    if rules.calibration > 0 and record.classes:
        classes = np.array([record.classes.get(name, 0) for name in names], np.int64)
        past = seen if seen.shape[1] else np.array([[places.of[name] for name in record.recent if name in places.of]])
        order = Order(classes=classes, history=past)
    elif rules.diversity > 0:
        # As in the stream: alike is what is of one category, or near to each other in the model where there is none.
        by_model = artifact is not None and bool(record.model_hash) and not record.categories
        order = Order(vectors=_vectors(artifact, names) if by_model and artifact is not None else None)
    return compose(candidates, rules, seen=seen, allowed=allowed, category=category, order=order), names


def _vectors(artifact: Artifact, names: list[str]) -> NDArray[np.float32]:
    """Vectors of items by name [names, d]; zeros for those the model does not know."""
    own = artifact.model.item_vectors()[:, :-1]  # type: ignore[attr-defined]
    place = {name: i for i, name in enumerate(artifact.item_ids)}
    out = np.zeros((len(names), own.shape[1]), np.float32)
    for row, name in enumerate(names):
        if name in place:
            out[row] = own[place[name]]
    return out


def _compare(
    verdict: Verdict,
    what: str,
    ours: list[tuple[str, float, str]],
    theirs: list[tuple[str, float, str]],
    tolerance: float,
) -> None:
    for place, (mine, other) in enumerate(zip(ours, theirs, strict=False), start=1):
        if mine[0] != other[0] or mine[2] != other[2]:
            verdict.differences.append(
                f"place {place} of {what} has {other[0]} {other[2]}".rstrip()
                + f", computed again it is {mine[0]} {mine[2]}".rstrip()
            )
            return
        if abs(mine[1] - other[1]) > tolerance:
            verdict.differences.append(
                f"place {place} of {what}, {other[0]}, scored {other[1]:.6g}, computed again {mine[1]:.6g}"
            )
            return
    if len(ours) != len(theirs):
        verdict.differences.append(f"{what} has {len(theirs)} items, computed again there are {len(ours)}")
        return
    verdict.checks.append(f"{what}: {len(theirs)} items, the same in the same order")

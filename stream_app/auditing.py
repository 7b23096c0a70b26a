"""Writes down what sampled decisions were made from. Called in the inference thread, while all of it is at hand."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_app.blending import NEURAL, RULES, TRENDING, Blended
from stream_app.composing import Candidates, Rules
from stream_app.items import ItemIndex
from stream_app.models import LiveModel
from topics.audit import DecisionRecord, Past, Scored, Shown
from topics.decisions import decision_ids, source_ref

__all__ = ["SOURCES", "Audited", "Auditor"]

#: Names of the sources by their number.
SOURCES = {NEURAL: "neural", RULES: "rules", TRENDING: "trending"}

#: Candidates of one row: items, int64 [c], and their scores, float32 [c].
_Part = tuple[NDArray[np.int64], NDArray[np.float32]]
_NONE: _Part = (np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class Audited:
    """The drawn decisions of a batch: places among those answered [d], and each user's history, oldest first.

    whole: whether a history is all the user ever did, [d].
    """

    places: NDArray[np.int64]
    histories: list[NDArray[np.int64]]
    times: list[NDArray[np.float64]]
    whole: list[bool]


class Auditor:
    """Draws decisions by their id, so that a replayed event is drawn again, and describes them."""

    def __init__(self, items: ItemIndex, share: float) -> None:
        self._items = items
        self._limit = int(share * (1 << 32))

    @property
    def on(self) -> bool:
        """Whether any decision is written down."""
        return self._limit > 0

    def drawn(self, topic: str, partition: int, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of the decisions of events at `offsets` are written down: places."""
        ids = decision_ids(topic, partition, offsets.tolist())
        return np.flatnonzero([int(name[:8], 16) < self._limit for name in ids])

    def describe(
        self,
        batch: Any,
        answered: NDArray[np.int64],
        audited: Audited,
        candidates: Candidates,
        lists: Blended,
        *,
        first: int,
        live: LiveModel | None,
        state: NDArray[np.float32] | None,
        rung: str,
        rules: Rules,
        recent: NDArray[np.int64],
        seen: NDArray[np.int64],
        ts: NDArray[np.float64],
        allowed: NDArray[np.bool_],
        category: NDArray[np.int32],
        classes: NDArray[np.int64] | None,
        parts: NDArray[np.float32] | None,
        notes: list[str | None],
    ) -> list[bytes]:
        """Records of the drawn decisions of a batch, JSON.

        Arrays are those of a call, in which the batch's first answered event has row `first`. parts: what each recent
        item adds to the rules' score of each item of a list [n, k, recent]. allowed: of this batch.
        """
        topic, partition = batch.records.topic, batch.records.partition
        offsets = batch.offsets[answered]
        identities = decision_ids(topic, partition, offsets.tolist())
        users = batch.columns.user_id.take(answered).tolist()
        taken = batch.columns.item_id.take(answered).tolist()
        version, content_hash = ("rules", "")
        if live is not None and rung == "neural":
            version, content_hash = live.version, live.manifest.content_hash
        categories = bool((category >= 0).any())
        out = []
        for drawn, place in enumerate(audited.places.tolist()):
            row = first + place
            trending = self._looked_at(candidates, lists, row, rules.k)
            neural = _NONE if candidates.neural is None else _of_row(candidates.neural, row)
            by_rules = _NONE if candidates.rules is None else _of_row(candidates.rules, row)
            looked_at = np.concatenate([neural[0], by_rules[0], trending[0]])
            named, gone = set(looked_at.tolist()), set(seen[row][seen[row] >= 0].tolist())
            record = DecisionRecord(
                decision_id=identities[place],
                user_id=(users[place] or b"").decode(),
                source=source_ref(topic, partition, int(offsets[place])),
                item_id=(taken[place] or b"").decode(),
                event_ts=float(ts[row]),
                rung=rung,
                model=version,
                model_hash=content_hash,
                neural_weight=rules.neural_weight,
                k=rules.k,
                category_cap=rules.category_cap,
                minimum_score=rules.minimum_score,
                diversity=rules.diversity,
                calibration=rules.calibration,
                history=[
                    Past(self._items.text(item), stamp)
                    for item, stamp in zip(
                        audited.histories[drawn].tolist(), audited.times[drawn].tolist(), strict=True
                    )
                ],
                whole_history=audited.whole[drawn],
                recent=self._texts(recent[row]),
                seen=self._texts(seen[row]),
                neural=self._scored(neural, live),
                rules=self._scored(by_rules, None),
                trending=self._scored(trending, None),
                categories=self._categories(named) if categories else {},
                removed=self._removed(looked_at, named & gone, allowed),
                items=self._shown(lists, row, parts, int((recent[row] >= 0).sum())),
                state="" if state is None else base64.b64encode(state[row].astype("<f4").tobytes()).decode(),
                classes={} if classes is None else self._classes(named | gone, classes),
                note=notes[row],
            )
            out.append(msgspec.json.encode(record))
        return out

    def _texts(self, indices: NDArray[np.int64]) -> list[str]:
        return [self._items.text(i) for i in indices.tolist() if i >= 0]

    def _scored(self, part: _Part, live: LiveModel | None) -> list[Scored]:
        ids, scores = part
        new = np.zeros(len(ids), np.bool_) if live is None else live.to_model(ids) < 0
        return [
            Scored(self._items.text(i), score, is_new)
            for i, score, is_new in zip(ids.tolist(), scores.tolist(), new.tolist(), strict=True)
        ]

    def _looked_at(self, candidates: Candidates, lists: Blended, row: int, k: int) -> _Part:
        """What trends as far as the list went to be filled; all of it where the list is short all the same."""
        ids, scores = candidates.trending
        used = lists.items[row][(lists.items[row] >= 0) & (lists.sources[row] == TRENDING)]
        if (lists.items[row] >= 0).sum() == k:
            upto = 0 if not len(used) else int(np.flatnonzero(np.isin(ids, used))[-1]) + 1
            # The first score scales the others.
            ids, scores = ids[: max(upto, 1)], scores[: max(upto, 1)]
        return _of_row((ids[None], scores[None]), 0)

    def _shown(self, lists: Blended, row: int, parts: NDArray[np.float32] | None, recent: int) -> list[Shown]:
        return [
            Shown(
                self._items.text(item), float(lists.scores[row, j]), SOURCES[int(lists.sources[row, j])],
                [] if parts is None else parts[row, j, :recent].tolist(),
            )
            for j, item in enumerate(lists.items[row].tolist())
            if item >= 0
        ]  # fmt: skip

    def _categories(self, named: set[int]) -> dict[str, str]:
        found = {self._items.text(i): self._items.category_of(i) for i in named}
        return {name: text for name, text in found.items() if text is not None}

    def _removed(self, looked_at: NDArray[np.int64], gone: set[int], allowed: NDArray[np.bool_]) -> dict[str, str]:
        """Why an item could not be in the list, by item. Few could not, so only those are looked at one by one."""
        blocked = self._items.blocked()
        out = {self._items.text(i): "seen" for i in gone}
        for i in looked_at[~_at(allowed, looked_at)].tolist():
            out[self._items.text(i)] = "blocked" if i < len(blocked) and blocked[i] else "not for sale"
        return dict(sorted(out.items()))

    def _classes(self, named: set[int], classes: NDArray[np.int64]) -> dict[str, int]:
        return {self._items.text(i): int(classes[i]) for i in named if i < len(classes)}


def _of_row(part: tuple[NDArray[np.int64], NDArray[np.float32]], row: int) -> _Part:
    """A row's candidates, without the places that nothing filled."""
    ids, scores = part[0][row], part[1][row]
    filled = ids >= 0
    return ids[filled], scores[filled]


def _at(values: NDArray[np.bool_], places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """`values` at `places`; False where the array ended before the place was given out."""
    out = np.zeros(len(places), np.bool_)
    known = places < len(values)
    out[known] = values[places[known]]
    return out

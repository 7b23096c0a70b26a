"""Lists as `recommendations` records: their items with reasons, as JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_app.batch import Batch
from stream_app.blending import RULES, Blended
from stream_app.items import ItemIndex
from stream_app.kernels import releasing
from topics.decisions import Recommendation, RecommendedItem, decision_ids
from topics.encode import encode_columns, encode_lists
from topics.spans import Spans

__all__ = ["encode_lists_of"]

#: Why an item is in a list, by the source that brought most of its score; and the beginning of a rule's reason.
_FOLLOWS = 3
_TEXTS = ("fits what you did lately", "often taken next", "many take it now", "follows ")
_REASONS = Spans.of([text.encode() for text in _TEXTS])

#: Up to so many lists, objects are quicker than columns, whose calls cost the same for one row as for a hundred.
FEW_LISTS = 48

#: Batches with the rows of theirs that are answered.
Sources = Sequence[tuple[Batch, NDArray[np.int64]]]


def encode_lists_of(
    sources: Sources,
    lists: Blended,
    causes: NDArray[np.int64],
    items: ItemIndex,
    rung: str,
    version: str,
    notes: list[str | None],
) -> tuple[Spans, NDArray[np.bool_]]:
    """Values of the answers in the order of `sources`, and which of them came of the trending rung: [n].

    lists: of all sources, one after another. causes: the past item each follows from, [n, k], negative for none.
    """
    cold: NDArray[np.bool_] = np.logical_not(((lists.items >= 0) & (lists.sources <= RULES)).any(axis=1))
    write = _by_object if len(cold) <= FEW_LISTS else _by_column
    return write(sources, lists, causes, items, [rung, "trending"], [version, "trending"], notes, cold), cold


def _by_object(
    sources: Sources,
    lists: Blended,
    causes: NDArray[np.int64],
    items: ItemIndex,
    rungs: list[str],
    versions: list[str],
    notes: list[str | None],
    cold: NDArray[np.bool_],
) -> Spans:
    rows = zip(
        lists.items.tolist(),
        np.round(lists.scores.astype(np.float64), 6).tolist(),
        lists.sources.tolist(),
        causes.tolist(),
        cold.tolist(),
        notes,
        strict=True,
    )
    now, values = time.time(), []
    for batch, answered in sources:
        topic, partition = batch.records.topic, batch.records.partition
        offsets = batch.offsets[answered].tolist()
        users = batch.columns.user_id.take(answered).tolist()
        times = batch.columns.ts[answered].tolist()
        for offset, identity, user, ts in zip(
            offsets, decision_ids(topic, partition, offsets), users, times, strict=True
        ):
            indices, scores, origins, why, trending, note = next(rows)
            chosen = [
                RecommendedItem(
                    items.text(index), score, _TEXTS[_FOLLOWS] + items.label(cause) if cause >= 0 else _TEXTS[origin]
                )
                for index, score, origin, cause in zip(indices, scores, origins, why, strict=True)
                if index >= 0
            ]
            values.append(
                Recommendation(
                    decision_id=identity,
                    user_id=user.decode(),
                    items=chosen,
                    model=versions[trending],
                    rung=rungs[trending],
                    event_ts=ts,
                    produced_ts=now,
                    source=f"{topic}:{partition}:{offset}",
                    note=note,
                )
            )
    encode = msgspec.json.encode
    return Spans.of([encode(value) for value in values])


def _by_column(
    sources: Sources,
    lists: Blended,
    causes: NDArray[np.int64],
    items: ItemIndex,
    rungs: list[str],
    versions: list[str],
    notes: list[str | None],
    cold: NDArray[np.bool_],
) -> Spans:
    kept = lists.items >= 0
    chosen, why = lists.items[kept], causes[kept]
    labels = items.labels(np.maximum(why, 0))
    reasons = np.where(why >= 0, _FOLLOWS, lists.sources[kept])
    values = encode_columns(
        RecommendedItem,
        item_id=items.ids(chosen),
        score=np.round(lists.scores[kept].astype(np.float64), 6),
        reason=_joined(_REASONS.take(reasons), labels, why >= 0),
    )
    ids: list[bytes] = []
    users: list[bytes | None] = []
    refs: list[bytes] = []
    for batch, answered in sources:
        topic, partition = batch.records.topic, batch.records.partition
        offsets = batch.offsets[answered].tolist()
        ids += [identity.encode() for identity in decision_ids(topic, partition, offsets)]
        refs += [b"%s:%d:%d" % (topic.encode(), partition, offset) for offset in offsets]
        users += batch.columns.user_id.take(answered).tolist()
    place = cold.astype(np.int64)
    return encode_columns(
        Recommendation,
        decision_id=Spans.of(ids),
        user_id=Spans.of(users),
        items=encode_lists(values, kept.sum(axis=1)),
        model=Spans.of([version.encode() for version in versions]).take(place),
        rung=Spans.of([rung.encode() for rung in rungs]).take(place),
        event_ts=np.concatenate([batch.columns.ts[answered] for batch, answered in sources]),
        produced_ts=time.time(),
        source=Spans.of(refs),
        note=Spans.of([None if note is None else note.encode() for note in notes]),
    )


def _joined(left: Spans, right: Spans, where: NDArray[np.bool_]) -> Spans:
    """`left` followed by `right` where asked for, `left` alone elsewhere."""
    width_left = left.end - left.start
    width = width_left + np.where(where, right.end - right.start, 0)
    end = np.cumsum(width)
    start = end - width
    data = np.empty(int(end[-1]) if len(end) else 0, np.uint8)
    _copy(data, start, left.data, left.start, left.end)
    _copy(data, start + width_left, right.data, right.start, np.where(where, right.end, right.start))
    return Spans(data, start, end)


@releasing(lambda *args: len(args[1]))  # type: ignore[untyped-decorator]
def _copy(out, at, data, start, end):  # type: ignore[no-untyped-def]
    for i in range(len(start)):
        for j in range(end[i] - start[i]):
            out[at[i] + j] = data[start[i] + j]

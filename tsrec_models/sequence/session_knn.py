"""Sessions like this one: nearest neighbours among past sessions, weighed by position and age.

STAN (Garg et al., SIGIR 2019) with the inverse item frequency of VSKNN (Ludewig, Jannach 2018).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.recent_items import RecentItems

__all__ = ["KnnSettings", "SessionIndex", "SessionKnn"]


@dataclass(frozen=True)
class KnnSettings:
    """How alike sessions are, and what they contribute.

    The j-th latest of the last `width` items counts exp(-j / `query_decay`) times log(1 + sessions / sessions of the
    item)^`idf`. A session's similarity is the sum over shared items, divided by its length^`length_norm`, times
    2^(-age / `half_life`), its age being the share of all sessions that ended after it. Of the `sample` latest
    sessions of each item the `neighbours` most similar count; an item d places from the match counts
    exp(-d / `match_decay`), times `before` if it lies before the match. Scores are divided by
    (1 + sessions of the target)^`popularity`.
    """

    width: int = 10
    query_decay: float = 2.0
    idf: float = 0.5
    length_norm: float = 0.5
    half_life: float = 0.5
    sample: int = 1000
    neighbours: int = 500
    match_decay: float = 3.0
    before: float = 0.5
    popularity: float = 0.1
    longest: int = 100

    def __post_init__(self) -> None:
        if min(self.width, self.sample, self.neighbours, self.longest) < 1:
            raise ModelError("session-knn: width, sample, neighbours and longest must be at least 1")
        if min(self.query_decay, self.match_decay, self.half_life) <= 0:
            raise ModelError("session-knn: query_decay, match_decay and half_life must be positive")


class SessionIndex(NamedTuple):
    """Past sessions by item."""

    session_indptr: NDArray[np.int64]  # [sessions + 1], sessions in the order they ended
    session_items: NDArray[np.int32]  # [events] in order within the session
    item_indptr: NDArray[np.int64]  # [items + 1]
    item_sessions: NDArray[np.int32]  # [events] sessions of an item, the latest ended first
    item_places: NDArray[np.int32]  # [events] where the item last stands in that session
    idf: NDArray[np.float32]  # [items]
    session_weight: NDArray[np.float32]  # [sessions]
    damping: NDArray[np.float32]  # [items]


class SessionKnn(RecentItems):
    """Scores items by how often, how near and how lately they stood beside the latest items in similar sessions."""

    name: ClassVar[str] = "session-knn"

    def __init__(self, index: SessionIndex, settings: KnnSettings) -> None:
        self.settings = settings
        super().__init__(len(index.damping), settings.width)
        self._index = index
        sessions = len(self._index.session_weight)
        self._similarity = np.zeros(sessions, dtype=np.float32)
        self._place = np.zeros(sessions, dtype=np.int32)
        self._query_weights = np.exp(-np.arange(self.width) / self.settings.query_decay).astype(np.float32)
        self._distance_weights = np.exp(-np.arange(self.settings.longest) / self.settings.match_decay).astype(
            np.float32
        )

    @classmethod
    def fit(cls, log: Log, settings: KnnSettings | None = None) -> SessionKnn:
        """Index the sessions (the users) of a log."""
        settings = settings or KnnSettings()
        return cls(_build(log, settings), settings)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The index, for an artifact."""
        return dict(self._index._asdict())

    def config(self) -> dict[str, Any]:
        """The settings: plain values."""
        return {"settings": asdict(self.settings)}

    @classmethod
    def from_arrays(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], device: str = "auto") -> Self:
        """The model of an artifact."""
        index = SessionIndex(**{name: np.array(arrays[name]) for name in SessionIndex._fields})
        return cls(index, KnnSettings(**config["settings"]))

    def score_recent(self, recent: NDArray[np.int64], at: NDArray[np.float64]) -> NDArray[np.float32]:
        out = np.zeros((len(recent), self.n_items), dtype=np.float32)
        _score(
            recent,
            self._index,
            self._query_weights,
            self._distance_weights,
            np.float32(self.settings.before),
            self.settings.sample,
            self.settings.neighbours,
            self._similarity,
            self._place,
            out,
        )
        return out


def _build(log: Log, settings: KnnSettings) -> SessionIndex:
    filled = np.flatnonzero(log.lengths > 0)
    ends = log.times[log.indptr[1:][filled] - 1]
    filled = filled[np.argsort(ends, kind="stable")]
    lengths = np.minimum(log.lengths[filled], settings.longest)
    indptr = np.zeros(len(filled) + 1, dtype=np.int64)
    np.cumsum(lengths, out=indptr[1:])
    places = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
    rows = np.repeat(log.indptr[filled + 1] - lengths, lengths) + places
    items = log.items[rows].astype(np.int32)
    sessions = np.repeat(np.arange(len(filled)), lengths)
    # Latest session first; within a session the last place of the item first, and only that one kept.
    order = np.lexsort((-places, -sessions, items))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (np.diff(items[order]) != 0) | (np.diff(sessions[order]) != 0)
    order = order[first]
    counts = np.bincount(items[order], minlength=log.n_items)
    item_indptr = np.zeros(log.n_items + 1, dtype=np.int64)
    np.cumsum(counts, out=item_indptr[1:])
    ages = np.arange(len(filled))[::-1] / max(1, len(filled))
    weight = np.maximum(lengths, 1.0) ** -settings.length_norm * 2.0 ** (-ages / settings.half_life)
    return SessionIndex(
        indptr,
        items,
        item_indptr,
        sessions[order].astype(np.int32),
        places[order].astype(np.int32),
        (np.log1p(len(filled) / np.maximum(counts, 1)) ** settings.idf).astype(np.float32),
        weight.astype(np.float32),
        ((1.0 + counts) ** -settings.popularity).astype(np.float32),
    )


@njit(cache=True)
def _score(
    recent: NDArray[np.int64],
    index: SessionIndex,
    query_weights: NDArray[np.float32],
    distance_weights: NDArray[np.float32],
    before: np.float32,
    sample: int,
    neighbours: int,
    similarity: NDArray[np.float32],
    place: NDArray[np.int32],
    out: NDArray[np.float32],
) -> None:
    """Fill `out` [batch, items]. `similarity` [sessions] is zero on entry and again on return."""
    batch, width = recent.shape
    n_items = out.shape[1]
    found = np.empty(width * sample, dtype=np.int32)
    values = np.empty(width * sample, dtype=np.float32)
    for b in range(batch):
        count = 0
        for j in range(width):
            item = recent[b, j]
            if item < 0 or item >= n_items:
                continue
            repeated = False
            for earlier in range(j):
                repeated = repeated or recent[b, earlier] == item
            if repeated:
                continue
            start = index.item_indptr[item]
            gain = query_weights[j] * index.idf[item]
            for e in range(start, min(index.item_indptr[item + 1], start + sample)):
                session = index.item_sessions[e]
                if similarity[session] == 0.0:
                    found[count] = session
                    count += 1
                    place[session] = index.item_places[e]  # the match of the latest item
                similarity[session] += gain
        for f in range(count):
            values[f] = similarity[found[f]] * index.session_weight[found[f]]
            similarity[found[f]] = 0.0
        least = np.float32(0.0)
        if count > neighbours:
            least = np.partition(values[:count], count - neighbours)[count - neighbours]
        line = out[b]
        for f in range(count):
            if values[f] < least:
                continue
            session = found[f]
            begin = index.session_indptr[session]
            match = begin + place[session]
            for e in range(begin, index.session_indptr[session + 1]):
                if e == match:
                    continue
                weight = values[f] * distance_weights[abs(e - match)]
                if e < match:
                    weight *= before
                line[index.session_items[e]] += weight
        for item in range(n_items):
            line[item] *= index.damping[item]

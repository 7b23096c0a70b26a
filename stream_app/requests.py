"""What lanes ask the inference thread for, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_app.agents.trends import PartitionTrends
from stream_app.auditing import Audited
from stream_app.batch import Batch
from stream_app.latest import Published
from stream_app.models import LiveModel
from topics.spans import Spans

__all__ = ["Answer", "Compared", "Request", "Stale"]


@dataclass(frozen=True, slots=True)
class Stale:
    """Users whose hidden state is of no use, by sorted row, and what they did before this batch, oldest first."""

    rows: NDArray[np.int64]
    histories: list[NDArray[np.int64]]
    times: list[NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Compared:
    """Users of a batch for whom the shadow model is scored too.

    For each: the item of the first event, what was in the ring before it, what is in the ring after the last event with
    its times (oldest first), and the place of that event among those answered.
    """

    shadow: LiveModel
    users: list[bytes]
    first: list[int]
    before: list[NDArray[np.int64]]
    histories: list[NDArray[np.int64]]
    times: list[NDArray[np.float64]]
    places: NDArray[np.int64]


@dataclass(slots=True)
class Request:
    """The events of a batch and copies of what is known of their users, so that the thread touches no shard.

    n events, m of them answered. rows: of the users; a user's events are stepped one after another. numbers: of the
    items, in the partition. previous: numbers before each event, latest first, EMPTY-padded. state: float32 [n,
    width], each user's before the batch. seen: indices that never appear, [m, any]. allowed, category: by item index.
    notes: why a list is withheld, [m].
    """

    batch: Batch
    partition: PartitionTrends
    rows: NDArray[np.int64]
    numbers: NDArray[np.int64]
    previous: NDArray[np.int64]
    indices: NDArray[np.int64]
    live: LiveModel | None = None
    state: NDArray[np.float32] | None = None
    stale: Stale | None = None
    answered: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    recent: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), np.int64))
    seen: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), np.int64))
    allowed: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    category: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    notes: list[str | None] = field(default_factory=list)
    compared: Compared | None = None
    audited: Audited | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(slots=True)
class Answer:
    """What came of a request: the state after each event, the records to publish and what is in them, what sampled
    decisions were made from, and how many of each rung."""

    state: NDArray[np.float32] | None = None
    values: Spans | None = None
    made: Published | None = None
    records: list[bytes] = field(default_factory=list)
    rungs: dict[str, int] = field(default_factory=dict)

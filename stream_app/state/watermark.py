"""Watermarks: how far event time has come in a partition of a topic, and which events come too late.

The watermark is the highest event time seen less the allowed lateness; an event below the watermark of the events
before it is late. It depends on the order of events in the partition only, not on how they were cut into batches, and a
replay after a crash judges every event as it was judged the first time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_app.errors import StateError
from stream_app.state.columns import Column
from stream_app.state.shard import Rows, Shard
from topics.spans import Spans

__all__ = ["Judged", "Watermark", "judge"]

Times = NDArray[np.float64]


class Judged(NamedTuple):
    """late: bool [n]; watermark: the one that event i met, float64 [n] (-inf at first); max_ts: after the batch."""

    late: NDArray[np.bool_]
    watermark: Times
    max_ts: float


def judge(ts: Times, max_ts: float, lateness_s: float) -> Judged:
    """Judges events in order of arrival, given the highest time before them. Times that are no number are late."""
    known = np.where(np.isfinite(ts), ts, -np.inf)
    highest = np.maximum.accumulate(np.concatenate(([max_ts], known)))
    watermark = highest[:-1] - lateness_s
    return Judged(~(known >= watermark) | ~np.isfinite(ts), watermark, float(highest[-1]))


@dataclass(frozen=True)
class Watermark:
    """The feature that keeps watermarks in a table, a row a topic, so that they survive a crash.

    >>> watermarks = Table(app, "watermarks", columns=(mark := Watermark(lateness_s=60)), sources=[clicks.name])
    >>> judged = mark.observe(watermarks.shard(partition), "clicks", batch.offsets, ts)

    State may be ahead of the committed offset after a crash. So the row remembers where its last `batches` batches
    began and the highest time then: when an offset comes again, the watermark goes back to where it was. An event more
    than `ahead_s` ahead of its record's time on the broker (`record_ts`) was stamped by a wrong clock: it is late and
    does not move the watermark, or it would make all others late.
    """

    lateness_s: float
    ahead_s: float = 86_400.0
    batches: int = 256
    name: str = "watermark"

    def __post_init__(self) -> None:
        if not 0 <= self.lateness_s < float("inf") or self.batches < 1:
            raise StateError(f"watermark {self.name!r}: lateness_s must be zero or more and batches at least one")

    def columns(self) -> Mapping[str, Column]:
        return {
            "max_ts": Column(np.float64, initial=-np.inf),
            "next_offset": Column(np.int64),
            "began": Column(np.int64, (self.batches,), -1),
            "began_max_ts": Column(np.float64, (self.batches,), -np.inf),
            "at": Column(np.int64),
        }

    def describe(self) -> str:
        return f"watermark with {self.batches} batches"

    def observe(
        self, shard: Shard, topic: str, offsets: Rows, ts: Times, record_ts: Times | None = None
    ) -> Judged:  # fmt: skip
        """Judges the events of one batch of `topic`, int64 offsets [n] going up and times in seconds [n], in order.

        record_ts: the records' own times on the broker, seconds [n].
        """
        if not len(offsets):
            return Judged(np.zeros(0, np.bool_), np.zeros(0), self.max_ts(shard, topic))
        rows = shard.locate(Spans.of([topic.encode()]))
        shard.touch(rows)
        row, first = int(rows[0]), int(offsets[0])
        max_ts, next_offset, began, began_max_ts, at = (shard.column(f"{self.name}.{c}") for c in self.columns())
        if first < next_offset[row]:
            self._go_back(row, first, max_ts, began, began_max_ts, at)
        slot = int(at[row])
        began[row, slot], began_max_ts[row, slot] = first, max_ts[row]
        at[row] = (slot + 1) % self.batches
        sane = ts if record_ts is None else np.where(ts <= record_ts + self.ahead_s, ts, np.nan)
        judged = judge(sane, float(max_ts[row]), self.lateness_s)
        max_ts[row], next_offset[row] = judged.max_ts, int(offsets[-1]) + 1
        shard.advance(rows, 0, offsets[-1:], np.array([np.inf]))  # a watermark is never evicted
        return judged

    def max_ts(self, shard: Shard, topic: str) -> float:
        """The highest event time seen in this partition of `topic`; -inf if none."""
        row = int(shard.find(Spans.of([topic.encode()]))[0])
        return float(shard.column(f"{self.name}.max_ts")[row]) if row >= 0 else float("-inf")

    def watermark(self, shard: Shard, topic: str) -> float:
        """Events below this are late now."""
        return self.max_ts(shard, topic) - self.lateness_s

    def read(self, shard: Shard, row: int) -> dict[str, float]:
        """Highest time, watermark and next offset of one topic."""
        highest = float(shard.column(f"{self.name}.max_ts")[row])
        following = int(shard.column(f"{self.name}.next_offset")[row])
        return {"max_ts": highest, "watermark": highest - self.lateness_s, "next_offset": following}

    def _go_back(
        self, row: int, first: int, max_ts: Times, began: NDArray[np.int64], began_max_ts: Times, at: NDArray[np.int64]
    ) -> None:
        """The state before offset `first`: that of the last batch that began there or before; forgets later ones."""
        starts = began[row]
        candidates = np.flatnonzero((starts >= 0) & (starts <= first))
        if candidates.size:
            slot = int(candidates[np.argmax(starts[candidates])])
        else:  # further back than is remembered: the oldest batch is the best that is known
            held = np.flatnonzero(starts >= 0)
            slot = int(held[np.argmin(starts[held])])
        max_ts[row] = began_max_ts[row, slot]
        later = starts >= first
        began[row, later] = -1
        at[row] = slot if later[slot] else (slot + 1) % self.batches

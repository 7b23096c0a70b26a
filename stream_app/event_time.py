"""Event time: a watermark a partition, what is late, and what claims to come from the future."""

from __future__ import annotations

import numpy as np
from faust.types import TP
from numpy.typing import NDArray

from stream_app.batch import BatchTopic
from stream_app.kernels import releasing
from stream_app.transport.records import RecordBatch
from topics.columns import Columns
from topics.errors import Reason, RecordError

__all__ = ["EventTime"]


@releasing(lambda *args: len(args[0]))
def _late(ts, ok, stamped_s, newest, lateness_s, max_ahead_s, verdict):  # type: ignore[no-untyped-def]
    """Judge events in their order: verdict 0 good, 1 late, 2 from the future; returns the newest good event time.

    An event's verdict depends only on the events before it in the partition, never on where batches begin. A clock
    that runs ahead moves event time to the record's own timestamp and no further: else one such event would make all
    others late until time has caught up with it.
    """
    for i in range(len(ts)):
        verdict[i] = 0
        if not ok[i] or np.isnan(ts[i]):
            continue
        if max_ahead_s >= 0 and ts[i] > stamped_s[i] + max_ahead_s:
            verdict[i] = 2
        elif lateness_s >= 0 and ts[i] < newest - lateness_s:
            verdict[i] = 1
        else:
            newest = max(newest, min(ts[i], stamped_s[i]))
    return newest


class EventTime:
    """The newest event time seen of each topic partition, of a clock ahead the record's timestamp instead; watermark =
    newest - lateness.

    It is committed beside the offset it belongs to, so that a replay judges every event as the first run did.
    """

    def __init__(self) -> None:
        self.newest: dict[TP, float] = {}
        #: The same as of the last committed checkpoint.
        self.settled: dict[TP, float] = {}

    def check(
        self, tp: TP, topic: BatchTopic, records: RecordBatch, columns: Columns
    ) -> list[tuple[int, RecordError, str]]:
        """Late records and those from the future, as errors; moves the watermark."""
        ts: NDArray[np.float64] | None = getattr(columns, "ts", None)
        if ts is None:
            return []
        verdict = np.empty(len(ts), np.int8)
        before = self.newest.get(tp, -np.inf)
        lateness = topic.lateness_s if topic.lateness_s is not None else -1.0
        self.newest[tp] = _late(ts, columns.ok, records.stamped_s(), before, lateness, topic.max_ahead_s, verdict)
        if not verdict.any():
            return []
        errors = []
        for row in np.flatnonzero(verdict).tolist():
            if verdict[row] == 1:
                text = f"event time {ts[row]:.3f} is more than {lateness:g} s behind the newest of its partition"
                errors.append((row, RecordError(row, Reason.LATE, text), "event-time"))
            else:
                text = (
                    f"field ts: {ts[row]:.3f} is more than {topic.max_ahead_s:g} s ahead of the record's own timestamp;"
                    " is it in milliseconds?"
                )
                errors.append((row, RecordError(row, Reason.INVALID, text), "event-time"))
        return errors

    def watermark(self, tp: TP, topic: BatchTopic) -> float | None:
        """Events before this time are late; None before the first event."""
        newest = self.newest.get(tp)
        return None if newest is None else newest - (topic.lateness_s or 0.0)

    def settled_watermark(self, tp: TP, topic: BatchTopic) -> float | None:
        """The watermark of the last commit. What is older cannot come again in a replay and be taken: it is safe to
        forget rows by it, which would count from nothing if their events were replayed."""
        newest = self.settled.get(tp)
        return None if newest is None else newest - (topic.lateness_s or 0.0)

    def metadata(self) -> dict[TP, str]:
        """What is committed beside the offsets, so that after a crash the same events are late as before."""
        return {tp: repr(newest) for tp, newest in self.newest.items()}

    def restore(self, metadata: dict[TP, str]) -> None:
        """Take the watermarks up where the committed offsets left them."""
        self.newest = {tp: float(text) for tp, text in metadata.items() if text}
        self.settled = dict(self.newest)

    def settle(self, metadata: dict[TP, str]) -> None:
        """What `metadata` gave has been committed."""
        self.settled = {tp: float(text) for tp, text in metadata.items() if text}

"""Which owner wrote a changelog record: a header, so that rows of an owner that was already replaced are passed over.

Ownership of a partition goes from one generation of the consumer group to a later one. A worker that was paused may
write rows after its successor did; last in the changelog, they would win. Their epoch is lower, so recovery knows them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_app.transport.builder import encode_headers
from topics.spans import Spans

__all__ = ["EpochGuard", "epoch_headers", "epochs_of"]

_NAME = "epoch"
_ENCODED = encode_headers([(_NAME, bytes(8))])
_PREFIX = np.frombuffer(_ENCODED[:-8], np.uint8)


def epoch_headers(epoch: int, n: int) -> Spans:
    """Encoded headers for `n` records, all over the same bytes."""
    data = np.frombuffer(_ENCODED[:-8] + epoch.to_bytes(8, "little"), np.uint8)
    return Spans(data, np.zeros(n, np.int64), np.full(n, len(data), np.int64))


def epochs_of(headers: Spans) -> NDArray[np.int64]:
    """The epoch of each record, int64 [n]; 0 where there is none."""
    out = np.zeros(len(headers.start), np.int64)
    fits = np.flatnonzero(headers.end - headers.start == len(_ENCODED))
    if len(fits):
        raw = headers.data[headers.start[fits][:, None] + np.arange(len(_ENCODED))]
        named = (raw[:, : len(_PREFIX)] == _PREFIX).all(axis=1)
        out[fits[named]] = np.ascontiguousarray(raw[named, len(_PREFIX) :]).view("<i8").ravel()
    return out


class EpochGuard:
    """The highest epoch seen in one changelog partition, read in order."""

    def __init__(self) -> None:
        self.highest = 0

    def stale(self, headers: Spans) -> NDArray[np.bool_]:
        """Which of the next records, bool [n], were written by an owner that had been replaced by then."""
        epochs = epochs_of(headers)
        if not len(epochs):
            return np.zeros(0, np.bool_)
        before = np.maximum.accumulate(np.concatenate(([self.highest], epochs)))
        self.highest = int(before[-1])
        return epochs < before[:-1]

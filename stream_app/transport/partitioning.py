"""Kafka's default partitioner over columns of keys: murmur2, as Java's producers choose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_app.kernels import releasing
from topics.spans import Spans

__all__ = ["partition_of", "partitions_of"]


@releasing(lambda *args: len(args[1]))
def _murmur2_partitions(data, start, end, partitions, out):  # type: ignore[no-untyped-def]
    mask, m = np.uint64(0xFFFFFFFF), np.uint64(0x5BD1E995)
    for i in range(len(start)):
        begin = max(start[i], 0)
        length = max(end[i], 0) - begin
        h = (np.uint64(0x9747B28C) ^ np.uint64(length)) & mask
        words = length // 4
        for w in range(words):
            p = begin + w * 4
            k = np.uint64(data[p]) | (np.uint64(data[p + 1]) << np.uint64(8))
            k |= (np.uint64(data[p + 2]) << np.uint64(16)) | (np.uint64(data[p + 3]) << np.uint64(24))
            k = (k * m) & mask
            k ^= k >> np.uint64(24)
            k = (k * m) & mask
            h = ((h * m) & mask) ^ k
        p = begin + words * 4
        rest = length % 4
        if rest == 3:
            h ^= np.uint64(data[p + 2]) << np.uint64(16)
        if rest >= 2:
            h ^= np.uint64(data[p + 1]) << np.uint64(8)
        if rest >= 1:
            h ^= np.uint64(data[p])
            h = (h * m) & mask
        h ^= h >> np.uint64(13)
        h = (h * m) & mask
        h ^= h >> np.uint64(15)
        out[i] = np.int64(h & np.uint64(0x7FFFFFFF)) % partitions


def partitions_of(keys: Spans, partitions: int) -> NDArray[np.int64]:
    """The partition of each key: int64 [n]. A null key goes where an empty one does."""
    out = np.empty(len(keys), np.int64)
    _murmur2_partitions(np.ascontiguousarray(keys.data), keys.start, keys.end, partitions, out)
    return out


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of one key."""
    return int(partitions_of(Spans.of([key]), partitions)[0])

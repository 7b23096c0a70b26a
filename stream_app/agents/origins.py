"""Where a re-keyed record came from, in its headers: so that one sent twice, since a worker crashed in between, counts
once."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream_app.transport.builder import encode_headers
from topics.spans import Spans

__all__ = ["first_seen", "origin_headers", "origins_of"]

_NAME = "tsrec.origin"
#: Partition and offset, little-endian int64 each, are the last bytes of the encoded headers.
_BYTES = 16
_ENCODED = np.frombuffer(encode_headers([(_NAME, bytes(_BYTES))]), np.uint8)


def origin_headers(partition: int, offsets: NDArray[np.int64]) -> Spans:
    """Encoded headers that name partition and offset of each record."""
    n, width = len(offsets), len(_ENCODED)
    data = np.tile(_ENCODED, (n, 1))
    origin = np.empty((n, 2), "<i8")
    origin[:, 0], origin[:, 1] = partition, offsets
    data[:, width - _BYTES :] = origin.view(np.uint8)
    start = np.arange(n, dtype=np.int64) * width
    return Spans(data.ravel(), start, start + width)


def origins_of(headers: Spans) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Partition and offset of each record's origin, int64 [n] each; -1 where its headers are not ours."""
    n, width = len(headers.start), len(_ENCODED)
    partitions, offsets = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    fits = np.flatnonzero(headers.end - headers.start == width)
    if len(fits):
        raw = headers.data[headers.start[fits][:, None] + np.arange(width)]
        fits = fits[(raw[:, : width - _BYTES] == _ENCODED[: width - _BYTES]).all(axis=1)]
        raw = headers.data[headers.start[fits][:, None] + np.arange(width - _BYTES, width)]
        found = np.ascontiguousarray(raw).view("<i8").reshape(-1, 2)
        partitions[fits], offsets[fits] = found[:, 0], found[:, 1]
    return partitions, offsets


@njit(cache=True)
def first_seen(marks, rows, partitions, offsets, out):  # type: ignore[no-untyped-def,untyped-decorator]
    """out[i] = record i is above what its row has had of its origin's partition; moves the marks, [rows, partitions].

    Records of one origin partition come in the order of their offsets. One without an origin is always new.
    """
    for i in range(rows.size):
        out[i] = True
        if 0 <= partitions[i] < marks.shape[1]:
            mark = marks[rows[i], partitions[i]]
            out[i] = offsets[i] > mark
            if out[i]:
                marks[rows[i], partitions[i]] = offsets[i]

"""Record batches to send, built whole from columns, in the shape aiokafka's producer takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import aiokafka.codec as codecs
import numpy as np
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c
from numba import njit
from numpy.typing import NDArray

from stream_app.kernels import releasing
from stream_app.transport.records import HEADER, HEADER_BYTES, LOG_OVERHEAD, TRANSACTIONAL, RecordScanner
from topics.spans import Spans

__all__ = ["CODECS", "EncodedBatch", "build_batches", "encode_headers", "encode_records", "rebuild_batches"]

#: Upper bound of the bytes a record adds to its key and value: length, attributes, two deltas, two lengths, headers.
RECORD_OVERHEAD = 5 + 1 + 10 + 5 + 5 + 5 + 1
_CRC_START = 21
_NO_HEADERS = np.zeros(1, np.uint8)

CODECS: dict[str | None, tuple[int, Any]] = {
    None: (0, None),
    "gzip": (1, codecs.gzip_encode),
    "snappy": (2, codecs.snappy_encode),
    "lz4": (3, codecs.lz4_encode),
    "zstd": (4, codecs.zstd_encode),
}


@njit(cache=True, nogil=True, inline="always")
def _put_varint(out, pos, value):  # type: ignore[no-untyped-def]
    zigzag = np.uint64((value << 1) ^ (value >> 63))
    while zigzag >= np.uint64(0x80):
        out[pos] = np.uint8((zigzag & np.uint64(0x7F)) | np.uint64(0x80))
        zigzag >>= np.uint64(7)
        pos += 1
    out[pos] = np.uint8(zigzag)
    return pos + 1


@njit(cache=True, nogil=True, inline="always")
def _varint_size(value):  # type: ignore[no-untyped-def]
    zigzag = np.uint64((value << 1) ^ (value >> 63))
    size = 1
    while zigzag >= np.uint64(0x80):
        zigzag >>= np.uint64(7)
        size += 1
    return size


@releasing(lambda *args: args[3] - args[2])
def encode_records(  # type: ignore[no-untyped-def]
    out,
    pos,
    first,
    last,
    keys,
    key_start,
    key_end,
    values,
    value_start,
    value_end,
    timestamps,
    headers,
    header_start,
    header_end,
):
    """Write records `first` .. `last` - 1 into `out` from `pos`; the position after them.

    timestamps: int64 [n] ms. headers: encoded headers; each record has those at header_start .. header_end.
    """
    base = timestamps[first]
    for i in range(first, last):
        delta, offset = timestamps[i] - base, np.int64(i - first)
        has_key, has_value = key_start[i] >= 0, value_start[i] >= 0
        key_size = key_end[i] - key_start[i] if has_key else np.int64(0)
        value_size = value_end[i] - value_start[i] if has_value else np.int64(0)
        body = 1 + _varint_size(delta) + _varint_size(offset) + header_end[i] - header_start[i] + key_size + value_size
        body += _varint_size(key_size) if has_key else 1
        body += _varint_size(value_size) if has_value else 1
        pos = _put_varint(out, pos, np.int64(body))
        out[pos] = 0
        pos = _put_varint(out, pos + 1, delta)
        pos = _put_varint(out, pos, offset)
        pos = _put_varint(out, pos, key_size if has_key else np.int64(-1))
        if has_key:
            start = key_start[i]
            for j in range(key_size):
                out[pos + j] = keys[start + j]
            pos += key_size
        pos = _put_varint(out, pos, value_size if has_value else np.int64(-1))
        if has_value:
            start = value_start[i]
            for j in range(value_size):
                out[pos + j] = values[start + j]
            pos += value_size
        for j in range(header_start[i], header_end[i]):
            out[pos] = headers[j]
            pos += 1
    return pos


class EncodedBatch(BatchBuilder):
    """A finished batch of records; the header is written when the producer knows its id, epoch and sequence."""

    def __init__(
        self, buffer: bytearray, records: int, first_ms: int, max_ms: int, codec: int, transactional: bool
    ) -> None:
        self._buffer: Any = None
        self._raw = buffer
        self._records = records
        self._times = (first_ms, max_ms)
        self._attributes = codec | (TRANSACTIONAL if transactional else 0)
        self._producer = (-1, -1, -1)
        self._closed = True

    def append(self, **_: Any) -> None:
        """A finished batch takes no more records: always None, which is what the producer expects of a full one."""

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)
        self._buffer = None

    def _build(self) -> Any:
        if self._buffer is None:
            raw = self._raw
            header = (self._attributes, self._records - 1, *self._times, *self._producer, self._records)
            HEADER.pack_into(raw, 0, 0, len(raw) - LOG_OVERHEAD, -1, 2, 0, *header)
            crc = calc_crc32c(memoryview(raw)[_CRC_START:])
            HEADER.pack_into(raw, 0, 0, len(raw) - LOG_OVERHEAD, -1, 2, crc, *header)
            self._buffer = raw
        return self._buffer

    def size(self) -> int:
        return len(self._raw)

    def record_count(self) -> int:
        return self._records

    def closed(self) -> bool:
        return True


def encode_headers(headers: Sequence[tuple[str, bytes | None]]) -> bytes:
    """The headers of a record as they stand in a record batch."""
    out = bytearray()
    _append_varint(out, len(headers))
    for name, value in headers:
        raw = name.encode()
        _append_varint(out, len(raw))
        out += raw
        _append_varint(out, -1 if value is None else len(value))
        out += value or b""
    return bytes(out)


def _append_varint(out: bytearray, value: int) -> None:
    zigzag = (value << 1) ^ (value >> 63)
    while zigzag >= 0x80:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    out.append(zigzag)


def build_batches(
    keys: Spans | None,
    values: Spans,
    timestamps_ms: NDArray[np.int64] | None = None,
    *,
    max_bytes: int,
    compression: str | None = None,
    transactional: bool = False,
    headers: Spans | None = None,
) -> Iterator[EncodedBatch]:
    """Record batches of at most `max_bytes` (a larger record travels alone) for one partition, in order.

    keys: None for records without a key. timestamps_ms: int64 [n], the time of the call where absent. headers: encoded
    headers (see `encode_headers`) of each record.
    """
    n = len(values)
    if not n:
        return
    null = np.full(n, -1, np.int64)
    key_data, key_start, key_end = (keys.data, keys.start, keys.end) if keys is not None else (values.data, null, null)
    if timestamps_ms is None:
        timestamps_ms = np.full(n, int(time.time() * 1000), np.int64)
    if headers is None:
        headers = Spans(_NO_HEADERS, np.zeros(n, np.int64), np.ones(n, np.int64))
    bound = (key_end - key_start) + (values.end - values.start) + (headers.end - headers.start) + RECORD_OVERHEAD
    ends = np.cumsum(bound)
    codec, compress = CODECS[compression]
    first = 0
    while first < n:
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + max_bytes - HEADER_BYTES, side="right")))
        out = np.empty(HEADER_BYTES + int(ends[last - 1]) - before, np.uint8)
        stop = encode_records(
            out, HEADER_BYTES, first, last, key_data, key_start, key_end,
            values.data, values.start, values.end, timestamps_ms, headers.data, headers.start, headers.end,
        )  # fmt: skip
        times = timestamps_ms[first:last]
        raw, used = bytearray(out[:stop].data), 0
        if compress is not None:
            packed = compress(bytes(raw[HEADER_BYTES:]))
            if len(packed) < len(raw) - HEADER_BYTES:
                raw[HEADER_BYTES:] = packed
                used = codec
        yield EncodedBatch(raw, last - first, int(times[0]), int(times.max()), used, transactional)
        first = last


def rebuild_batches(
    batches: Sequence[EncodedBatch], *, max_bytes: int, compression: str | None, transactional: bool
) -> Iterator[EncodedBatch]:
    """The records of several batches of one partition, in order, in as few batches as `build_batches` makes of them."""
    raw = b"".join(bytes(batch._build()) for batch in batches)
    scanner, start = RecordScanner(raw), 0
    for batch in batches:
        scanner.add(start, HEADER.unpack_from(raw, start), start + batch.size())
        start += batch.size()
    records = scanner.finish("", 0, 0, 0, 0.0)
    yield from build_batches(
        records.keys, records.values, records.timestamps_ms, headers=records.header_spans, max_bytes=max_bytes,
        compression=compression, transactional=transactional,
    )  # fmt: skip

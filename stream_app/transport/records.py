"""Record batches as columns: the broker's bytes are scanned once, and keys and values stay where they arrived.

The layout is Kafka's record batch of magic 2: https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from numba import njit
from numpy.typing import NDArray

from stream_app.kernels import releasing
from topics.spans import Spans

__all__ = ["HEADER", "HEADER_BYTES", "RecordBatch", "RecordScanner", "decompress", "scan_records"]

#: base offset, length, leader epoch, magic, crc, attributes, last offset delta, first and max timestamp, producer id,
#: producer epoch, base sequence, number of records.
HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES = HEADER.size
#: The length field counts what follows it; base offset and length itself come before.
LOG_OVERHEAD = 12
CODEC_MASK, LOG_APPEND_TIME, TRANSACTIONAL, CONTROL = 0x07, 0x08, 0x10, 0x20

_CODECS: dict[int, tuple[str, Callable[[bytes], bytes]]] = {
    1: ("gzip", gzip_decode),
    2: ("snappy", snappy_decode),
    3: ("lz4", lz4_decode),
    4: ("zstd", zstd_decode),
}


@njit(cache=True, nogil=True, inline="always")
def _varint(data, pos):  # type: ignore[no-untyped-def]
    """Zigzag varint at `pos`: (value, next position); a position past the end marks damage."""
    value = np.uint64(0)
    shift = np.uint64(0)
    end = len(data)
    while pos < end:
        byte = np.uint64(data[pos])
        pos += 1
        value |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1)), pos
        shift += np.uint64(7)
        if shift > np.uint64(63):
            break
    return np.int64(0), end + 1


@releasing(lambda *args: args[2])
def scan_records(data, pos, n, base_offset, first_timestamp, append_time, table, row):  # type: ignore[no-untyped-def]
    """Scan `n` records from `pos`, one row of `table` each, from `row` on; the position after them, or -1 if damaged.

    table: int64 [rows, 8]: offset, timestamp, key start, key end, value start, value end, headers start, headers end.
    append_time: the batch's timestamp where the broker sets it, else -1.
    """
    end = len(data)
    for i in range(n):
        length, pos = _varint(data, pos)
        record_end = pos + length
        if pos > end or length < 0 or record_end > end:
            return np.int64(-1)
        pos += 1  # attributes, unused
        delta, pos = _varint(data, pos)
        offset_delta, pos = _varint(data, pos)
        key_length, pos = _varint(data, pos)
        out = table[row + i]
        out[0] = base_offset + offset_delta
        out[1] = append_time if append_time >= 0 else first_timestamp + delta
        out[2] = -1
        out[3] = -1
        if key_length >= 0:
            out[2] = pos
            pos += key_length
            out[3] = pos
        value_length, pos = _varint(data, pos)
        out[4] = -1
        out[5] = -1
        if value_length >= 0:
            out[4] = pos
            pos += value_length
            out[5] = pos
        if pos > record_end:
            return np.int64(-1)
        out[6] = pos
        out[7] = record_end
        pos = record_end
    return np.int64(pos)


def decompress(attributes: int, data: bytes) -> bytes:
    """The records of a batch, as the codec in its attributes says.

    Raises:
        UnsupportedCodecError: for a codec this client does not know.
    """
    codec = attributes & CODEC_MASK
    if codec not in _CODECS:
        raise UnsupportedCodecError(f"unknown compression codec {codec}")
    return bytes(_CODECS[codec][1](data))


@dataclass(slots=True)
class RecordBatch:
    """What one poll of one partition brought.

    offsets, timestamps_ms: int64 [n]; keys, values: `Spans` over the broker's bytes. The batch covers the offsets from
    `fetch_offset` to before `next_offset`: control records and gaps left by compaction too.
    """

    topic: str
    partition: int
    offsets: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]
    keys: Spans
    values: Spans
    fetch_offset: int
    next_offset: int
    header_spans: Spans
    received_s: float = 0.0
    #: Number of the seek it was read after; a later seek makes it void, since its records come again.
    seek: int = 0

    def __len__(self) -> int:
        return len(self.offsets)

    def stamped_s(self) -> NDArray[np.float64]:
        """When each record was written by its own timestamp, seconds; where it has none, when it was received."""
        stamped_s = self.timestamps_ms / 1000.0
        return stamped_s if (stamped_s >= 0).all() else np.where(stamped_s >= 0, stamped_s, self.received_s)

    @classmethod
    def joined(cls, batches: Sequence[RecordBatch]) -> RecordBatch:
        """Batches that follow each other in one partition, as one; it was received when the first was."""
        first = batches[0]
        return cls(
            first.topic,
            first.partition,
            np.concatenate([batch.offsets for batch in batches]),
            np.concatenate([batch.timestamps_ms for batch in batches]),
            Spans.joined([batch.keys for batch in batches]),
            Spans.joined([batch.values for batch in batches]),
            first.fetch_offset,
            batches[-1].next_offset,
            Spans.joined([batch.header_spans for batch in batches]),
            first.received_s,
            first.seek,
        )

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> RecordBatch:
        """The records at `rows` (indices or a mask), over the same bytes."""
        return RecordBatch(
            self.topic,
            self.partition,
            self.offsets[rows],
            self.timestamps_ms[rows],
            self.keys.take(rows),
            self.values.take(rows),
            self.fetch_offset,
            self.next_offset,
            self.header_spans.take(rows),
            self.received_s,
            self.seek,
        )

    def headers(self, i: int) -> list[tuple[str, bytes | None]]:
        """The headers of record `i`."""
        data, pos, end = self.header_spans.data, int(self.header_spans.start[i]), int(self.header_spans.end[i])
        count, pos = _varint(data, pos)
        headers: list[tuple[str, bytes | None]] = []
        for _ in range(count):
            size, pos = _varint(data, pos)
            name = data[pos : pos + size].tobytes().decode("utf-8", "replace")
            pos += size
            size, pos = _varint(data, pos)
            headers.append((name, data[pos : pos + size].tobytes() if size >= 0 else None))
            pos += max(size, 0)
        if pos != end:
            raise CorruptRecordException(f"headers of {self.topic}:{self.partition}:{self.offsets[i]} are damaged")
        return headers


class RecordScanner:
    """Collects the batches of one fetch into one `RecordBatch`, without copying where nothing is compressed."""

    def __init__(self, raw: bytes) -> None:
        self.raw = np.frombuffer(raw, np.uint8)
        self.buffers: list[NDArray[np.uint8]] = [self.raw]
        self.size = len(raw)
        self.tables: list[NDArray[np.int64]] = []
        self.records = 0

    def add(self, start: int, header: tuple[int, ...], end: int) -> None:
        """Scan the batch whose header begins at `start` of the fetched bytes and whose records end at `end`."""
        base_offset, attributes, first_timestamp, max_timestamp, n = (
            header[0],
            header[5],
            header[7],
            header[8],
            header[12],
        )
        append_time = max_timestamp if attributes & LOG_APPEND_TIME else -1
        table = np.empty((n, 8), np.int64)
        if attributes & CODEC_MASK:
            data = np.frombuffer(decompress(attributes, self.raw[start + HEADER_BYTES : end].tobytes()), np.uint8)
            stop = scan_records(data, 0, n, base_offset, first_timestamp, append_time, table, 0)
            expected = len(data)
        else:
            data = self.raw[:end]
            stop = scan_records(data, start + HEADER_BYTES, n, base_offset, first_timestamp, append_time, table, 0)
            expected = end
        if stop != expected:
            raise CorruptRecordException(f"record batch at offset {base_offset} is damaged")
        if attributes & CODEC_MASK:
            spans = table[:, 2:]
            spans[spans >= 0] += self.size
            self.buffers.append(data)
            self.size += len(data)
        self.tables.append(table)
        self.records += n

    def finish(
        self, topic: str, partition: int, fetch_offset: int, next_offset: int, received_s: float, seek: int = 0
    ) -> RecordBatch:
        """Everything added so far, less the records below `fetch_offset` (a fetch may begin inside a batch)."""
        table = np.concatenate(self.tables) if self.tables else np.empty((0, 8), np.int64)
        if len(table) and table[0, 0] < fetch_offset:
            table = table[table[:, 0] >= fetch_offset]
        data = np.concatenate(self.buffers) if len(self.buffers) > 1 else self.raw
        columns = np.ascontiguousarray(table.T)
        return RecordBatch(
            topic,
            partition,
            columns[0],
            columns[1],
            Spans(data, columns[2], columns[3]),
            Spans(data, columns[4], columns[5]),
            fetch_offset,
            next_offset,
            Spans(data, columns[6], columns[7]),
            received_s,
            seek,
        )

"""Fetch requests and answers of version 11 written and read in one pass over the bytes.

aiokafka describes messages by schemas and walks them field by field, for every partition of every fetch: with sixty
partitions that is half a millisecond a fetch, much of it for partitions that have nothing new. Here each partition is
one `struct` call, and those without news are left out, as a broker leaves them out of an incremental fetch.
Brokers that know no version 11 are asked by aiokafka's own classes. Layout: https://kafka.apache.org/protocol
"""

from __future__ import annotations

import struct
import time
from io import BytesIO
from typing import Any

from aiokafka import TopicPartition
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v11, FetchResponse_v11

__all__ = ["QuickFetch"]

#: replica id, max wait, min bytes, max bytes, isolation level, session id, session epoch, number of topics.
_HEAD = struct.Struct(">iiiibiii")
#: partition, current leader epoch, fetch offset, log start offset, max bytes.
_ASKED = struct.Struct(">iiqqi")
#: throttle time, error, session id, number of topics.
_ANSWER = struct.Struct(">ihii")
#: partition, error, high watermark, last stable offset, log start offset, number of aborted transactions.
_PARTITION = struct.Struct(">ihqqqi")
_ABORTED = struct.Struct(">qq")
#: preferred read replica, length of the records.
_RECORDS = struct.Struct(">ii")
_COUNT, _LENGTH = struct.Struct(">i"), struct.Struct(">h")

#: A partition without news is passed on after so long all the same, for those who watch when it was last asked.
_STALE_MS = 500

#: One (partition, error, high watermark, last stable offset, log start, aborted, preferred replica, records).
_Partition = tuple[int, int, int, int, int, list[tuple[int, int]] | None, int, bytes | None]


class QuickFetch:
    """Stands in for aiokafka's FetchRequest: the same words to the broker, fewer steps to write and to read them.

    assignment: aiokafka's assignment that the answer will be read into; None keeps partitions without news.
    """

    API_KEY = FetchRequest.API_KEY

    def __init__(self, request: FetchRequest, assignment: Any = None) -> None:
        self.request = request
        self.assignment = assignment

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Any:
        """The request in the highest version that the broker and aiokafka know; ours where that is 11."""
        prepared = self.request.prepare(versions)
        return _Quick(prepared, self.request, self.assignment) if prepared.API_VERSION == 11 else prepared


class _Quick:
    """What a connection needs of a request: bytes to send, and how to read the answer."""

    API_KEY, API_VERSION = FetchRequest_v11.API_KEY, FetchRequest_v11.API_VERSION

    def __init__(self, prepared: FetchRequest_v11, request: FetchRequest, assignment: Any) -> None:
        self._prepared, self._request, self._assignment = prepared, request, assignment
        self.build_request_header = prepared.build_request_header
        self.parse_response_header = prepared.parse_response_header
        self.RESPONSE_TYPE = self

    def encode(self) -> bytes:
        """The body of the request."""
        request = self._request
        parts = [
            _HEAD.pack(
                -1, request._max_wait_ms, request._min_bytes, request._max_bytes, request._isolation_level, 0, -1,
                len(request.topics),
            )
        ]  # fmt: skip
        for topic, partitions in request.topics:
            name = topic.encode()
            parts += (_LENGTH.pack(len(name)), name, _COUNT.pack(len(partitions)))
            parts += [_ASKED.pack(partition, -1, offset, -1, size) for partition, offset, size in partitions]
        rack = request._rack_id.encode()
        parts += (_COUNT.pack(0), _LENGTH.pack(len(rack)), rack)
        return b"".join(parts)

    def decode(self, body: BytesIO) -> FetchResponse_v11:
        """The answer, less the partitions without news. struct.error if it is cut short."""
        data = body.read()
        throttle_ms, error, session, n_topics = _ANSWER.unpack_from(data)
        position = _ANSWER.size
        stale_ms = int(time.time() * 1000) - _STALE_MS
        topics = []
        for _ in range(n_topics):
            (size,) = _LENGTH.unpack_from(data, position)
            position += _LENGTH.size
            topic = data[position : position + size].decode()
            position += size
            (count,) = _COUNT.unpack_from(data, position)
            position += _COUNT.size
            partitions: list[_Partition] = []
            for _ in range(count):
                partition, failure, high, stable, first, n_aborted = _PARTITION.unpack_from(data, position)
                position += _PARTITION.size
                aborted = None
                if n_aborted >= 0:
                    end = position + n_aborted * _ABORTED.size
                    aborted = list(_ABORTED.iter_unpack(data[position:end]))
                    position = end
                replica, n_bytes = _RECORDS.unpack_from(data, position)
                position += _RECORDS.size
                if n_bytes <= 0 and not failure and self._known(topic, partition, high, stable, stale_ms):
                    continue
                records = None
                if n_bytes >= 0:
                    records = data[position : position + n_bytes]
                    position += n_bytes
                partitions.append((partition, failure, high, stable, first, aborted, replica, records))
            topics.append((topic, partitions))
        return FetchResponse_v11(throttle_ms, error, session, topics)

    def __repr__(self) -> str:
        return repr(self._prepared)

    def _known(self, topic: str, partition: int, high: int, stable: int, stale_ms: int) -> bool:
        if self._assignment is None:
            return False
        state = self._assignment.state_value(TopicPartition(topic, partition))
        return (
            state is not None and state.highwater == high and state.lso == stable and (state.timestamp or 0) >= stale_ms
        )

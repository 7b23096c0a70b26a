"""Whole record batches out of aiokafka's fetcher: positions, pauses, errors and seeks stay the fetcher's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult
from aiokafka.errors import CorruptRecordException
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.util import calc_crc32c

from stream_app.transport.quick_fetch import QuickFetch
from stream_app.transport.records import (
    CONTROL,
    HEADER,
    HEADER_BYTES,
    LOG_OVERHEAD,
    TRANSACTIONAL,
    RecordBatch,
    RecordScanner,
)

__all__ = ["RawPartitionRecords", "hand_over_batches"]

#: The CRC covers everything from the attributes on.
_CRC_START = 21
_MAGIC = 16

#: An answer of fewer bytes has little data: the next fetch waits a moment for more.
_SMALL_BYTES = 64 << 10


class RawPartitionRecords:
    """Stands in for aiokafka's PartitionRecords: iterating yields one `RecordBatch` for all that was fetched."""

    def __init__(
        self,
        tp: TopicPartition,
        raw: bytes,
        aborted: list[tuple[int, int]] | None,
        fetch_offset: int,
        *,
        check_crcs: bool,
        read_committed: bool,
        seek: Callable[[], int],
    ) -> None:
        self.tp = tp
        self.raw = raw
        self.aborted = sorted(aborted or [], key=lambda entry: entry[1])
        self.fetch_offset = fetch_offset
        self.next_fetch_offset = fetch_offset
        self.check_crcs = check_crcs
        self.read_committed = read_committed
        self.seek = seek
        self.received_s = time.time()
        self._iterator = self._scan()

    def __iter__(self) -> Iterator[RecordBatch]:
        return self

    def __next__(self) -> RecordBatch:
        return next(self._iterator)

    def _scan(self) -> Iterator[RecordBatch]:
        raw, view, position, end = self.raw, memoryview(self.raw), 0, len(self.raw)
        scanner, next_offset, aborted_producers = RecordScanner(raw), self.fetch_offset, set[int]()
        while end - position >= HEADER_BYTES:
            header = HEADER.unpack_from(raw, position)
            stop = position + LOG_OVERHEAD + header[1]
            if stop > end:
                break  # the broker cuts the last batch where the fetch size ends
            if header[3] < 2:
                raise CorruptRecordException(
                    f"{self.tp} holds records of the message format v{header[3]} (before Kafka 0.11); "
                    "rewrite the topic or read it by an ordinary Faust topic"
                )
            if self.check_crcs and calc_crc32c(view[position + _CRC_START : stop]) != header[4]:
                raise CorruptRecordException(f"{self.tp}: checksum of the batch at offset {header[0]} does not match")
            if not self._skipped(header, position, stop, aborted_producers):
                scanner.add(position, header, stop)
            next_offset = header[0] + header[6] + 1
            position = stop
        # Set before the batch leaves, since the fetcher moves its position there when the iteration ends.
        self.next_fetch_offset = next_offset
        yield scanner.finish(
            self.tp.topic, self.tp.partition, self.fetch_offset, next_offset, self.received_s, self.seek()
        )

    def _skipped(self, header: tuple[int, ...], position: int, stop: int, aborted_producers: set[int]) -> bool:
        """Control batches and, for read_committed, the batches of aborted transactions."""
        attributes, producer = header[5], header[9]
        if self.read_committed and producer >= 0:
            while self.aborted and self.aborted[0][1] <= header[0]:
                aborted_producers.add(self.aborted.pop(0)[0])
            if attributes & CONTROL and self._is_abort(position, stop):
                aborted_producers.discard(producer)
            if attributes & TRANSACTIONAL and producer in aborted_producers:
                return True
        return bool(attributes & CONTROL)

    def _is_abort(self, position: int, stop: int) -> bool:
        scanner = RecordScanner(self.raw)
        scanner.add(position, HEADER.unpack_from(self.raw, position), stop)
        key = scanner.finish(self.tp.topic, self.tp.partition, 0, 0, 0.0).keys[0]
        return key is not None and ControlRecord.parse(key) == ABORT_MARKER


def hand_over_batches(
    consumer: AIOKafkaConsumer, wants_batches: Callable[[str], bool], seek: Callable[[], int], pace_s: float = 0.0
) -> None:
    """Make the fetcher of `consumer` return `RecordBatch` objects for the topics that `wants_batches` names.

    The fetcher parses a response and stores a FetchResult a partition; for our topics what it stored is replaced by
    one over the same bytes. Nothing has been iterated by then, so no record is parsed twice. `seek` is the number of
    the last seek, which goes with each batch. After an answer with little data the next fetch of that broker waits
    `pace_s`: what comes meanwhile is one batch a partition, and what a fetch costs is shared by more records. Without
    data no fetch waits, the broker holds it until there is some.
    """
    fetcher = consumer._fetcher
    client = fetcher._client
    responses: dict[int, Any] = {}
    assignments: dict[int, Any] = {}
    process = fetcher._proc_fetch_request
    not_before: dict[int, float] = {}

    class Client:
        """The fetcher's client, remembering the answer to each fetch while it is being processed."""

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        async def send(self, node_id: int, request: Any, **kwargs: Any) -> Any:
            asked = QuickFetch(request, assignments.get(id(request))) if isinstance(request, FetchRequest) else request
            response = await client.send(node_id, asked, **kwargs)
            if id(request) in responses:
                responses[id(request)] = response
            return response

    async def process_and_replace(assignment: Any, node_id: int, request: Any) -> bool:
        await asyncio.sleep(not_before.get(node_id, 0.0) - time.monotonic())
        responses[id(request)], assignments[id(request)] = None, assignment
        try:
            wake_up: bool = await process(assignment, node_id, request)
            response = responses[id(request)]
        finally:
            responses.pop(id(request), None)
            assignments.pop(id(request), None)
        if response is None:
            return wake_up
        size = 0
        for topic, partitions in response.topics:
            if not wants_batches(topic):
                continue
            for partition, _error, _highwater, *data in partitions:
                tp = TopicPartition(topic, partition)
                result = fetcher._records.get(tp)
                size += len(data[-1] or b"")
                if type(result) is not FetchResult or isinstance(result._partition_records, RawPartitionRecords):
                    continue
                aborted = data[2] if response.API_VERSION >= 11 else data[-2] if response.API_VERSION >= 4 else None
                result._partition_records = RawPartitionRecords(
                    tp,
                    bytes(data[-1]),
                    aborted,
                    result._partition_records.next_fetch_offset,
                    check_crcs=fetcher._check_crcs,
                    read_committed=fetcher._isolation_level == READ_COMMITTED,
                    seek=seek,
                )
        if 0 < size < _SMALL_BYTES:
            not_before[node_id] = time.monotonic() + pace_s
        return wake_up

    fetcher._client = Client()
    fetcher._proc_fetch_request = process_and_replace

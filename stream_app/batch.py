"""What an agent gets: the good records of one poll of a partition as columns, and where to put what comes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from faust.types import TP
from numpy.typing import NDArray

from stream_app.structs import decode_structs, is_columnar
from stream_app.transport.partitioning import partitions_of
from stream_app.transport.records import RecordBatch
from topics.columns import decode_columns
from topics.dialect import Dialect
from topics.errors import Reason, RecordError
from topics.spans import Spans

__all__ = ["Batch", "BatchTopic", "Outgoing"]


@dataclass(frozen=True, eq=False)
class BatchTopic:
    """A topic whose records arrive in batches, decoded into columns of `type`.

    partitions: what the topic is created with, and what it must have. dialect: foreign field names and units.
    lateness_s: how long after the newest event time of its partition an event still counts; None: always.
    max_ahead_s: an event time further ahead of the record's own timestamp is a mistake of the sender (milliseconds,
    a wrong clock) and would close the windows of its key: it goes to the dead letters. max_records: larger batches are
    cut, so that agents learn from the first events of a backlog before they answer the last. lane: topics of one lane
    wait for each other, partition by partition; name another for topics whose agents share no table with the rest.
    """

    name: str
    type: Any
    partitions: int
    dialect: Dialect | None = None
    lateness_s: float | None = None
    max_ahead_s: float = 3600.0
    tombstones: bool = False
    max_records: int | None = None
    lane: str = ""

    @cached_property
    def columnar(self) -> bool:
        """Whether its records are decoded into columns; else into structs, `Batch.structs`."""
        return is_columnar(self.type, self.dialect)

    def decode(self, values: Spans) -> Any:
        """`Columns` of a batch of record values, or `Structs`, with the errors of the bad ones."""
        if self.columnar:
            return decode_columns(self.type, values, self.dialect, tombstones=self.tombstones)
        return decode_structs(self.type, values, self.dialect, tombstones=self.tombstones)


@dataclass(slots=True)
class Outgoing:
    """Records that an agent wants sent: to one partition each, all of them when the batch is done."""

    topic: str
    keys: Spans | None
    values: Spans
    partition: int | NDArray[np.int64]
    timestamps_ms: NDArray[np.int64] | None
    headers: Spans | None


@dataclass(slots=True)
class Batch:
    """The good records of one poll, in order. What is sent or set aside takes effect when the agent returns."""

    topic: BatchTopic
    records: RecordBatch
    columns: Any  # Columns, or Structs where the topic's type is not flat
    outgoing: list[Outgoing] = field(default_factory=list)
    rejected: list[tuple[RecordBatch, RecordError]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def partition(self) -> int:
        """The partition these records came from; state of theirs is in the shards of the same number."""
        return self.records.partition

    @property
    def tp(self) -> TP:
        """Topic and partition, as Faust names them."""
        return TP(self.records.topic, self.records.partition)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """int64 [n]: the source offset of each record."""
        return self.records.offsets

    @property
    def structs(self) -> list[Any]:
        """The records as structs, where the topic's type is not flat (see `BatchTopic.columnar`)."""
        structs: list[Any] = self.columns.records
        return structs

    def source(self, i: int) -> str:
        """`topic:partition:offset` of record `i`: what decision and alert ids are made from."""
        return f"{self.records.topic}:{self.records.partition}:{self.records.offsets[i]}"

    def send(
        self,
        topic: BatchTopic,
        keys: Spans | None,
        values: Spans,
        *,
        rekey: bool = False,
        timestamps_ms: NDArray[np.int64] | None = None,
        headers: Spans | None = None,
    ) -> None:
        """Send records to `topic` when this batch is done.

        They go to the partition of the same number, where the state of the same key lives downstream too; with
        `rekey` to the partition of their own key, as Kafka's default partitioner chooses.
        """
        if not len(values):
            return
        partition: int | NDArray[np.int64] = self.partition % topic.partitions
        if rekey:
            if keys is None:
                raise ValueError(f"records for {topic.name} need keys to be spread by")
            partition = partitions_of(keys, topic.partitions)
        self.outgoing.append(Outgoing(topic.name, keys, values, partition, timestamps_ms, headers))

    def reject(self, i: int, reason: Reason, message: str) -> None:
        """Put record `i` into the dead letters when this batch is done."""
        self.rejected.append((self.records, RecordError(i, reason, message)))

    def only(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Batch:
        """The records at `rows` (indices or a mask); what is sent or rejected there is so here too."""
        return Batch(self.topic, self.records.take(rows), self.columns.take(rows), self.outgoing, self.rejected)

    def fresh_copy(self) -> Batch:
        """The same records, with nothing sent yet: each agent of a topic gets one."""
        return Batch(self.topic, self.records, self.columns)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Batch:
        """The records at `rows` (indices or a mask), with nothing sent yet."""
        return Batch(self.topic, self.records.take(rows), self.columns.take(rows))

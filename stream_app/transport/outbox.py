"""Everything that leaves: whole batches to the broker, bounded in memory, in order for each partition."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError
from numpy.typing import NDArray

from stream_app.transport.builder import EncodedBatch, build_batches, rebuild_batches
from topics.spans import Spans

__all__ = ["Acknowledged", "Allowed", "Outbox"]

logger = logging.getLogger(__name__)

#: Seconds between two attempts while the broker is away, after aiokafka's own attempts have ended.
_RETRY_S = 1.0

#: Batches of a line that wait behind one on its way go together up to so many bytes: a round trip takes the broker as
#: long for five records as for five hundred, and where many partitions send on to one it is full of such.
_JOINED_BYTES = 64 << 10

#: Called with (partition, offset of the last record) when the broker has acknowledged a batch.
Acknowledged = Callable[[int, int], None]

#: Asked before each batch that only the owner of a partition may write; False drops it.
Allowed = Callable[[], Awaitable[bool]]


class _Item(NamedTuple):
    batch: EncodedBatch
    acknowledged: Acknowledged | None
    allowed: Allowed | None


@dataclass(slots=True)
class _Line:
    """The batches of one topic partition by one producer; one task sends them one after another."""

    queue: deque[_Item] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None
    put: int = 0
    acknowledged: int = 0


class Outbox:
    """Sends columns of records as batches.

    `send` returns when the records are queued; it waits only while more than `max_bytes` are on their way, which is
    how a slow broker slows the stream instead of growing its memory. `flush` waits for the broker's acknowledgement
    of all that was queued before it. In a transaction (`hold` .. `release`) records wait for the next transaction.
    """

    def __init__(
        self, app: Any, *, batch_bytes: int, max_bytes: int = 64 << 20, compression: str | None = None
    ) -> None:
        self._app = app
        self._batch_bytes = batch_bytes
        self._compression = compression
        self._max_bytes = max_bytes
        self._lines: dict[tuple[int, TopicPartition], _Line] = {}
        self._held: list[tuple[AIOKafkaProducer, TopicPartition, list[EncodedBatch]]] | None = None
        self._space = asyncio.Event()
        self._space.set()
        self._progress = asyncio.Event()
        self.queued_bytes = 0
        self.sent_records = 0
        self.failure: BaseException | None = None
        #: Given every batch of records as it is queued, while somebody watches (`web.taps`).
        self.tap: Callable[[str, Spans], None] | None = None
        #: Batches dropped because they were no longer allowed.
        self.refused = 0

    async def send(
        self,
        topic: str,
        partition: int,
        keys: Spans | None,
        values: Spans,
        timestamps_ms: NDArray[np.int64] | None = None,
        headers: Spans | None = None,
        *,
        source: TopicPartition | None = None,
        in_checkpoint: bool = False,
        acknowledged: Acknowledged | None = None,
        allowed: Allowed | None = None,
    ) -> None:
        """Queue records for one partition.

        source: the input partition they came from; under exactly_once it names the transaction they belong to.
        in_checkpoint: they belong to the transaction that is being committed, so they are not held back.
        allowed: asked right before each batch goes out; batches it refuses are dropped and counted in `refused`.

        Raises:
            the error of an earlier send, if the broker refused it: the worker must not go on as if it had gone out.
        """
        if self.failure is not None:
            raise self.failure
        if not len(values):
            return
        if self.tap is not None:
            self.tap(topic, values)
        producer = self._app.producer_for(source)
        form = self._form(producer, topic)
        batches = list(build_batches(keys, values, timestamps_ms, headers=headers, **form))
        self.queued_bytes += sum(batch.size() for batch in batches)
        if self.queued_bytes > self._max_bytes:
            self._space.clear()
        tp = TopicPartition(topic, partition)
        if self._held is not None and not in_checkpoint:
            self._held.append((producer, tp, batches))
        else:
            self._put(producer, tp, batches, acknowledged, allowed)
        if not self._space.is_set():
            await self._space.wait()

    def _form(self, producer: AIOKafkaProducer, topic: str) -> dict[str, Any]:
        """How batches for a topic are built."""
        transactions = producer._txn_manager
        return {
            "max_bytes": min(self._batch_bytes, self._app.max_message_bytes.get(topic, self._batch_bytes)),
            "compression": self._compression,
            "transactional": transactions is not None and transactions.transactional_id is not None,
        }

    def _joined(self, producer: AIOKafkaProducer, tp: TopicPartition, items: list[_Item]) -> list[EncodedBatch]:
        batches = [item.batch for item in items]
        return batches if len(batches) == 1 else list(rebuild_batches(batches, **self._form(producer, tp.topic)))

    def _put(
        self,
        producer: AIOKafkaProducer,
        tp: TopicPartition,
        batches: list[EncodedBatch],
        acknowledged: Acknowledged | None = None,
        allowed: Allowed | None = None,
    ) -> None:
        line = self._lines.setdefault((id(producer), tp), _Line())
        line.queue.extend(_Item(batch, acknowledged, allowed) for batch in batches)
        line.put += len(batches)
        if line.task is None or line.task.done():
            line.task = asyncio.get_running_loop().create_task(self._run(producer, tp, line))

    async def _run(self, producer: AIOKafkaProducer, tp: TopicPartition, line: _Line) -> None:
        try:
            while line.queue:
                taken = _taken(line.queue)
                _, acknowledged, allowed = taken[0]
                if allowed is not None and not await allowed():
                    self.refused += 1
                else:
                    for batch in self._joined(producer, tp, taken):
                        offset = await self._deliver(producer, tp, batch)
                        self.sent_records += batch.record_count()
                        if acknowledged is not None:
                            acknowledged(tp.partition, offset + batch.record_count() - 1)
                for item in taken:
                    line.queue.popleft()
                    line.acknowledged += 1
                    self._freed(item.batch.size())
                self._progress.set()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - kept and raised from flush and every later send
            self.failure = error
            self._progress.set()
            self._freed(sum(item.batch.size() for item in line.queue))
            line.queue.clear()

    async def _deliver(self, producer: AIOKafkaProducer, tp: TopicPartition, batch: EncodedBatch) -> int:
        """Send one batch until the broker has it; its first offset.

        aiokafka gives up after its request timeout. Outside a transaction nothing speaks against going on: the stream
        stands still meanwhile, and goes on when the broker is back.
        """
        complained = False
        while True:
            try:
                metadata = await (await producer.send_batch(batch, tp.topic, partition=tp.partition))
            except KafkaError as error:
                if producer._txn_manager is not None or not (error.retriable or isinstance(error, KafkaTimeoutError)):
                    raise
                if not complained:
                    complained = True
                    logger.warning("%s:%s cannot be written (%r); trying on until it can", *tp, error)
                await asyncio.sleep(_RETRY_S)
            else:
                return int(metadata.offset)

    def _freed(self, size: int) -> None:
        self.queued_bytes -= size
        if self.queued_bytes <= self._max_bytes:
            self._space.set()

    async def flush(self) -> None:
        """Wait until the broker has acknowledged everything queued so far.

        Raises:
            the broker's error for a batch that it refused.
        """
        waiting = [(line, line.put) for line in self._lines.values()]
        while waiting := [(line, put) for line, put in waiting if line.acknowledged < put]:
            if self.failure is not None:
                raise self.failure
            self._progress.clear()
            await self._progress.wait()
        if self.failure is not None:
            raise self.failure

    def hold(self) -> None:
        """From here on records are kept back: the transaction that is being committed takes no more."""
        self._held = []

    def release(self) -> None:
        """Send what was kept back, in the transaction that has begun since."""
        held, self._held = self._held or [], None
        for producer, tp, batches in held:
            self._put(producer, tp, batches)

    def clear(self) -> None:
        """Forget everything queued (after a fenced or aborted transaction)."""
        for line in self._lines.values():
            if line.task is not None:
                line.task.cancel()
        self._lines.clear()
        self._held = None
        self.queued_bytes = 0
        self._space.set()


def _taken(queue: deque[_Item]) -> list[_Item]:
    """The first of a line, and those after it that can go with it: small ones that nobody waits for by name."""
    taken, size = [queue[0]], queue[0].batch.size()
    if _is_plain(queue[0]):
        for item in itertools.islice(queue, 1, None):
            size += item.batch.size()
            if size > _JOINED_BYTES or not _is_plain(item):
                break
            taken.append(item)
    return taken


def _is_plain(item: _Item) -> bool:
    return item.acknowledged is None and item.allowed is None

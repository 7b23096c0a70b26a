"""How far each partition of card payments has come, told to the partitions of merchants (`payment_order` waits by it).

Nothing is told while a partition keeps up, which is the ordinary case. It is told in three: a new generation of the
group (whoever reads a partition now says so), payments that are read later than `BEHIND_S` after they were written (a
backlog: how far it has been read, with each batch), and the end of that.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from faust.types import TP

from stream_app.agents.payment_order import PaymentOrder
from stream_app.batch import Batch, BatchTopic, Outgoing
from stream_app.rehearsal import NOWHERE
from topics.columns import encode_columns
from topics.events import MerchantTransaction
from topics.spans import Spans

__all__ = ["BEHIND_S", "CLOCKS_S", "Ends", "PaymentClocks", "PaymentTimer"]

#: Payments that are read so long after they were written are a backlog.
BEHIND_S = 1.0

#: Seconds between two looks at partitions that get no batches, and at what waits.
CLOCKS_S = 0.5

#: What holds is told again after so long, so that a word of a worker that the group had given up does not stand.
_REPEAT_S = 30.0

_NAME = Spans.of([b"clock"])


class Ends:
    """Where the partitions end that a worker reads, and the generation in which the group gave them to it."""

    def __init__(self, app: Any) -> None:
        self._app = app

    @property
    def generation(self) -> int:
        """Counts the rebalances of the group."""
        return int(self._app.consumer_generation_id)

    def is_end(self, tp: TP, offset: int) -> bool:
        """Whether nothing has been written from `offset` on. Before there is a consumer, nothing ever is."""
        consumer = self._app._consumer
        end = consumer.highwater(tp) if consumer is not None and tp in consumer.ranges else None
        return consumer is None or (end is not None and offset >= end)

    def is_read(self, tp: TP) -> bool:
        """Whether everything written to a partition has been processed and committed: what is told by itself must not
        overtake payments in a transaction that is open."""
        consumer = self._app._consumer
        if consumer is None:
            return True
        tracker = consumer.ranges.get(tp)
        if tracker is None or tracker.in_flight or tracker.position is None:
            return False
        return self.is_end(tp, tracker.position) and (tracker.committable is None or consumer.lag(tp) == 0)


class PaymentClocks:
    """What a worker tells of its partitions of `paid`; all records go to every partition of `output`."""

    def __init__(self, ends: Ends, paid: BatchTopic, output: BatchTopic) -> None:
        self.ends = ends
        self._paid = paid
        self._output = output
        self._reached: dict[int, float] = {}
        #: Partition -> generation of the group, whether it keeps up, and when that was told.
        self._told: dict[int, tuple[int, bool, float]] = {}

    @property
    def topic(self) -> str:
        """The topic of payments."""
        return self._paid.name

    def before(self, batch: Batch) -> None:
        """Ahead of a batch's payments: where they are a backlog, that their partition does not keep up."""
        keeps_up = self._age(batch) <= BEHIND_S
        told = self._told.get(batch.partition)
        if not keeps_up and (told is None or told[0] != self.ends.generation or told[1]):
            batch.outgoing += self._tell(batch.partition, False)

    def after(self, batch: Batch) -> None:
        """Behind a batch's payments: how far they go, or that this was the last of a backlog."""
        partition = batch.partition
        newest = float(np.minimum(batch.columns.ts, batch.records.stamped_s()).max())
        self._reached[partition] = max(self._reached.get(partition, 0.0), newest)
        keeps_up = self._age(batch) <= BEHIND_S or self.ends.is_end(batch.tp, int(batch.offsets[-1]) + 1)
        told = self._told.get(partition)
        if not keeps_up or told is None or told[:2] != (self.ends.generation, True):
            batch.outgoing += self._tell(partition, keeps_up)

    def due(self, partitions: Iterable[int]) -> list[Outgoing]:
        """What there is to tell of partitions that get no batches: asked from time to time."""
        out: list[Outgoing] = []
        for partition in partitions:
            told = self._told.get(partition)
            stands = told is not None and told[0] == self.ends.generation
            if told is not None and stands and told[1] and time.monotonic() - told[2] < _REPEAT_S:
                continue
            is_read = self.ends.is_read(TP(self._paid.name, partition))
            if is_read or not stands:
                out += self._tell(partition, is_read)
        return out

    def wake(self, merchants: int) -> Outgoing:
        """A record that tells nothing: what has waited long enough in a partition of merchants goes on with it."""
        return Outgoing(self._output.name, _NAME, self._record(NOWHERE, False), merchants, None, None)

    @staticmethod
    def _age(batch: Batch) -> float:
        """How long ago the newest record of a batch was written, seconds."""
        return time.time() - float(batch.records.stamped_s().max())

    def _tell(self, partition: int, keeps_up: bool) -> list[Outgoing]:
        if partition == NOWHERE:
            return []
        self._told[partition] = (self.ends.generation, keeps_up, time.monotonic())
        values = self._record(partition, keeps_up)
        return [
            Outgoing(self._output.name, _NAME, values, merchants, None, None)
            for merchants in range(self._output.partitions)
        ]

    def _record(self, partition: int, keeps_up: bool) -> Spans:
        return encode_columns(
            MerchantTransaction, account_id=_NAME, merchant_id=_NAME, ts=self._reached.get(partition, 0.0),
            amount=0.0, card="", source="clock", origin=partition, generation=self.ends.generation, keeps_up=keeps_up,
        )  # fmt: skip


class PaymentTimer:
    """Tells what no batch does: that an idle partition keeps up, and that what waits has waited long enough."""

    def __init__(self, app: Any, clocks: PaymentClocks, order: PaymentOrder) -> None:
        self._app = app
        self.clocks = clocks
        self._order = order

    async def tell(self) -> None:
        """Called every `CLOCKS_S`. Under exactly_once this is in no transaction: nothing is committed with it."""
        consumer = self._app._consumer
        if consumer is None or self._app.rebalancing or self._app.in_recovery:
            return
        for out in self.due(sorted(tp.partition for tp in consumer.ranges if tp.topic == self.clocks.topic)):
            assert isinstance(out.partition, int)
            await self._app.outbox.send(out.topic, out.partition, out.keys, out.values)

    def due(self, partitions: Iterable[int]) -> list[Outgoing]:
        """What there is to tell of the partitions that this worker reads."""
        return self.clocks.due(partitions) + [self.clocks.wake(p) for p in self._order.overdue(time.time())]

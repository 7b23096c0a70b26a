"""Demand: purchases are counted by item and window where their users live, and sent on to the item's partition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_app.agents.origins import origin_headers
from stream_app.batch import Batch, BatchTopic, Outgoing
from stream_app.settings_shop import DemandSettings
from stream_app.state.columns import Column, Columns
from stream_app.state.shard import Shard
from stream_app.state.table import Table
from stream_app.transport.partitioning import partitions_of
from topics.columns import encode_columns
from topics.events import ItemCount
from topics.spans import Spans

__all__ = ["DemandCounts", "count_columns"]

#: Key of the records that say a window is over; they go to every partition of items.
_OVER = b"window"


def count_columns() -> Columns:
    """An item in one partition of users: its latest window, and how often it was bought in it."""
    return Columns(window=Column(np.float64, initial=-1), count=Column(np.float64))


class DemandCounts:
    """The agent of `purchases` that counts: when a window is over its counts go to `item-counts`."""

    def __init__(self, counts: Table, output: BatchTopic, settings: DemandSettings) -> None:
        self.counts = counts
        self.output = output
        self.settings = settings

    async def __call__(self, batch: Batch) -> None:
        """Count each purchase; what is late for its window is sent on at once, as an addition."""
        shard = self.counts.shard(batch.partition)
        newest = float(shard.column("window")[shard.live_rows()].max(initial=-1.0))
        rows, fresh = shard.admit(
            batch.columns.item_id, self.counts.source(batch.topic.name), batch.offsets, batch.columns.ts
        )
        taken = np.flatnonzero(fresh)
        rows, windows = rows[taken], np.floor(batch.columns.ts[taken] / self.settings.window_s)
        running = np.maximum.accumulate(np.append(newest, windows))
        starts = np.flatnonzero(np.diff(running) > 0)
        for begin, end in zip([0, *starts], [*starts, len(taken)], strict=True):
            if end <= begin:
                continue
            if running[begin + 1] > running[begin] and running[begin] >= 0:
                self._flush(batch, shard, running[begin], int(batch.offsets[taken[begin]]))
            self._add(batch, shard, rows[begin:end], windows[begin:end], running[begin + 1], taken[begin:end])

    def _add(
        self,
        batch: Batch,
        shard: Shard,
        rows: NDArray[np.int64],
        windows: NDArray[np.float64],
        window: float,
        places: NDArray[np.int64],
    ) -> None:
        now = windows == window
        mine = rows[now]
        count, of = shard.column("count"), shard.column("window")
        shard.touch(mine)
        count[mine[of[mine] != window]] = 0.0
        of[mine] = window
        np.add.at(count, mine, 1.0)
        for place, late in zip(places[~now].tolist(), windows[~now].tolist(), strict=True):
            one = np.array([place])
            self._send(batch, batch.columns.item_id.take(one), late, np.ones(1), batch.offsets[one])

    def _flush(self, batch: Batch, shard: Shard, window: float, offset: int) -> None:
        """The counts of the window that is over, the largest of them, and that it is."""
        count = shard.column("count")
        live = shard.live_rows()
        rows = live[count[live] > 0.0]
        order = np.lexsort((rows, -count[rows]))[: 2 * self.settings.items]
        sent = np.sort(rows[order])
        self._send(batch, shard.index.keys(sent), window, count[sent], np.full(len(sent), offset))
        shard.touch(rows)
        count[rows] = 0.0
        over = self._records(batch, Spans.of([_OVER]), window, np.zeros(1), True)
        for partition in range(self.output.partitions):
            batch.outgoing.append(Outgoing(self.output.name, Spans.of([_OVER]), over, partition, None, None))

    def _send(
        self, batch: Batch, items: Spans, window: float, counts: NDArray[np.float64], offsets: NDArray[np.int64]
    ) -> None:
        if not len(items):
            return
        batch.outgoing.append(
            Outgoing(
                self.output.name, items, self._records(batch, items, window, counts, False),
                partitions_of(items, self.output.partitions), None, origin_headers(batch.partition, offsets),
            )
        )  # fmt: skip

    def _records(self, batch: Batch, items: Spans, window: float, counts: NDArray[np.float64], is_over: bool) -> Spans:
        return encode_columns(
            ItemCount, item_id=items, ts=float(window) * self.settings.window_s, count=counts.astype(np.int64),
            origin=max(batch.partition, 0), is_over=np.full(len(items), 1 if is_over else -1, np.int8),
        )  # fmt: skip

"""Demand: counts of an item from all partitions of users become its history; of those wanted most the next window is
forecast -> `forecasts`. The estimates are made in another process, once a window and for all items together."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream_app.agents.origins import first_seen, origins_of
from stream_app.agents.refits import Refits
from stream_app.agents.watched_models import Coverage
from stream_app.batch import Batch, BatchTopic
from stream_app.metrics import Metrics
from stream_app.rehearsal import NOWHERE
from stream_app.settings_shop import DemandSettings
from stream_app.state.columns import Column, Columns
from stream_app.state.shard import Shard
from stream_app.state.table import Table
from topics.columns import encode_columns
from topics.decisions import Forecast
from topics.spans import Spans
from tsrec_models.arima.demand import MIN_PAST, DemandForecast, DemandJob

__all__ = ["DemandForecasts", "clock_columns", "demand_columns"]

#: A partition of users that has said nothing for so many windows is not waited for.
_STILL = 3

#: Items are chosen by their counts of so many of the latest windows.
_LATEST = 24

_CLOCK = Spans.of([b"clock"])


def demand_columns(partitions: int, windows: int) -> Columns:
    """An item: its counts of the latest windows (700 bytes for 168), and what was forecast of the next."""
    return Columns(
        origin=Column(np.int64, (partitions,), -1), first=Column(np.float64, initial=-1),
        newest=Column(np.float64, initial=-1), ring=Column(np.float32, (windows,)),
        told=Column(np.float64, initial=-1), lower=Column(np.float64), upper=Column(np.float64),
    )  # fmt: skip


def clock_columns(partitions: int) -> Columns:
    """One row: the latest window that each partition of users has told of, and the latest that was forecast from."""
    return Columns(origins=Column(np.float64, (partitions,), -1), closed=Column(np.float64, initial=-1))


class DemandForecasts:
    """The agent of `item-counts`."""

    def __init__(
        self,
        *,
        demand: Table,
        clock: Table,
        forecasts: BatchTopic,
        refits: Refits,
        settings: DemandSettings,
        metrics: Metrics,
    ) -> None:
        self.demand = demand
        self.clock = clock
        self.forecasts = forecasts
        self.refits = refits
        self.settings = settings
        self.metrics = metrics
        self._coverage = Coverage("item", settings.level, metrics)

    async def __call__(self, batch: Batch) -> None:
        """Take counts in; when all partitions have told of a window, forecast the next. A backlog is forecast once."""
        shard, clock = self.demand.shard(batch.partition), self.clock.shard(batch.partition)
        told = batch.columns
        windows = np.floor(told.ts / self.settings.window_s + 0.5)
        counted = np.flatnonzero(np.asarray(told.is_over) <= 0)
        if len(counted):
            self._take(batch.only(counted), shard, windows[counted])
        at = int(clock.locate(_CLOCK)[0])
        clock.touch(np.array([at]))
        origins = clock.column("origins")[at]
        over = np.flatnonzero(np.asarray(told.is_over) > 0)
        np.maximum.at(origins, told.origin[over] % len(origins), windows[over])
        latest = float(origins.max())
        ready = np.all((origins == latest) | (origins < latest - _STILL))
        window = latest if ready else latest - 1.0
        if window > clock.column("closed")[at] and window >= 0:
            clock.column("closed")[at] = window
            await self._forecast(batch, shard, window, batch.source(len(batch) - 1))

    def _take(self, batch: Batch, shard: Shard, windows: NDArray[np.float64]) -> None:
        told = batch.columns
        rows, fresh = shard.admit(told.item_id, self.demand.source(batch.topic.name), batch.offsets, told.ts)
        new = np.zeros(len(rows), np.bool_)
        first_seen(shard.column("origin"), rows, *origins_of(batch.records.header_spans), new)
        taken = np.flatnonzero(fresh & new)
        _add(
            shard.column("first"), shard.column("newest"), shard.column("ring"), rows[taken], windows[taken],
            told.count[taken].astype(np.float64),
        )  # fmt: skip

    async def _forecast(self, batch: Batch, shard: Shard, window: float, source: str) -> None:
        rows, counts = self._histories(shard, window)
        if not len(rows):
            return
        held = np.where(
            shard.column("told")[rows] == window,
            (shard.column("lower")[rows] <= counts[-1]) & (counts[-1] <= shard.column("upper")[rows]), np.nan,
        )  # fmt: skip
        found: DemandForecast = await self.refits.result(DemandJob(counts, self.settings.order, self.settings.level))
        shard.touch(rows)
        shard.column("told")[rows] = window + 1.0
        shard.column("lower")[rows], shard.column("upper")[rows] = found.lower, found.upper
        names = shard.index.keys(rows)
        values = encode_columns(
            Forecast, subject=names, ts=float(window + 1.0) * self.settings.window_s, horizon=1, mean=found.mean,
            lower=found.lower, upper=found.upper, level=self.settings.level,
            model="arima({},{},{})".format(*self.settings.order), step_s=self.settings.window_s, source=source,
            value=counts[-1],
        )  # fmt: skip
        batch.send(self.forecasts, names, values)
        if batch.partition != NOWHERE:
            self.metrics.decisions.labels("demand-forecast", "arima").inc(len(rows))
            self._coverage.take(held)

    def _histories(self, shard: Shard, window: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows of the items wanted most of late, and their counts [windows, items] up to `window`; NaN before an item
        was first wanted."""
        size = self.settings.windows
        live = shard.live_rows()
        first = shard.column("first")[live]
        live = live[(first >= 0) & (window - first + 1 >= MIN_PAST)]
        past = window - np.arange(size - 1.0, -1.0, -1.0)  # the windows, oldest first
        slots = (past % size).astype(np.int64)
        counts = shard.column("ring")[live][:, slots].astype(np.float64)
        counts[past[None, :] > shard.column("newest")[live][:, None]] = 0.0
        latest = counts[:, -_LATEST:].sum(axis=1)
        order = np.lexsort((live, -latest))[: self.settings.items]
        chosen = np.sort(order[latest[order] > 0])
        counts[past[None, :] < shard.column("first")[live][:, None]] = np.nan
        return live[chosen], np.ascontiguousarray(counts[chosen].T)


@njit(cache=True)
def _add(first, newest, ring, rows, windows, counts):  # type: ignore[no-untyped-def,untyped-decorator]  # pragma: no cover
    """Add counts to the windows of rows; one that is older than the ring is left out."""
    size = ring.shape[1]
    for i in range(len(rows)):
        row, window = rows[i], windows[i]
        if first[row] < 0:
            first[row], newest[row] = window, window
            ring[row, :] = 0.0
        if window > newest[row]:
            for k in range(int(min(window - newest[row], size))):
                ring[row, int((window - k) % size)] = 0.0
            newest[row] = window
        if window > newest[row] - size:
            ring[row, int(window % size)] += counts[i]
            first[row] = min(first[row], window)

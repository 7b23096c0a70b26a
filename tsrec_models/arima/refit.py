"""Refits off the hot path: recent values are kept, a pool estimates, parameters change between two events."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsrec_models.arima.bank import ArimaBank
from tsrec_models.arima.estimate import estimate
from tsrec_models.arima.filling import Gaps
from tsrec_models.arima.layout import Layout
from tsrec_models.arima.order import Order
from tsrec_models.arima.select import MAX_P, MAX_SEASONAL
from tsrec_models.base import ModelError

__all__ = ["Refitter", "widest_layout"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def widest_layout(period: int = 1) -> Layout:
    """The layout that holds every order the automatic choice may come to, for a season of `period` (1: none)."""
    season = period if period > 1 else 0
    return Layout(MAX_P + 1 + MAX_SEASONAL * season, 2 + season)


@dataclass
class _Job:
    rows: Ints
    future: Future[Floats]


class Refitter:
    """Keeps the last `memory` values of each series of `bank`, and refits series on request.

    `remember` with every update; `submit` on drift or on schedule; `swap` between two micro-batches: series whose
    new parameters are ready get them, and their state filtered anew from the values kept, those that came during the
    refit included. A failed refit leaves its series as they were and is raised by `swap`.

    `executor` is a process pool in the stream. Series with regressors are not kept here: ModelError.
    """

    def __init__(
        self,
        bank: ArimaBank,
        executor: Executor,
        memory: int = 500,
        order: Order | None = None,
        period: int = 1,
        gaps: Gaps = "kalman",
    ) -> None:
        if bank.layout.k:
            raise ModelError(
                "a bank with regressors cannot be refitted from its values alone: estimate and set_parameters"
            )
        wanted = widest_layout(period) if order is None else Layout(order.n_states, order.n_lags)
        if bank.layout.r < wanted.r or bank.layout.lags < wanted.lags:
            raise ModelError(f"the bank's {bank.layout} cannot hold every refit: make it with {wanted}")
        self.bank = bank
        self.executor = executor
        self.memory = memory
        self.order = order
        self.period = period
        self.gaps: Gaps = gaps
        self._values = np.full((bank.n_series, memory), np.nan)
        self._count = np.zeros(bank.n_series, dtype=np.int64)
        self._jobs: list[_Job] = []
        self._busy: set[int] = set()

    def remember(self, y: Floats, rows: Ints | None = None) -> None:
        """Keep one value y [n] for each of the distinct `rows`, NaN where missing."""
        rows = np.arange(len(self._values)) if rows is None else np.asarray(rows, dtype=np.int64)
        self._values[rows, self._count[rows] % self.memory] = y
        self._count[rows] += 1

    def history(self, row: int) -> Floats:
        """The values kept of a series, oldest first."""
        count = int(self._count[row])
        if count <= self.memory:
            return self._values[row, :count].copy()
        return np.roll(self._values[row], -(count % self.memory))

    def submit(self, rows: Sequence[int] | Ints) -> int:
        """Start a refit of `rows`, those already under way left out; returns how many were started."""
        chosen = [int(row) for row in rows if int(row) not in self._busy and self._count[int(row)] > 0]
        if not chosen:
            return 0
        histories = [self.history(row) for row in chosen]
        future = self.executor.submit(_refit, histories, self.order, self.period, self.gaps, self.bank.layout)
        self._jobs.append(_Job(np.array(chosen, dtype=np.int64), future))
        self._busy.update(chosen)
        return len(chosen)

    def ready(self) -> bool:
        """Whether some refit has finished."""
        return any(job.future.done() for job in self._jobs)

    def swap(self) -> Ints:
        """Put finished refits into the bank; returns the rows that changed. Raises what a failed refit raised."""
        finished = [job for job in self._jobs if job.future.done()]
        changed = []
        for job in finished:
            self._jobs.remove(job)
            self._busy.difference_update(job.rows.tolist())
            parameters = job.future.result()
            self.bank.set_parameters(job.rows, parameters)
            past = np.full((self.memory, len(job.rows)), np.nan)
            for i, row in enumerate(job.rows):
                values = self.history(int(row))
                past[self.memory - len(values) :, i] = values
            self.bank.filter(past, job.rows)
            changed.append(job.rows)
        return np.concatenate(changed) if changed else np.zeros(0, dtype=np.int64)

    def to_rows(self, rows: Ints) -> Floats:
        """Values kept and their count, [n, memory + 1], for a changelog."""
        return np.concatenate([self._values[rows], self._count[rows, None].astype(np.float64)], axis=1)

    def from_rows(self, rows: Ints, states: Floats) -> None:
        """Put back what `to_rows` gave."""
        self._values[rows] = states[:, :-1]
        self._count[rows] = states[:, -1].astype(np.int64)

    def resize(self, n_series: int) -> None:
        """Grow or shrink along with the bank."""
        values = np.full((n_series, self.memory), np.nan)
        count = np.zeros(n_series, dtype=np.int64)
        kept = min(n_series, len(self._values))
        values[:kept], count[:kept] = self._values[:kept], self._count[:kept]
        self._values, self._count = values, count


def _refit(histories: list[Floats], order: Order | None, period: int, gaps: Gaps, layout: Layout) -> Floats:
    """Runs in the pool: flat parameters [n, parameter_width]."""
    return estimate(histories, order, period=period, gaps=gaps).pack(layout)

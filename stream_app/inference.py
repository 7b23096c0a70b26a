"""Inference in a thread of its own, and the deadline ladder that decides what is worth asking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from stream_app.metrics import Metrics

__all__ = ["Inference", "Ladder"]

P = ParamSpec("P")
T = TypeVar("T")

#: Share of the newest measurement in the running estimate.
_SMOOTHING = 0.2

#: Batches of so few rows tell what an answer costs whatever its size.
_FEW_ROWS = 16


class Inference:
    """One thread: models are not asked by two callers at once, and the event loop never waits for a matrix."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in the thread. What waits is bounded by the lanes, one batch each."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **kwargs))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class Ladder:
    """Chooses the best rung that will answer in time, from what each has taken lately.

    A rung costs a fixed part and a part a row; both are learnt from every answer. A rung that was never asked is
    tried: its cost is unknown. One that was found too slow is tried again once in `RETRY` batches.
    """

    RETRY = 50

    def __init__(self, rungs: Sequence[str], budget_s: float, metrics: Metrics) -> None:
        self.rungs = tuple(rungs)
        self.budget_s = budget_s
        self._metrics = metrics
        self._cost_s: dict[str, tuple[float, float]] = {}
        self._skipped: dict[str, int] = {}

    def choose(self, rows: int, arrived_s: float, available: Sequence[str]) -> str:
        """The rung for a batch of `rows` that arrived at `arrived_s` (clock); the last one always answers."""
        left_s = self.budget_s - (time.time() - arrived_s)
        usable = [rung for rung in self.rungs if rung in available]
        for rung in usable[:-1]:
            fixed_s, row_s = self._cost_s.get(rung, (0.0, 0.0))
            if fixed_s + row_s * rows <= left_s:
                self._skipped[rung] = 0
                return rung
            self._skipped[rung] = self._skipped.get(rung, 0) + 1
            if self._skipped[rung] % self.RETRY == 0:
                return rung
            self._metrics.rung_skipped.labels(rung).inc()
        return usable[-1]

    def took(self, rung: str, rows: int, duration_s: float) -> None:
        """Learn from an answer."""
        fixed_s, row_s = self._cost_s.get(rung, (duration_s, 0.0))
        if rows > _FEW_ROWS:
            row_s += _SMOOTHING * (max(0.0, duration_s - fixed_s) / rows - row_s)
        else:
            fixed_s += _SMOOTHING * (duration_s - row_s * rows - fixed_s)
        self._cost_s[rung] = (max(0.0, fixed_s), row_s)
        self._metrics.inference.labels(rung).observe(duration_s)
        self._metrics.inference_batch.labels(rung).observe(rows)

"""Inference in a thread of its own, and the deadline ladder that decides what is worth asking."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, ParamSpec, TypeVar

from stream_app.metrics import Metrics

__all__ = ["Inference", "Ladder", "Merged"]

P = ParamSpec("P")
T = TypeVar("T")
Q = TypeVar("Q", bound=Sized)

#: Share of the newest measurement in the running estimate.
_SMOOTHING = 0.2

#: Where the deadline is lost whoever answers, a rung is asked that takes at most this share of the budget.
_LATE_SHARE = 0.25

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


class Merged(Generic[Q, T]):
    """Calls that wait for the inference thread, made as one.

    The calls of one turn of the loop go together, and so do those that come while the thread is busy: the busier it
    is, the more a call carries, and the less a row costs. work: takes requests, gives for each what came of it or the
    error that the caller shall see. max_rows: of a call, once it has more than one request.
    """

    def __init__(self, inference: Inference, work: Callable[[list[Q]], list[T | Exception]], max_rows: int) -> None:
        self._inference = inference
        self._work = work
        self._max_rows = max_rows
        self._waiting: deque[tuple[Q, asyncio.Future[T]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def ask(self, request: Q) -> T:
        """What `work` makes of `request`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((request, future))
        if self._running is None or self._running.done():
            self._running = loop.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            taken, rows = [self._waiting.popleft()], 0
            rows = len(taken[0][0])
            while self._waiting and rows + len(self._waiting[0][0]) <= self._max_rows:
                taken.append(self._waiting.popleft())
                rows += len(taken[-1][0])
            try:
                results = await self._inference.run(self._work, [request for request, _ in taken])
            except BaseException as error:
                for _, future in taken:
                    if not future.done():
                        future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                if not isinstance(error, Exception):
                    raise
                continue
            for (_, future), result in zip(taken, results, strict=True):
                if future.done():  # whoever asked is gone
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)


class Ladder:
    """Chooses the best rung that will answer in time, from what each has taken lately.

    A rung costs a fixed part and a part a row; both are learnt from every answer. A rung that was never asked is
    tried: its cost is unknown. One that was found too slow is tried again once in `RETRY` batches.

    Where a batch has waited so long that no rung would be in time, a poorer answer would be late too, and sooner by no
    more than the rungs differ: the best one answers that is quick.
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
        cost_s = {rung: self._cost_of(rung, rows) for rung in usable}
        if cost_s[usable[-1]] > left_s:
            left_s = _LATE_SHARE * self.budget_s
        for rung in usable[:-1]:
            if cost_s[rung] <= left_s:
                self._skipped[rung] = 0
                return rung
            self._skipped[rung] = self._skipped.get(rung, 0) + 1
            if self._skipped[rung] % self.RETRY == 0:
                return rung
            self._metrics.rung_skipped.labels(rung).inc()
        return usable[-1]

    def _cost_of(self, rung: str, rows: int) -> float:
        fixed_s, row_s = self._cost_s.get(rung, (0.0, 0.0))
        return fixed_s + row_s * rows

    def cost(self, rung: str) -> tuple[float, float] | None:
        """Seconds that an answer of a rung takes, and seconds a row more; None if it was never asked."""
        return self._cost_s.get(rung)

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

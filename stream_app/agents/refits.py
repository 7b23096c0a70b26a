"""New parameters for symbols, estimated in processes of their own while the stream goes on.

An estimate is a pure function of its job (`bar_refits.Job`), asked for at one bar and needed some bars later. So it may
be lost with a pool, or with the worker, and be made again: the stream that waits for it is the same.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
from collections import OrderedDict
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, Protocol, TypeVar

import numpy as np

from stream_app import cores
from stream_app.inference import Inference
from stream_app.metrics import Metrics
from tsrec_models.risk.bar_refits import GJR_FROM, Job, Refitted

__all__ = ["Refits", "Solvable"]

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Solvable(Protocol[T_co]):
    """A job whose result depends on nothing but what it holds; equal digests, equal results."""

    @property
    def digest(self) -> bytes: ...

    @property
    def is_cheap(self) -> bool: ...

    def solve(self) -> T_co: ...


logger = logging.getLogger(__name__)

#: Estimates under way or not fetched; older ones belong to partitions that others have by now.
_MOST_KEPT = 4096


class Refits:
    """Estimates in `processes` processes, started with the first job; 0: in the inference thread, when needed."""

    def __init__(self, processes: int, inference: Inference, metrics: Metrics) -> None:
        self.processes = processes
        self._inference = inference
        self._metrics = metrics
        self._pool: ProcessPoolExecutor | None = None
        self._futures: OrderedDict[bytes, Future[Any]] = OrderedDict()
        self._loading: Future[Any] | None = None

    def begin(self, job: Solvable[Any]) -> None:
        """Start an estimate, unless the same is under way. A cheap one does not wait for a process that still loads."""
        if not self.processes or job.digest in self._futures or (job.is_cheap and self._is_loading()):
            return
        try:
            self._futures[job.digest] = self._executor().submit(_solve, job)
        except BrokenProcessPool:
            self._give_up()
            return
        while len(self._futures) > _MOST_KEPT:
            self._futures.popitem(last=False)

    def warm_up(self, order: tuple[int, int, int]) -> None:
        """Start a process and let it load what it needs, so that the first estimate does not wait for that."""
        job = Job(0, 1e-4 * np.sin(np.arange(GJR_FROM + 1.0) ** 2), order)
        self.begin(job)
        self._loading = self._futures.pop(job.digest, None)

    async def result(self, job: Solvable[T]) -> T:
        """What the estimate found; waits for it, or makes it anew where it was lost."""
        self.begin(job)
        future = self._futures.pop(job.digest, None)
        if future is None:
            return await self._inference.run(job.solve)
        try:
            found: T = await asyncio.wrap_future(future)
            return found
        except BrokenProcessPool:
            self._give_up()
            return await self._inference.run(job.solve)

    def _is_loading(self) -> bool:
        return self._loading is not None and not self._loading.done()

    def count(self, found: Refitted) -> None:
        """Count what a symbol got."""
        kept = found.garch is None and bool(found.note)
        self._metrics.refits.labels("market", "kept" if kept else "new").inc()
        if kept:
            logger.debug("parameters kept: %s", found.note)

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _executor(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Spawned: a copy of a process with threads may hang in a lock that one of them held.
            self._pool = ProcessPoolExecutor(
                self.processes, mp_context=multiprocessing.get_context("spawn"), initializer=_set_up,
                initargs=(cores.own(),),
            )  # fmt: skip
        return self._pool

    def _give_up(self) -> None:
        """The pool has lost a process (killed, or out of memory): the next job gets a new one."""
        if self._pool is not None:
            logger.warning("a process that estimates parameters has ended; it is started anew")
        self.close()
        self._futures.clear()


def _solve(job: Solvable[T]) -> T:
    return job.solve()


def _set_up(own_cores: frozenset[int] | None) -> None:
    """In a new process: leave signals to the worker, and its core if it keeps to one; end with it whatever ends it."""
    cores.take(own_cores)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(0)

    threading.Thread(target=follow, name="follow-parent", daemon=True).start()

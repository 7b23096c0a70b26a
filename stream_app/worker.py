"""Run one worker process: logging, signals, an end within seconds whatever the broker does, one line for a failure."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing.util
import os
import sys
import threading
import time
from typing import Any, NoReturn

import faust
import uvloop
from aiokafka.errors import ProducerFenced
from mode import Service
from numba.core.event import install_recorder

from stream_app.errors import TsrecError
from stream_app.logs import set_up_logging
from stream_app.processor import Processor

__all__ = ["EXIT_DEADLINE", "EXIT_FAILURE", "Worker", "run_worker"]

logger = logging.getLogger(__name__)

#: Exit code of a worker that had to be ended by its deadline. Nothing is lost: what was not committed is read again.
EXIT_DEADLINE = 4
#: Exit code of a worker that failed, where the error does not say another.
EXIT_FAILURE = 1

#: Seconds that a failed worker tries to leave its group, so that others need not wait for its session to end.
_LEAVE_S = 2.0


class Worker(faust.Worker):  # type: ignore[misc]
    """Faust's worker, with a deadline on its end and an end of its own when something in it failed.

    Faust waits for the broker to acknowledge the last commit, ignores SIGTERM while it still connects, and goes on
    waiting after a crash; with the broker down each takes for ever.
    """

    def __init__(self, app: Processor, *, shutdown_timeout_s: float, **options: Any) -> None:
        self.shutdown_timeout_s = shutdown_timeout_s
        super().__init__(app, **options)

    async def on_first_start(self) -> None:
        self.install_signal_handlers()
        began = time.monotonic()
        with install_recorder("numba:compile") as compiled:  # nothing is recorded of kernels that are found on disk
            await self.app.rehearse()
        if compiled.buffer:
            took = time.monotonic() - began
            logger.info("kernels compiled in %.0f s; the next start finds them on disk", took)
        await super().on_first_start()

    async def on_startup_finished(self) -> None:
        """Faust would write to the terminal here."""

    def run(self) -> int:
        """Run until a signal or a failure; the exit code."""
        code: int = self.loop.run_until_complete(self._run())
        return code

    async def _run(self) -> int:
        running = self._starting_fut = asyncio.ensure_future(self.start())
        failed = asyncio.ensure_future(self.app.failed.wait())
        await asyncio.wait({running, failed}, return_when=asyncio.FIRST_COMPLETED)
        failure = self.app.failure
        if running.done() and not running.cancelled():
            failure = failure or running.exception() or self.crash_reason
        if failure is not None and not self._signal_stop_time:
            return await self._fail(failure)
        if self._signal_stop_future is not None:
            await self._signal_stop_future
        return 0

    async def _fail(self, failure: BaseException) -> int:
        """Say once what it was. Memory is ahead of what is committed, so nothing more is written: whoever has the
        partitions next reads from the last commit."""
        if isinstance(failure, TsrecError):
            logger.error("%s", failure)
        elif isinstance(failure, ProducerFenced):
            logger.error(
                "another worker has this worker's partitions by now, since this one did not answer for longer than its "
                "session or transaction lasts; it ends, and what it had not committed was never seen (ProducerFenced)"
            )
        else:
            logger.error("the worker failed and ends; nothing is lost: %r", failure, exc_info=failure)
        self._start_deadline(_LEAVE_S + 1.0, int(getattr(failure, "exit_code", EXIT_FAILURE)))
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self.app.leave_group(), _LEAVE_S)
        _end(int(getattr(failure, "exit_code", EXIT_FAILURE)))

    def _schedule_shutdown(self, signal: Any) -> None:
        self._start_deadline(self.shutdown_timeout_s, EXIT_DEADLINE)
        super()._schedule_shutdown(signal)

    def _start_deadline(self, seconds: float, code: int) -> None:
        timer = threading.Timer(seconds, self._end_now, (seconds, code))
        timer.daemon = True
        timer.start()

    def _end_now(self, seconds: float, code: int) -> NoReturn:
        logger.warning("the worker did not end within %g s (is the broker down?); ended now, nothing is lost", seconds)
        _end(code)


def _end(code: int) -> NoReturn:
    """End at once: threads of the client that hang in a dead connection would hold up an ordinary exit."""
    # Names of semaphores shared with the processes that estimate; Python would complain of a leak at every end.
    multiprocessing.util._run_finalizers(0)  # type: ignore[attr-defined]
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def run_worker(app: Processor, *, log_level: str = "INFO", shutdown_timeout_s: float = 10.0) -> NoReturn:
    """Run `app` until SIGTERM or SIGINT.

    Exit codes: 0 after a clean end, 4 if the end had to be forced after `shutdown_timeout_s`, else what the failure's
    `exit_code` says (1 where it has none).
    """
    uvloop.install()
    set_up_logging(log_level)
    Service.mundane_level = "debug"  # "Starting…", "Stopping…" of each of Faust's services
    worker = Worker(
        app, shutdown_timeout_s=shutdown_timeout_s, loglevel=log_level.lower(), quiet=True, redirect_stdouts=False,
        override_logging=False,
    )  # fmt: skip
    _end(worker.run())

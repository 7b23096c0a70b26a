"""Run one worker process: logging, signals, and an end within seconds whatever the broker does."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import Any

import faust
import uvloop

from stream_app.processor import Processor

__all__ = ["Worker", "run_worker"]

logger = logging.getLogger(__name__)

#: Exit code of a worker that had to be ended by its deadline. Nothing is lost: what was not committed is read again.
EXIT_DEADLINE = 4


class Worker(faust.Worker):  # type: ignore[misc]
    """Faust's worker, with a deadline on its end.

    Faust waits for the broker to acknowledge the last commit, and ignores SIGTERM while it still connects; with the
    broker down either takes for ever.
    """

    def __init__(self, app: Processor, *, shutdown_timeout_s: float, **options: Any) -> None:
        self.shutdown_timeout_s = shutdown_timeout_s
        super().__init__(app, **options)

    async def on_first_start(self) -> None:
        began = time.monotonic()
        await self.app.rehearse()
        if (took := time.monotonic() - began) > 1.0:
            logger.info("kernels compiled in %.0f s; the next start finds them on disk", took)
        await super().on_first_start()

    def _schedule_shutdown(self, signal: Any) -> None:
        timer = threading.Timer(self.shutdown_timeout_s, self._end_now)
        timer.daemon = True
        timer.start()
        super()._schedule_shutdown(signal)

    def _end_now(self) -> None:
        logger.warning(
            "the worker did not end within %g s (is the broker down?); ended now, nothing is lost",
            self.shutdown_timeout_s,
        )
        logging.shutdown()
        os._exit(EXIT_DEADLINE)


def set_up_logging(level: str) -> None:
    """One line an event on stderr; Faust and aiokafka say no more than asked (they default to DEBUG, a tenth of the
    time of a busy worker)."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    quiet = level if level != "DEBUG" else "INFO"
    for name in ("faust", "mode", "aiokafka", "asyncio", "numba"):
        logging.getLogger(name).setLevel(
            quiet if name == "faust" else max(logging.WARNING, logging.getLevelName(quiet))
        )


def run_worker(app: Processor, *, log_level: str = "INFO", shutdown_timeout_s: float = 10.0) -> None:
    """Run `app` until SIGTERM or SIGINT; never returns. Exit code 0 after a clean end."""
    uvloop.install()
    set_up_logging(log_level)
    worker = Worker(
        app, shutdown_timeout_s=shutdown_timeout_s, loglevel=log_level.lower(), quiet=True, redirect_stdouts=False,
        override_logging=False,
    )  # fmt: skip
    worker.execute_from_commandline()

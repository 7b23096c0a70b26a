"""One line an event on stderr, and no storms: what a client library repeats is said once in a while."""

from __future__ import annotations

import logging
import sys
import time

__all__ = ["set_up_logging"]

#: Seconds before the same complaint of a client library is printed again.
REPEAT_S = 30.0


class _Quiet(logging.Filter):
    """Drops repetitions of the Kafka client's complaints, and what Faust's services say of themselves: each step of
    starting and stopping, and several accounts of one crash (the worker gives its own)."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = str(record.msg)
        if "Crashed reason=" in text or (record.levelno <= logging.INFO and text.startswith("[^")):
            return False
        if not record.name.startswith(("aiokafka", "mode", "faust", "asyncio")):
            return True
        key, now = (record.name, text), time.monotonic()
        if now - self._said.get(key, float("-inf")) < REPEAT_S:
            return False
        self._said[key] = now
        return True


def set_up_logging(level: str) -> None:
    """Log to stderr from `level` on; of Faust and its clients only warnings (they default to DEBUG, a tenth of the
    time of a busy worker)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    if level != "DEBUG":
        handler.addFilter(_Quiet())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    theirs = logging.INFO if level == "DEBUG" else max(logging.WARNING, logging.getLevelName(level))
    for name in ("faust", "mode", "aiokafka", "asyncio", "numba"):
        logging.getLogger(name).setLevel(theirs)
    logging.getLogger("mode.timers").setLevel(logging.ERROR)  # a checkpoint that takes longer than its interval

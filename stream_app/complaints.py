"""Failures of records in the log: enough to find the cause, not a traceback for each of a hundred thousand."""

from __future__ import annotations

import logging
import time

__all__ = ["Complaints"]

#: Seconds in which failures of one agent and kind are one entry.
EVERY_S = 10.0


class Complaints:
    """Logs the first failure of an agent and kind of error with its traceback; those that follow it are counted, and
    the next entry says how many they were. The dead letters have them all."""

    def __init__(self, logger: logging.Logger, every_s: float = EVERY_S) -> None:
        self._logger = logger
        self._every_s = every_s
        self._seen: dict[tuple[str, type[BaseException]], tuple[float, int]] = {}

    def failed(self, agent: str, source: str, error: BaseException) -> None:
        """`agent` cannot process the record at `source`."""
        kind, now = (agent, type(error)), time.monotonic()
        logged_at, more = self._seen.get(kind, (float("-inf"), 0))
        if now - logged_at < self._every_s:
            self._seen[kind] = logged_at, more + 1
            return
        self._seen[kind] = now, 0
        before = f" ({more:,} more like it since the last entry)" if more else ""
        self._logger.error("agent %s cannot process %s%s", agent, source, before, exc_info=error)

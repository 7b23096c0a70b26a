"""Which cores a process runs on.

The threads of a worker share one interpreter, so they take turns. Turns across cores cost a wake-up of a sleeping core
each, thousands of times a second; on one core they cost a switch.
"""

from __future__ import annotations

import logging
import os

from stream_app.errors import UsageError

__all__ = ["keep_to", "own", "take"]

logger = logging.getLogger(__name__)

_before: frozenset[int] | None = None


def keep_to(core: int) -> None:
    """Keep this thread, and the threads and processes it starts from now on, to one core.

    Raises:
        UsageError: if this process may not run on that core.
    """
    if not hasattr(os, "sched_setaffinity"):
        logger.warning("core=%d has no effect: this system lets no process choose its cores", core)
        return
    allowed = os.sched_getaffinity(0)
    if core not in allowed:
        raise UsageError(f"core: this process may run on cores {_listed(allowed)}, not on {core}")
    global _before
    _before = frozenset(allowed)
    os.sched_setaffinity(0, {core})


def own() -> frozenset[int] | None:
    """The cores this process had before `keep_to`; None if it was not called. For processes that work beside it."""
    return _before


def take(cores: frozenset[int] | None) -> None:
    """Run on `cores`, what `own` says in the process that started this one; None: as it is."""
    if cores is not None:
        os.sched_setaffinity(0, cores)


def _listed(cores: set[int]) -> str:
    return ", ".join(str(core) for core in sorted(cores))

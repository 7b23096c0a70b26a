"""Processes that do not outlive the one that started them, however that one ends."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

__all__ = ["ends_with_us", "unwind_when_terminated"]

_PR_SET_PDEATHSIG = 1


def ends_with_us(how: signal.Signals = signal.SIGTERM) -> Callable[[], None] | None:
    """A `preexec_fn`: the kernel sends `how` to the child when its parent is gone, killed or not.

    Linux only, and only from the main thread: the kernel means the thread that started the child, and others end early.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # bound here: between fork and exec nothing may be looked up
    return lambda: prctl(_PR_SET_PDEATHSIG, int(how), 0, 0, 0)


def unwind_when_terminated() -> None:
    """SIGTERM (`timeout`, a supervisor) and SIGHUP (a terminal that is closed) end the program as Ctrl-C does: what is
    borrowed is given back on the way out."""

    def unwind(signum: int, _: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, unwind)

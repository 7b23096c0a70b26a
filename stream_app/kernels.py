"""Kernels that let go of the interpreter's lock where there is enough work, and hold it where there is not.

A thread that lets go of the lock gets it back when whoever took it lets go in turn, or after the switch interval of
5 ms. Around a loop over ten rows, a few microseconds, that is a bad bargain: with two dozen such calls a batch the loop
of the stream stands in line most of its time behind the inference thread. Around a thousand rows it is a good one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any

from numba import njit

__all__ = ["RELEASED_ROWS", "releasing"]

#: Rows from which on a kernel lets go of the lock: some ten microseconds of work.
RELEASED_ROWS = 256


def releasing(rows: Callable[..., int]) -> Callable[[Any], Any]:
    """Compile a kernel twice, and at each call take the one that suits the number of rows, `rows` of the arguments.

    For callers in Python: a kernel that other kernels call is `njit` as ever.
    """

    def decorate(function: Any) -> Any:
        holding = njit(cache=True)(function)
        # Numba's cache tells functions apart by their qualified names, and does not look at how they are compiled.
        twin = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
        twin.__qualname__, twin.__module__ = f"{function.__qualname__}_releasing", function.__module__
        letting_go = njit(cache=True, nogil=True)(twin)

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            return (letting_go if rows(*args) >= RELEASED_ROWS else holding)(*args)

        call.holding, call.letting_go = holding, letting_go  # type: ignore[attr-defined]
        return call

    return decorate

"""How many threads training multiplies with: all cores where they are free, one where others use them.

The threads of a product wait for the slowest. On a machine that other processes keep busy that one may be off its core
for milliseconds while the others spin, and two threads were seen to take ten times as long as one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["choose_threads", "restored_threads"]

#: The product that is timed, about one chunk of the full softmax: [rows, width] x [width, columns].
_ROWS, _WIDTH, _COLUMNS = 512, 64, 4096

#: Products timed each way; their mean counts, because a wait now and then is the very thing to be seen.
_REPEATS = 20


def choose_threads(most: int) -> int:
    """Let torch use `most` threads or one, whichever multiplies faster now; the number chosen. Takes some 0.1 s."""
    if most <= 1:
        return 1
    many, one = _seconds(most), _seconds(1)
    chosen = most if many < one else 1
    torch.set_num_threads(chosen)
    return chosen


@contextmanager
def restored_threads() -> Iterator[int]:
    """Gives torch's number of threads and sets it again at the end."""
    before = torch.get_num_threads()
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def _seconds(threads: int) -> float:
    torch.set_num_threads(threads)
    left, right = torch.ones(_ROWS, _WIDTH), torch.ones(_WIDTH, _COLUMNS)
    torch.mm(left, right)
    started = time.perf_counter()
    for _ in range(_REPEATS):
        torch.mm(left, right)
    return time.perf_counter() - started

"""Large arrays that grow without moving: address space is reserved at once, memory is taken page by page as touched."""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray

__all__ = ["RESERVE_BYTES", "reserve"]

#: Address space for the rows of one shard. A 64-bit process has 2,000 times as much; only touched pages cost memory.
RESERVE_BYTES = 1 << 36

#: Where the system grants no more than this at a time, the rows are moved to twice the space when it is full.
SMALLEST_BYTES = 1 << 20

#: Linux; the constant has no name in Python 3.11. Elsewhere the flag is left out.
_NO_RESERVE = 0x4000 if hasattr(mmap, "MAP_POPULATE") else 0


def reserve(wanted: int = RESERVE_BYTES, least: int = SMALLEST_BYTES) -> NDArray[np.uint8]:
    """Zeros, uint8 [n]: `wanted` bytes, or as much as the system grants down to `least` (limits on address space,
    strict overcommit). MemoryError if not even that."""
    size = max(wanted, least)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
    while True:
        try:
            return np.frombuffer(mmap.mmap(-1, size, flags=flags), np.uint8)
        except (OSError, ValueError, OverflowError) as error:
            if size <= least:
                raise MemoryError(f"no {least:,} bytes for the rows of a table") from error
            size = max(least, size // 2)

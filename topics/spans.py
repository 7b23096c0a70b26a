"""Columns of byte strings over one buffer: what keys and values of a record batch are before anyone copies them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Spans"]


class Spans:
    """`n` byte strings as (start, end) into one buffer; a null has start = end = -1.

    data: uint8 [bytes]; start, end: int64 [n]. Nothing is copied until a string is asked for.
    """

    __slots__ = ("data", "end", "start")

    def __init__(self, data: NDArray[np.uint8], start: NDArray[np.int64], end: NDArray[np.int64]) -> None:
        self.data = data
        self.start = start
        self.end = end

    @classmethod
    def of(cls, values: Iterable[bytes | None]) -> Spans:
        """Spans of ordinary byte strings (copied once into one buffer)."""
        parts = list(values)
        sizes = np.fromiter((len(v) if v is not None else 0 for v in parts), np.int64, len(parts))
        end = np.cumsum(sizes)
        start = end - sizes
        null = np.fromiter((v is None for v in parts), np.bool_, len(parts))
        start[null] = end[null] = -1
        return cls(np.frombuffer(b"".join(v for v in parts if v is not None), np.uint8), start, end)

    @classmethod
    def joined(cls, parts: Sequence[Spans]) -> Spans:
        """The strings of `parts` one after another, over one new buffer that holds the parts' whole buffers."""
        first = np.cumsum([0, *(len(part.data) for part in parts[:-1])])
        start = np.concatenate([part.start for part in parts])
        end = np.concatenate([part.end for part in parts])
        move = np.repeat(first, [len(part) for part in parts])
        move[start < 0] = 0
        return cls(np.concatenate([part.data for part in parts]), start + move, end + move)

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, i: int) -> bytes | None:
        start = int(self.start[i])
        return None if start < 0 else self.data[start : int(self.end[i])].tobytes()

    def __iter__(self) -> Iterator[bytes | None]:
        return iter(self.tolist())

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Spans:
        """The spans at `rows` (indices or a mask), over the same buffer."""
        return Spans(self.data, self.start[rows], self.end[rows])

    def tolist(self) -> list[bytes | None]:
        """Every string as bytes."""
        view = self.data.tobytes()
        return [view[a:b] if a >= 0 else None for a, b in zip(self.start.tolist(), self.end.tolist(), strict=True)]

    def nbytes(self) -> int:
        """Total length of the strings in bytes."""
        return int((self.end - self.start).sum())

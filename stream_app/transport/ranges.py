"""Which offsets of a partition may be committed when whole batches are acknowledged, in any order."""

from __future__ import annotations

from collections import deque

__all__ = ["RangeTracker"]


class RangeTracker:
    """Batches in the order they were delivered; committable is the end of the first unbroken run of finished ones.

    A batch covers [fetch_offset, next_offset): control records and gaps left by compaction with it.
    """

    __slots__ = ("_done", "_expected", "_pending", "committable", "generation")

    def __init__(self, position: int | None = None, generation: int = 0) -> None:
        self._pending: deque[int] = deque()
        self._done: set[int] = set()
        self._expected = position
        self.committable: int | None = None
        #: Number of the seek that set the position; batches read after another one are not counted here.
        self.generation = generation

    def delivered(self, fetch_offset: int, next_offset: int) -> int:
        """A batch of [fetch_offset, next_offset) is handed out; how far it lies from where the last one ended.

        0 is the rule. More: the broker has deleted what was between (retention). Less: the partition is shorter than
        it was (the topic was made anew, or a broker has lost its end).
        """
        gap = 0 if self._expected is None else fetch_offset - self._expected
        self._pending.append(next_offset)
        self._expected = next_offset
        return gap

    def finished(self, next_offset: int) -> bool:
        """That batch has been processed; whether `committable` moved. Unknown ones are ignored."""
        if next_offset not in self._pending:
            return False
        self._done.add(next_offset)
        moved = False
        while self._pending and self._pending[0] in self._done:
            end = self._pending.popleft()
            self._done.discard(end)
            self.committable = end
            moved = True
        return moved

    @property
    def position(self) -> int | None:
        """Where the next batch begins."""
        return self._expected

    @property
    def in_flight(self) -> int:
        """Batches handed out and not finished."""
        return len(self._pending)

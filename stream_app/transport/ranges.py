"""Which offsets of a partition may be committed when whole batches are acknowledged, in any order."""

from __future__ import annotations

from collections import deque

__all__ = ["RangeTracker"]


class RangeTracker:
    """Batches in the order they were delivered; committable is the end of the first unbroken run of finished ones.

    A batch covers [fetch_offset, next_offset): control records and gaps left by compaction with it. Batches must
    follow one another; one that does not (it was fetched before a seek) is refused.
    """

    __slots__ = ("_done", "_expected", "_pending", "committable", "generation")

    def __init__(self) -> None:
        self._pending: deque[int] = deque()
        self._done: set[int] = set()
        self._expected: int | None = None
        self.committable: int | None = None
        self.generation = 0

    def delivered(self, fetch_offset: int, next_offset: int) -> bool:
        """A batch of [fetch_offset, next_offset) is handed out; False if it is not the next one."""
        if self._expected is not None and fetch_offset != self._expected:
            return False
        self._pending.append(next_offset)
        self._expected = next_offset
        return True

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

    def reset(self, position: int | None) -> None:
        """The position was moved to `position` (None: where the reset policy says); what was in flight comes again."""
        self._pending.clear()
        self._done.clear()
        self._expected = position
        self.committable = None
        self.generation += 1

    @property
    def in_flight(self) -> int:
        """Batches handed out and not finished."""
        return len(self._pending)

"""How long a worker may surely write for its partitions: as long as the group has not given it up.

A worker that was paused (a suspended machine, a long stop of the process) does not know that its partitions belong to
another by now. Outputs it sends then are only repeated, but a changed row would lie in the changelog after newer
ones of the new owner. So rows are written only while the last heartbeat is younger than the session timeout.
"""

from __future__ import annotations

import time

__all__ = ["Lease"]

#: Runs on while the machine is suspended, where the system has such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

#: Part of the session timeout that is left for what is under way to reach the broker.
_MARGIN = 0.2


class Lease:
    """Renewed by each heartbeat that the coordinator answers; shared between the consumer's thread and the main one."""

    def __init__(self, session_timeout_s: float) -> None:
        self._duration_s = session_timeout_s * (1 - _MARGIN)
        self._until = 0.0

    @staticmethod
    def now() -> float:
        """Seconds of the lease's clock."""
        return time.clock_gettime(_CLOCK)

    def renew(self, asked_at: float) -> None:
        """A heartbeat that was sent at `asked_at` (of `now`) has been answered: the session lasts from then on."""
        self._until = max(self._until, asked_at + self._duration_s)

    def revoke(self) -> None:
        """The group has given this worker up."""
        self._until = 0.0

    @property
    def valid(self) -> bool:
        """Whether the partitions are surely still ours."""
        return self.now() < self._until

"""Sliding windows over histories: fixed-length stretches of a user's items, each with the item that came next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsrec_models.preparation.log import Log, LogError

__all__ = ["Windows", "sliding_windows"]

#: Fills the front of windows of histories shorter than a window.
PADDING = -1


@dataclass(frozen=True)
class Windows:
    """Windows of items, oldest first, PADDING in front; what came next; and whose they are."""

    items: NDArray[np.int64]  # [windows, length]
    times: NDArray[np.float64]  # [windows, length] epoch seconds, NaN where padded
    targets: NDArray[np.int64]  # [windows]
    target_times: NDArray[np.float64]  # [windows]
    users: NDArray[np.int64]  # [windows]

    def __len__(self) -> int:
        return len(self.targets)


def sliding_windows(log: Log, length: int, *, stride: int = 1, shortest: int = 1) -> Windows:
    """Windows of `length` events ending before every `stride`-th event of a user, counted from the user's last.

    An event is a target if at least `shortest` events of its user come before it.

    Raises LogError if a size is below 1.
    """
    if min(length, stride, shortest) < 1:
        raise LogError(f"windows: length {length}, stride {stride} and shortest {shortest} must be at least 1")
    rows = np.arange(len(log))
    starts, ends = log.indptr[log.users], log.indptr[log.users + 1]
    targets = rows[(rows - starts >= shortest) & ((ends - 1 - rows) % stride == 0)]
    places = targets[:, None] - np.arange(length, 0, -1)  # rows of the log, may reach into another user's
    inside = places >= starts[targets][:, None]
    places = np.where(inside, places, 0)
    empty = not len(log)
    return Windows(
        np.where(inside, log.items[places], PADDING) if not empty else places,
        np.where(inside, log.times[places], np.nan) if not empty else places.astype(np.float64),
        log.items[targets],
        log.times[targets],
        log.users[targets],
    )

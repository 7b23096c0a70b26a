"""A second model tried beside the one that answers: both lists of some users, and which of them named what came next.

Prequential: a list is made before the event that judges it. The shadow's list goes the same way as the live one, with
the same rules and filters, so what differs is the model. Users are drawn by the hash of their id: the same ones always,
and their lists follow each other. Called in the inference thread only.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_app.metrics import Metrics
from stream_app.settings_shop import TrialSettings

__all__ = ["Trial", "Tried"]


@dataclass(frozen=True, slots=True)
class Tried:
    """Both models' items for one user."""

    version: tuple[str, str]
    live: frozenset[int]
    shadow: frozenset[int]


class Trial:
    """Which users are compared, and their last two lists; bounded."""

    #: Events of one call that are scored a second time: the thread serves the stream first.
    MOST_AT_ONCE = 32

    def __init__(self, settings: TrialSettings, metrics: Metrics) -> None:
        self.settings = settings
        self._metrics = metrics
        self._lists: OrderedDict[bytes, Tried] = OrderedDict()
        self._limit = int(settings.share * (1 << 32))

    def drawn(self, users: list[bytes | None]) -> NDArray[np.int64]:
        """Which of `users` are compared: at most `MOST_AT_ONCE` places."""
        chosen = [i for i, user in enumerate(users) if user and zlib.crc32(user) < self._limit]
        return np.array(chosen[: self.MOST_AT_ONCE], np.int64)

    def judge(self, user: bytes, item: int, history: NDArray[np.int64], version: tuple[str, str]) -> None:
        """An event came of `user`, who had `history` before (items that lists leave out judge nothing)."""
        tried = self._lists.get(user)
        if tried is None or tried.version != version or (history == item).any():
            return
        self._metrics.trial_events.inc()
        if item in tried.live:
            self._metrics.trial_hits.labels("live").inc()
        if item in tried.shadow:
            self._metrics.trial_hits.labels("shadow").inc()

    def keep(self, user: bytes, tried: Tried) -> None:
        """The lists that the next event of `user` is compared with."""
        self._lists[user] = tried
        self._lists.move_to_end(user)
        if len(self._lists) > self.settings.users:
            self._lists.popitem(last=False)

    def clear(self) -> None:
        """Forget all lists."""
        self._lists.clear()

    def __len__(self) -> int:
        return len(self._lists)

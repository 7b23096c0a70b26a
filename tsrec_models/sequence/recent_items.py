"""Base of the counting recommenders: a user's state is the latest items taken, and when the last was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.dense_topk import dense_topk
from tsrec_models.sequence.intervals import CLOCK_WIDTH, pack_clock, unpack_clock
from tsrec_models.sequence.topk import pack_ragged

__all__ = ["RecentItems", "latest_items", "previous_items"]

#: float32 holds every integer up to this one; a state of float32 can name no more items.
_MOST_ITEMS = 1 << 24


class RecentItems:
    """State row: [day and second of the last event, the `width` latest items, the last of them first, -1 for none].

    A subclass scores all items from the latest ones. Items outside 0 .. n_items - 1 are ignored in scoring.
    """

    name: ClassVar[str]

    #: Scores are not negative and 0 means no evidence, unlike the logits of a network; a blend needs to know.
    scores_are_counts: ClassVar[bool] = True

    def __init__(self, n_items: int, width: int) -> None:
        if n_items > _MOST_ITEMS:
            raise ModelError(f"{self.name}: {n_items} items, but a float32 state can name at most {_MOST_ITEMS}")
        self.n_items = n_items
        self.width = width
        self.state_width = CLOCK_WIDTH + width

    def score_recent(self, recent: NDArray[np.int64], at: NDArray[np.float64]) -> NDArray[np.float32]:
        """Scores [batch, n_items] after `recent` [batch, width], latest first, at times `at` (NaN: not known)."""
        raise NotImplementedError

    def initial_state(self, n: int) -> NDArray[np.float32]:
        """State of `n` users without events: [n, state_width]."""
        state = np.full((n, self.state_width), -1.0, dtype=np.float32)
        state[:, :CLOCK_WIDTH] = pack_clock(np.full(n, np.nan))
        return state

    def step(
        self, state: NDArray[np.float32], items: NDArray[np.int64], times: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """New state [batch, state_width] after one event each: `items` [batch], `times` [batch] epoch seconds."""
        self._check(state)
        result = np.empty_like(state)
        result[:, :CLOCK_WIDTH] = pack_clock(np.asarray(times, dtype=np.float64))
        if self.width:
            result[:, CLOCK_WIDTH] = items
            result[:, CLOCK_WIDTH + 1 :] = state[:, CLOCK_WIDTH:-1]
        return result

    def encode(
        self, histories: Sequence[NDArray[np.int64]], times: Sequence[NDArray[np.float64]] | None = None
    ) -> NDArray[np.float32]:
        """State [batch, state_width] of whole histories; without `times`, events are one second apart."""
        if times is not None and len(times) != len(histories):
            raise ModelError(f"encode: {len(histories)} histories but {len(times)} lists of times")
        state = self.initial_state(len(histories))
        indptr, items = pack_ragged(histories)
        lengths = np.diff(indptr)
        some = lengths > 0
        last = np.full(len(histories), np.nan)
        last[some] = lengths[some] - 1.0 if times is None else [part[-1] for part in times if len(part)]
        state[:, :CLOCK_WIDTH] = pack_clock(last)
        state[:, CLOCK_WIDTH:] = latest_items(indptr, items, self.width)
        return state

    def scores(self, state: NDArray[np.float32], at: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
        """Scores of all items [batch, n_items]; `at` [batch]: when the list is asked for (default: the last event)."""
        self._check(state)
        when = unpack_clock(state[:, :CLOCK_WIDTH]) if at is None else np.asarray(at, dtype=np.float64)
        return self.score_recent(np.ascontiguousarray(state[:, CLOCK_WIDTH:]).astype(np.int64), when)

    def topk(
        self,
        state: NDArray[np.float32],
        k: int,
        exclude: Sequence[NDArray[np.int64]] | None = None,
        at: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The `k` best items and scores, both [batch, k], best first; see `SequenceRecommender.topk`."""
        return dense_topk(self.scores, self.n_items, state, k, exclude, at)

    def _check(self, state: NDArray[np.float32]) -> None:
        if state.ndim != 2 or state.shape[1] != self.state_width:
            raise ModelError(f"{self.name}: state must be [batch, {self.state_width}], got {list(state.shape)}")


@njit(cache=True)
def latest_items(indptr: NDArray[np.int64], items: NDArray[np.int64], m: int) -> NDArray[np.int64]:
    """The `m` latest items of ragged histories [n], latest first, -1 where there are fewer: [n, m]."""
    n = len(indptr) - 1
    out = np.full((n, m), -1, dtype=np.int64)
    for row in range(n):
        for j in range(min(m, indptr[row + 1] - indptr[row])):
            out[row, j] = items[indptr[row + 1] - 1 - j]
    return out


@njit(cache=True)
def _previous(
    rows: NDArray[np.int64], users: NDArray[np.int64], indptr: NDArray[np.int64], items: NDArray[np.int64], m: int
) -> NDArray[np.int64]:
    out = np.full((len(rows), m), -1, dtype=np.int64)
    for i in range(len(rows)):
        row = rows[i]
        for j in range(min(m, row - indptr[users[row]])):
            out[i, j] = items[row - 1 - j]
    return out


def previous_items(log: Log, rows: NDArray[np.int64], m: int) -> NDArray[np.int64]:
    """What the same user took before each of the log's `rows` [n], latest first, -1-padded: [n, m]."""
    out: NDArray[np.int64] = _previous(rows, log.users, log.indptr, log.items, m)
    return out

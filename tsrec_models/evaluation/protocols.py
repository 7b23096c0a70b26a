"""How a log is cut into what models may learn from and what they are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.preparation.log import Log

__all__ = ["PROTOCOLS", "Protocol", "Questions", "Split", "last_sessions", "last_share_of_time", "leave_one_out"]

Protocol = Literal["loo", "temporal", "session"]

_DAY_S = 86400.0

#: A validation part of more than this share of the questions' source would leave too little to learn from.
_MOST_VALIDATION = 0.3

#: Share of the sessions asked or validated on where the last day is too much.
_FEWER_SESSIONS = 0.1

#: Where the sessions before the last day hold less than this share of the events, there is too little to learn from.
_LEAST_TRAINING = 0.1


@dataclass(frozen=True)
class Questions:
    """A block of histories and what came next."""

    histories: list[NDArray[np.int64]]
    times: list[NDArray[np.float64]] | None
    targets: NDArray[np.int64]

    def latest(self, n: int) -> Questions:
        """The same questions asked after at most `n` latest events of each history."""
        times = None if self.times is None else [part[-n:] for part in self.times]
        return Questions([part[-n:] for part in self.histories], times, self.targets)


@dataclass(frozen=True)
class Split:
    """What may be learned from, and the rows of `log` to be foretold: each from the user's own rows before it.

    `train` has the users and items of `log`. The questions' histories may reach into the time after `train`: they are
    what the user had done by then, as a stream would know it.
    """

    log: Log
    train: Log
    rows: NDArray[np.int64]  # [questions]
    exclude_seen: bool
    protocol: Protocol

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def targets(self) -> NDArray[np.int64]:
        return self.log.items[self.rows]

    @property
    def users(self) -> NDArray[np.int64]:
        return self.log.users[self.rows]

    def blocks(self, size: int) -> Iterator[Questions]:
        """The questions in blocks of `size`."""
        log = self.log
        starts = log.indptr[log.users[self.rows]]
        for first in range(0, len(self.rows), size):
            spans = list(
                zip(starts[first : first + size].tolist(), self.rows[first : first + size].tolist(), strict=True)
            )
            times = [log.times[a:b] for a, b in spans] if log.has_times else None
            yield Questions([log.items[a:b] for a, b in spans], times, self.targets[first : first + size])

    def repeats(self) -> int:
        """How many questions ask for an item of the user's own past."""
        log = self.log
        _, first = np.unique(log.users * log.n_items + log.items, return_index=True)
        new = np.zeros(len(log), dtype=np.bool_)
        new[first] = True
        return int((~new[self.rows]).sum())

    def sample(self, n: int, seed: int) -> Split:
        """At most `n` of the questions, drawn at random."""
        if len(self) <= n:
            return self
        chosen = np.random.default_rng(seed).choice(len(self), n, replace=False)
        return replace(self, rows=self.rows[np.sort(chosen)])

    def known_only(self) -> Split:
        """Without questions whose answer never occurs in training, as session benchmarks have it."""
        known = np.bincount(self.train.items, minlength=self.log.n_items) > 0
        return replace(self, rows=self.rows[known[self.targets]])

    def validation(self) -> Split:
        """The same cut made once more inside `train`: what choices are made on, so that the questions stay unseen."""
        if self.protocol == "loo":
            return leave_one_out(self.train, exclude_seen=self.exclude_seen, shortest=2)
        inner = PROTOCOLS[self.protocol](self.train, exclude_seen=self.exclude_seen)
        if len(inner.train) < (1 - _MOST_VALIDATION) * len(self.train) or not len(inner):
            inner = _last_of(self.train, _FEWER_SESSIONS, self.exclude_seen, self.protocol)
        if not len(inner) or not len(inner.train):  # too few users to part: ask each for the last event
            return leave_one_out(self.train, exclude_seen=self.exclude_seen, shortest=2)
        return inner


def leave_one_out(log: Log, *, exclude_seen: bool = True, shortest: int = 3) -> Split:
    """The last event of each user of at least `shortest` events is the question; all else may be learned from."""
    rows = log.indptr[1:][log.lengths >= shortest] - 1
    return _split(log, rows, rows, exclude_seen, "loo")


def last_share_of_time(log: Log, *, share: float = 0.1, exclude_seen: bool = False) -> Split:
    """Events of the last `share` of the log's time are the questions; those before it may be learned from.

    A user's first event of all is no question: a recommendation follows an event.
    """
    if not len(log):
        raise ModelError("the log is empty")
    cut = log.times.max() - share * (log.times.max() - log.times.min())
    late = np.flatnonzero(log.times > cut) if log.times.max() > log.times.min() else np.zeros(0, dtype=np.int64)
    return _split(log, late, late[late > log.indptr[log.users[late]]], exclude_seen, "temporal")


def last_sessions(log: Log, *, last_s: float = _DAY_S, exclude_seen: bool = False) -> Split:
    """Sessions (the log's users) that end within the last day: each event after the first is a question.

    Where the log has no times, the last tenth of the sessions, in the order of the source (Hidasi et al. 2016); the
    last tenth to end where a log covers so little time that nearly all sessions end within its last day.
    """
    if not len(log):
        raise ModelError("the log is empty")
    if not log.has_times:
        return _last_of(log, _FEWER_SESSIONS, exclude_seen, "session")
    split = _sessions_after(log, log.times.max() - last_s, exclude_seen, "session")
    if len(split.train) < _LEAST_TRAINING * len(log):
        return _last_of(log, _FEWER_SESSIONS, exclude_seen, "session")
    return split


def _last_of(log: Log, share: float, exclude_seen: bool, protocol: Protocol) -> Split:
    """The `share` of the users whose last event is latest."""
    some = np.flatnonzero(log.lengths > 0)
    ends = log.times[log.indptr[1:][some] - 1]
    return _sessions_after(log, float(np.quantile(ends, 1 - share)), exclude_seen, protocol)


def _sessions_after(log: Log, cut: float, exclude_seen: bool, protocol: Protocol) -> Split:
    some = np.flatnonzero(log.lengths > 0)
    late = np.zeros(log.n_users, dtype=np.bool_)
    late[some] = log.times[log.indptr[1:][some] - 1] > cut
    held = np.flatnonzero(late[log.users])
    return _split(log, held, held[held > log.indptr[log.users[held]]], exclude_seen, protocol)


def _split(log: Log, held: NDArray[np.int64], rows: NDArray[np.int64], exclude_seen: bool, protocol: Protocol) -> Split:
    keep = np.ones(len(log), dtype=np.bool_)
    keep[held] = False
    return Split(log, log.select(keep), rows, exclude_seen, protocol)


PROTOCOLS: dict[Protocol, Callable[..., Split]] = {
    "loo": leave_one_out,
    "temporal": last_share_of_time,
    "session": last_sessions,
}

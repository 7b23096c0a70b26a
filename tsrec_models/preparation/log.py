"""The event log every model learns from: who took what, in which order, when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tsrec_models.base import ModelError

__all__ = ["Log", "LogError"]


class LogError(ModelError):
    """A log that cannot be read or does not fit together: what was wrong, where, and what to do."""


@dataclass(frozen=True)
class Log:
    """Events of all users, sorted by user, then time; ties keep the order of the source.

    Users and items are dense indices; `user_ids[u]` and `item_ids[i]` are what the source called them. The events of
    user `u` are the rows `indptr[u]` to `indptr[u + 1]`. `times` are epoch seconds, never NaN; where the source has
    none they are the order index of the row, and `has_times` is False.
    """

    users: NDArray[np.int64]  # [events]
    items: NDArray[np.int64]  # [events]
    times: NDArray[np.float64]  # [events]
    indptr: NDArray[np.int64]  # [n_users + 1]
    user_ids: NDArray[np.str_]  # [n_users]
    item_ids: NDArray[np.str_]  # [n_items]
    has_times: bool = True

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        return len(self.item_ids)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Events of each user: [n_users]."""
        return np.diff(self.indptr)

    def history(self, user: int) -> NDArray[np.int64]:
        """Items of one user in order of time (a view)."""
        return self.items[self.indptr[user] : self.indptr[user + 1]]

    def histories(self) -> list[NDArray[np.int64]]:
        """Items of every user, one array a user (views)."""
        return np.split(self.items, self.indptr[1:-1]) if self.n_users else []

    def time_order(self) -> NDArray[np.int64]:
        """Rows in the order things happened over all users, [events]: the order in which a stream would bring them.

        Without times the users follow one another.
        """
        return np.argsort(self.times, kind="stable")

    def select(self, keep: NDArray[np.bool_]) -> Log:
        """The log of the rows where `keep` [events] is true. Users, items and their numbers stay as they are."""
        if keep.shape != self.items.shape:
            raise LogError(f"a mask of {len(self)} events was expected, got one of shape {keep.shape}")
        return _build(
            self.users[keep], self.items[keep], self.times[keep], self.user_ids, self.item_ids, self.has_times
        )

    def compact(self) -> Log:
        """The same events with users and items without any event left out and the rest renumbered in order."""
        kept_users, users = np.unique(self.users, return_inverse=True)
        kept_items, items = np.unique(self.items, return_inverse=True)
        return _build(
            users.astype(np.int64),
            items.astype(np.int64),
            self.times,
            self.user_ids[kept_users],
            self.item_ids[kept_items],
            self.has_times,
        )

    @classmethod
    def from_arrays(
        cls,
        users: ArrayLike,
        items: ArrayLike,
        times: ArrayLike | None = None,
        *,
        user_ids: ArrayLike | None = None,
        item_ids: ArrayLike | None = None,
        n_users: int | None = None,
        n_items: int | None = None,
    ) -> Log:
        """A log of dense indices `users`, `items` [events] in any order; `times` [events] epoch seconds.

        Without `times` the order given is the order of time. Without ids, an id is the index as text.

        Raises LogError if lengths differ, an index lies outside, or a time is not finite.
        """
        users, items = np.asarray(users, dtype=np.int64), np.asarray(items, dtype=np.int64)
        has_times = times is not None
        when = np.arange(len(items), dtype=np.float64) if times is None else np.asarray(times, dtype=np.float64)
        if not len(users) == len(items) == len(when):
            raise LogError(f"{len(users)} users, {len(items)} items and {len(when)} times do not make one log")
        if not np.isfinite(when).all():
            raise LogError(
                f"{int((~np.isfinite(when)).sum())} times are not finite; see preparation.cleaning.fill_times"
            )
        user_names = _names("user", users, user_ids, n_users)
        item_names = _names("item", items, item_ids, n_items)
        order = np.lexsort((when, users))
        return _build(users[order], items[order], when[order], user_names, item_names, has_times)

    @classmethod
    def from_ids(cls, users: Iterable[object], items: Iterable[object], times: ArrayLike | None = None) -> Log:
        """A log of the source's own ids (text or numbers), numbered in order of first appearance."""
        user_codes, user_names = encode_ids(users)
        item_codes, item_names = encode_ids(items)
        return cls.from_arrays(user_codes, item_codes, times, user_ids=user_names, item_ids=item_names)

    @classmethod
    def from_file(cls, path: str | Path, *, user: str = "user_id", item: str = "item_id", ts: str | None = "ts") -> Log:
        """Read CSV, TSV, Parquet or JSONL, gzipped or not; see `preparation.reading.read_log`."""
        from tsrec_models.preparation.reading import read_log

        return read_log(path, user=user, item=item, ts=ts).log


def encode_ids(ids: Iterable[object]) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Dense codes [n] in order of first appearance, and the ids as text [distinct]."""
    codes: dict[str, int] = {}
    out = np.fromiter((codes.setdefault(str(value), len(codes)) for value in ids), dtype=np.int64)
    return out, np.array(list(codes), dtype=np.str_)


def _names(what: str, codes: NDArray[np.int64], ids: ArrayLike | None, n: int | None) -> NDArray[np.str_]:
    if ids is not None:
        names = np.asarray(ids, dtype=np.str_)
    else:
        names = np.arange(n if n is not None else int(codes.max(initial=-1)) + 1).astype(np.str_)
    if len(codes) and (codes.min() < 0 or codes.max() >= len(names)):
        raise LogError(f"{what} indices run from {codes.min()} to {codes.max()}, but there are {len(names)} {what}s")
    return names


def _build(
    users: NDArray[np.int64],
    items: NDArray[np.int64],
    times: NDArray[np.float64],
    user_ids: NDArray[np.str_],
    item_ids: NDArray[np.str_],
    has_times: bool,
) -> Log:
    indptr = np.zeros(len(user_ids) + 1, dtype=np.int64)
    np.cumsum(np.bincount(users, minlength=len(user_ids)), out=indptr[1:])
    return Log(users, items, times, indptr, user_ids, item_ids, has_times)

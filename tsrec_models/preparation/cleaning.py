"""Cleaning an event log: missing times and values, duplicates, robots, consecutive repeats, rare users and items."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tsrec_models.preparation.log import Log, LogError

__all__ = [
    "MissingTimes",
    "MissingValues",
    "drop_duplicates",
    "drop_repeats",
    "drop_robots",
    "fill_times",
    "fill_values",
    "k_core",
    "possible_times",
    "robots",
]

MissingValues = Literal["interpolate", "mean", "drop"]
MissingTimes = MissingValues

#: Times from here on are of no year before 5138.
_LATEST_S = 1e11

#: In a log whose typical time is later than this (1973) a time of 0 stands for one that was not known.
_CALENDAR_S = 1e8


def fill_values(
    values: NDArray[np.float64],
    groups: NDArray[np.int64],
    how: MissingValues,
    *,
    low: float = -np.inf,
    high: float = np.inf,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Replace missing (NaN, infinite) and impossible (outside [low, high]) values; returns values and kept rows.

    `values` and `groups` are [rows], rows of one group (a user, an item) in their order. `interpolate` draws a line
    between the neighbours within the group and carries the nearest value beyond its ends; `mean` takes the group's
    mean. Where a whole group is missing both fall back on the mean of all. `drop` keeps no such row.
    """
    if how not in get_args(MissingValues):
        raise LogError(f"missing values: {how!r} is none of {', '.join(get_args(MissingValues))}")
    if len(values) != len(groups):
        raise LogError(f"{len(values)} values do not fit {len(groups)} groups")
    good = np.isfinite(values) & (values >= low) & (values <= high)
    if how == "drop":
        return values, good
    if good.all():
        return values.copy(), good
    if not good.any():
        raise LogError("every value is missing or impossible: there is nothing to fill them from")
    out = values.copy()
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(groups[order]) != 0])
    overall = float(values[good].mean())
    for rows in np.split(order, starts[1:]):
        known = good[rows]
        if known.all():
            continue
        gaps = np.flatnonzero(~known)
        if not known.any():
            out[rows] = overall
        elif how == "mean":
            out[rows[gaps]] = values[rows[known]].mean()
        else:
            out[rows[gaps]] = np.interp(gaps, np.flatnonzero(known), values[rows[known]])
    return out, np.ones(len(values), dtype=np.bool_)


def possible_times(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Epoch seconds with NaN for what cannot be one: infinite, beyond the year 5138, or 0 among times of our days.

    A log that counts from zero keeps its zeros.
    """
    possible = np.isfinite(times) & (np.abs(times) < _LATEST_S)
    if possible.any() and np.median(times[possible]) >= _CALENDAR_S:
        possible &= times != 0.0
    return np.where(possible, times, np.nan)


def fill_times(
    times: NDArray[np.float64], users: NDArray[np.int64], how: MissingTimes
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Missing times of rows in source order, filled within each user; returns times and the rows kept."""
    return fill_values(times, users, how)


def drop_duplicates(log: Log) -> Log:
    """One event of those alike in user, item and time (a delivery made twice). Without times nothing is a duplicate."""
    if not log.has_times or len(log) == 0:
        return log
    order = np.lexsort((log.items, log.times, log.users))
    users, items, times = log.users[order], log.items[order], log.times[order]
    first = np.r_[True, (np.diff(users) != 0) | (np.diff(items) != 0) | (np.diff(times) != 0)]
    keep = np.zeros(len(log), dtype=np.bool_)
    keep[order[first]] = True  # lexsort is stable: the first of its kind in the log's own order
    return log.select(keep)


def drop_repeats(log: Log) -> Log:
    """Without events that only repeat the user's previous item, such as a page reloaded."""
    if len(log) == 0:
        return log
    return log.select(np.r_[True, (np.diff(log.items) != 0) | (np.diff(log.users) != 0)])


def robots(log: Log, *, per_window: int, window_s: float) -> NDArray[np.bool_]:
    """Which users [n_users] ever made more than `per_window` events within `window_s` seconds."""
    if not log.has_times:
        raise LogError("robots are told by their rate, and this log has no times")
    flags = np.zeros(log.n_users, dtype=np.bool_)
    if len(log) > per_window:
        same = log.users[per_window:] == log.users[:-per_window]
        fast = log.times[per_window:] - log.times[:-per_window] < window_s
        flags[log.users[per_window:][same & fast]] = True
    return flags


def drop_robots(log: Log, *, per_window: int = 300, window_s: float = 3600.0) -> Log:
    """Without the events of `robots`; by default more than 300 in an hour, one every twelve seconds without pause."""
    return log.select(~robots(log, per_window=per_window, window_s=window_s)[log.users])


def k_core(log: Log, k: int) -> Log:
    """The largest part of the log in which every user and every item has at least `k` events; compacted."""
    keep = np.ones(len(log), dtype=np.bool_)
    while True:
        user_counts = np.bincount(log.users[keep], minlength=log.n_users)
        item_counts = np.bincount(log.items[keep], minlength=log.n_items)
        still = keep & (user_counts[log.users] >= k) & (item_counts[log.items] >= k)
        if still.sum() == keep.sum():
            return log.select(keep).compact()
        keep = still

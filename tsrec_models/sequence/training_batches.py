"""Batches of windows of about the same length, so that little of the arithmetic goes into padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsrec_models.preparation.log import Log
from tsrec_models.sequence.augment import MAX_REORDER, Augmentation, corrupt_inputs, crop_windows, reorder_windows
from tsrec_models.sequence.intervals import NO_INTERVAL, interval_buckets

__all__ = ["Batch", "cut_windows", "training_batches"]

#: Noise on lengths before sorting, as a share: batches change between epochs and still hold equal lengths.
_LENGTH_JITTER = 0.1


@dataclass(frozen=True)
class Batch:
    """Inputs and their next events, padded on the right.

    items, buckets (interval before each event), targets, query_buckets (interval after it): int64 [batch, length];
    valid: bool [batch, length], where there is a target. times: float64 [batch, length] epoch seconds, and log_waits:
    float32 [batch, length] log(1 + seconds to the next event), or None.
    """

    items: NDArray[np.int64]
    buckets: NDArray[np.int64]
    targets: NDArray[np.int64]
    query_buckets: NDArray[np.int64]
    valid: NDArray[np.bool_]
    times: NDArray[np.float64] | None = None
    log_waits: NDArray[np.float32] | None = None


def cut_windows(
    indptr: NDArray[np.int64], max_length: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Windows (starts, stops) of at most `max_length` + 1 events that hold each transition once.

    Neighbouring windows share one event, the last input's target; a long history is cut at a random offset each time.
    """
    starts, stops = indptr[:-1], indptr[1:]
    transitions = stops - starts - 1
    usable = transitions > 0
    starts, stops, transitions = starts[usable], stops[usable], transitions[usable]
    long = transitions > max_length
    parts = [np.stack([starts[~long], stops[~long]], axis=1)]
    for start, stop in zip(starts[long], stops[long], strict=True):
        offset = int(rng.integers(0, max_length))
        cuts = np.arange(start + offset, stop - 1, max_length)
        cuts = np.unique(np.concatenate([[start], cuts, [stop - 1]]))
        parts.append(np.stack([cuts[:-1], cuts[1:] + 1], axis=1))
    windows = np.concatenate(parts)
    return windows[:, 0], windows[:, 1]


def training_batches(
    log: Log,
    *,
    batch_events: int,
    max_length: int,
    with_times: bool,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> Iterator[Batch]:
    """One epoch of batches in random order, each of about `batch_events` padded events."""
    starts, stops = cut_windows(log.indptr, max_length, rng)
    if augmentation.crop > 0:
        starts, stops = crop_windows(starts, stops, augmentation.crop, rng)
    lengths = stops - starts
    order = np.argsort(lengths * (1.0 + _LENGTH_JITTER * rng.random(len(lengths))) + rng.random(len(lengths)))
    groups = _group(lengths[order] - 1, batch_events)
    for group in rng.permutation(len(groups)):
        rows = order[groups[group][0] : groups[group][1]]
        yield _collate(log, starts[rows], stops[rows], with_times, augmentation, rng)


def _group(lengths: NDArray[np.int64], batch_events: int) -> list[tuple[int, int]]:
    """Cut rows of nearly ascending lengths into runs whose padded size stays within `batch_events`."""
    groups, first, longest = [], 0, 0
    for row, length in enumerate(lengths.tolist()):
        longest = max(longest, length)
        if row > first and longest * (row + 1 - first) > batch_events:
            groups.append((first, row))
            first, longest = row, length
    if first < len(lengths):
        groups.append((first, len(lengths)))
    return groups


def _collate(
    log: Log,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    with_times: bool,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> Batch:
    lengths = stops - starts
    at = starts[:, None] + np.arange(int(lengths.max()))[None]
    inside = at < stops[:, None]
    at = np.where(inside, at, stops[:, None] - 1)
    items = log.items[at]
    if augmentation.changes_order:
        reorder_windows(items, lengths, augmentation.reorder, MAX_REORDER, int(rng.integers(1 << 31)))
    inputs = corrupt_inputs(items[:, :-1], augmentation, log.n_items, rng)
    buckets = np.full(inputs.shape, NO_INTERVAL, np.int64)
    query_buckets = buckets
    times = log_waits = None
    if with_times:
        times = log.times[at]
        query_buckets = interval_buckets(np.diff(times, axis=1))
        log_waits = np.log1p(np.maximum(np.diff(times, axis=1), 0.0)).astype(np.float32)
        times = times[:, :-1]
        # A window's first event keeps its true interval where the history goes on before it.
        before = np.maximum(starts - 1, 0)
        has_before = (starts > 0) & (log.users[before] == log.users[starts])
        first = interval_buckets(np.where(has_before, log.times[starts] - log.times[before], np.nan))
        buckets = np.concatenate([first[:, None], query_buckets[:, :-1]], axis=1)
    return Batch(inputs, buckets, items[:, 1:], query_buckets, inside[:, 1:], times, log_waits)

"""The Numenta Anomaly Benchmark's score, by the rules of its paper and of its sweep over thresholds.

Lavin and Ahmad (2015): within a labelled window only the earliest detection counts, worth up to 1 at the left edge
along a sigmoid; a window without one costs the profile's false-negative weight; a detection outside windows costs up
to the false-positive weight, less shortly after a window. The first 15 % of a file, at most 750 rows, are not scored.
A detector's one threshold for all files is the best for the profile; the raw score is scaled so that a detector
that says nothing has 0 and one that is first in every window 100.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError

__all__ = ["PROFILES", "Labelled", "Profile", "best_threshold", "probation", "row_weights", "score_at"]


@dataclass(frozen=True)
class Profile:
    """What a detection is worth and mistakes cost."""

    true_positive: float
    false_positive: float
    false_negative: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "low_fp": Profile(1.0, 0.22, 1.0),
    "low_fn": Profile(1.0, 0.11, 2.0),
}


@dataclass(frozen=True)
class Labelled:
    """A file's anomaly scores [rows] and its windows as (first, last) row, ascending and apart."""

    name: str
    scores: NDArray[np.float64]
    windows: tuple[tuple[int, int], ...]


def probation(rows: int) -> int:
    """Rows at the start that are not scored."""
    return int(min(math.floor(0.15 * rows), 0.15 * 5000))


def _sigmoid(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """From nearly 1 at -1 over 0 at 0 to -1 beyond 3, in widths of the window from its right edge."""
    bounded = np.minimum(position, 3.0)
    return np.asarray(np.where(position >= 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * bounded)) - 1.0), np.float64)


def row_weights(rows: int, windows: Sequence[tuple[int, int]]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What a detection in each row is worth before the profile's weights, and its window's index or -1, both [rows]."""
    worth, inside = np.full(rows, -1.0), np.full(rows, -1, np.int64)
    index = np.arange(rows, dtype=np.float64)
    highest = float(_sigmoid(np.array(-1.0)))
    for k, (first, last) in enumerate(windows):
        if not 0 <= first <= last < rows or (k and first <= windows[k - 1][1]):
            raise ModelError(f"windows {list(windows)} of {rows} rows: they must lie within, ascending and apart")
        width = last - first + 1
        inside[first : last + 1] = k
        worth[first : last + 1] = _sigmoid(-(last - index[first : last + 1] + 1.0) / width) / highest
        after = slice(last + 1, windows[k + 1][0] if k + 1 < len(windows) else rows)
        worth[after] = _sigmoid((index[after] - last) / max(width - 1, 1))
    return worth, inside


def _events(files: Sequence[Labelled]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], int]:
    """Scores, worths and corpus-wide window indices (-1 outside) of all scored rows, and how many windows count."""
    scores, worths, places, windows = [], [], [], 0
    for file in files:
        worth, inside = row_weights(len(file.scores), file.windows)
        scored = slice(probation(len(file.scores)), None)
        scores.append(file.scores[scored])
        worths.append(worth[scored])
        places.append(np.where(inside[scored] >= 0, inside[scored] + windows, -1))
        windows += len(file.windows)
    return np.concatenate(scores), np.concatenate(worths), np.concatenate(places), windows


def _normalised(raw: float, windows: int, profile: Profile) -> float:
    if windows == 0:
        raise ModelError("no file has a labelled window: there is nothing to detect and no score")
    nothing = -profile.false_negative * windows
    return 100.0 * (raw - nothing) / (profile.true_positive * windows - nothing)


def score_at(files: Sequence[Labelled], threshold: float, profile: Profile) -> float:
    """Normalised score when rows scoring `threshold` or more are detections."""
    scores, worths, places, windows = _events(files)
    hit = scores >= threshold
    raw = profile.false_positive * float(worths[hit & (places < 0)].sum())
    best = np.full(windows, -np.inf)
    within = hit & (places >= 0)
    np.maximum.at(best, places[within], worths[within] * profile.true_positive)
    raw += float(np.where(np.isfinite(best), np.maximum(best, -profile.false_negative), -profile.false_negative).sum())
    return _normalised(raw, windows, profile)


def best_threshold(files: Sequence[Labelled], profile: Profile) -> tuple[float, float]:
    """(score, threshold) of the threshold that is best on these very files: the benchmark's own rule.

    A threshold above every score, which detects nothing, is among them (1.1, as in the benchmark).
    """
    scores, worths, places, windows = _events(files)
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order].tolist()
    value = [-profile.false_negative] * windows
    raw = -profile.false_negative * windows
    best = (raw, 1.1)
    rows = zip(ordered, worths[order].tolist(), places[order].tolist(), strict=True)
    for k, (score, worth, place) in enumerate(rows):
        if place < 0:
            raw += profile.false_positive * worth
        elif worth * profile.true_positive > value[place]:
            raw += worth * profile.true_positive - value[place]
            value[place] = worth * profile.true_positive
        if (k + 1 == len(ordered) or ordered[k + 1] != score) and raw > best[0]:
            best = (raw, score)
    return _normalised(best[0], windows, profile), best[1]

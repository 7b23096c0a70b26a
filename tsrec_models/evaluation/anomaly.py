"""`tsrec evaluate anomaly`: a folder of labelled series, scored by the Numenta benchmark's rules.

Reported with one threshold chosen on the corpus, as the benchmark does, and with two that never saw what they are
scored on: fixed before any data by the false-alarm rate, and for each group of files the best of the other groups.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.evaluation.nab import PROFILES, Labelled, best_threshold, score_at
from tsrec_models.evaluation.reading import MISSING, number, read_table_of_text
from tsrec_models.evaluation.times import in_order, parse_times
from tsrec_models.risk.anomaly import AnomalyDetector

__all__ = ["FALSE_ALARM_RATE", "AnomalyFigures", "Series", "detect", "evaluate", "read_corpus"]

#: Share of ordinary values that may score as anomalies, before episodes are merged.
FALSE_ALARM_RATE = 0.005

#: A value beyond is refused: its square would be no number.
LARGEST = 1e100


@dataclass(frozen=True)
class Series:
    """A file: its path below the folder, times (epoch seconds) and values [rows], windows as (first, last) row."""

    name: str
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    windows: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class AnomalyFigures:
    """Normalised scores of the three profiles and how they were reached."""

    nab_standard: float
    nab_low_fp: float
    nab_low_fn: float
    threshold: float  #: of the standard profile
    nab_standard_fixed: float  #: at 1 - FALSE_ALARM_RATE
    nab_standard_left_out: float | None  #: threshold from the other groups; None with one group
    series: int
    windows: int
    values: int
    ns_per_value: float


def _read(path: Path, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times and values of a file, in order of time."""
    table = read_table_of_text(path)
    header = [column.lower() for column in table.header]
    missing = [column for column in ("timestamp", "value") if column not in header]
    if missing:
        raise ModelError(f"{name} has no column {' and no column '.join(missing)}: it needs timestamp,value")
    texts = table.column(header.index("value"))
    values = np.array([number(text, table.decimal_comma) for text in texts])
    for k in np.flatnonzero(np.isnan(values)).tolist():
        if texts[k].lower() not in MISSING:
            raise ModelError(f"{name}, line {table.lines[k]}: value is not a number ({texts[k]!r})")
    if (np.abs(values[np.isfinite(values)]) > LARGEST).any():
        raise ModelError(f"{name}: values beyond {LARGEST:g}; their squares are no numbers any more, scale them")
    stamps = table.column(header.index("timestamp"))
    times = parse_times(stamps, f"{name}: ")
    if times is None:
        if stamps:
            raise ModelError(f"{name}, line {table.lines[0]}: {stamps[0]!r} is no time that is known here")
        times = np.zeros(0)
    rows = in_order(times)
    return (times, values) if rows is None else (times[rows], values[rows])


def _window(times: NDArray[np.float64], limits: object, name: str) -> tuple[int, int]:
    """Rows of a window: those of its two times, or the first at or after the one and the last up to the other."""
    if not isinstance(limits, list) or len(limits) != 2:
        raise ModelError(f"{name}: a labelled window is a list of two times, not {json.dumps(limits)}")
    bounds = [parse_times([str(limit)]) for limit in limits]
    if bounds[0] is None or bounds[1] is None:
        raise ModelError(f"{name}: the labelled window {limits[0]} to {limits[1]} has no times that are known here")
    first, last = float(bounds[0][0]), float(bounds[1][0])
    inside = np.flatnonzero((times >= first) & (times <= last))
    if not len(inside):
        raise ModelError(f"{name}: no row lies in the labelled window {limits[0]} to {limits[1]}")
    # Clocks set back repeat times: the benchmark takes the first row of each.
    begins, ends = np.flatnonzero(times == first), np.flatnonzero(times == last)
    return int(begins[0] if len(begins) else inside[0]), int(ends[0] if len(ends) else inside[-1])


def read_corpus(folder: Path, labels: Path) -> list[Series]:
    """All CSV files below `folder` (or its `data` folder) that `labels` names, in order of their names.

    `labels` is JSON: path below the folder -> list of [first, last] timestamps. Raises ModelError when no file
    is named.
    """
    try:
        named = json.loads(labels.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read windows from {labels}: {error}") from error
    if not isinstance(named, dict) or not all(isinstance(windows, list) for windows in named.values()):
        raise ModelError(f"{labels}: must be an object of file names, each with a list of windows [first, last]")
    root = folder / "data" if (folder / "data").is_dir() else folder
    corpus = []
    for path in sorted(root.rglob("*.csv")):
        name = path.relative_to(root).as_posix()
        key = next((key for key in (name, f"{root.name}/{name}", path.name) if key in named), None)
        if key is None:
            continue
        times, values = _read(path, name)
        windows = sorted(_window(times, limits, name) for limits in named[key])
        corpus.append(Series(name, times, values, tuple(windows)))
    if not corpus:
        raise ModelError(f"no CSV file below {root} is named in {labels.name}: keys are paths below the folder")
    return corpus


def detect(corpus: list[Series]) -> tuple[list[Labelled], float]:
    """Scores of each series by a detector that sees its values once, in order; and nanoseconds a value."""
    labelled, spent, total = [], 0.0, 0
    AnomalyDetector(1).update(np.zeros(1), np.zeros(1))  # compiling is not detecting
    for series in corpus:
        detector = AnomalyDetector(1)
        rows = np.zeros(len(series.values), np.int64)
        begin = time.perf_counter()
        scores = detector.update(series.values, series.times, rows)
        spent += time.perf_counter() - begin
        total += len(scores)
        labelled.append(Labelled(series.name, scores, series.windows))
    return labelled, 1e9 * spent / max(total, 1)


def _left_out(files: list[Labelled]) -> float | None:
    """Standard score when each group of files (its folder) is scored at the threshold best for the other groups."""
    groups = sorted({file.name.rpartition("/")[0] for file in files})
    profile = PROFILES["standard"]
    if len(groups) < 2:
        return None
    shifted = []
    for group in groups:
        others = [file for file in files if file.name.rpartition("/")[0] != group]
        if not any(file.windows for file in others):
            return None
        threshold = best_threshold(others, profile)[1]
        # A detection is 1 and all else 0: the groups' different thresholds become one.
        shifted += [
            Labelled(file.name, (file.scores >= threshold).astype(np.float64), file.windows)
            for file in files
            if file.name.rpartition("/")[0] == group
        ]
    return score_at(shifted, 1.0, profile)


def evaluate(corpus: list[Series]) -> tuple[AnomalyFigures, list[Labelled]]:
    """Detect and score `corpus`; one setting for all files."""
    files, ns = detect(corpus)
    best = {name: best_threshold(files, profile) for name, profile in PROFILES.items()}
    figures = AnomalyFigures(
        nab_standard=best["standard"][0],
        nab_low_fp=best["low_fp"][0],
        nab_low_fn=best["low_fn"][0],
        threshold=best["standard"][1],
        nab_standard_fixed=score_at(files, 1.0 - FALSE_ALARM_RATE, PROFILES["standard"]),
        nab_standard_left_out=_left_out(files),
        series=len(files),
        windows=sum(len(file.windows) for file in files),
        values=sum(len(file.scores) for file in files),
        ns_per_value=ns,
    )
    return figures, files

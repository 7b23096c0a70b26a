"""Series from the columns of a user's CSV file, in order of time where it has one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.evaluation.reading import MISSING, Table, number, read_table_of_text
from tsrec_models.evaluation.times import in_order, parse_times

__all__ = ["SeriesFile", "read_series"]

_TIME_NAMES = {"date", "time", "timestamp", "ts", "ds", "datetime", "index", "day", "month", "year", "week", "quarter"}
#: Values beyond, or all within the inverse of it, are refused: their squares would be no numbers any more.
_LARGEST = 1e100


@dataclass(frozen=True)
class SeriesFile:
    """Names and values [rows] of the columns of numbers; `sorted_by`: the column that put the rows in another order
    than the file's, or None."""

    names: list[str]
    columns: list[NDArray[np.float64]]
    sorted_by: str | None


def read_series(path: Path) -> SeriesFile:
    """The numeric columns; columns of times, of a running index and of text are left out.

    Rows are put in order of the first column of times. A first line of numbers that are no names (1.5, not 2024) is
    taken as values.

    Raises ModelError where the file cannot be read, has no numeric column, mixes numbers and text in one, or holds
    several series one below the other.
    """
    table = read_table_of_text(path)
    if table.header and all(_is_value(name) for name in table.header) and not all(map(_is_whole, table.header)):
        names = [f"column {j + 1}" for j in range(len(table.header))]
        table = Table(names, [table.header, *table.rows], [1, *table.lines], table.decimal_comma)
    if not table.rows:
        raise ModelError(f"{path}: needs a header line with the names of the series and at least one line of values")
    names, columns = [], []
    times: tuple[str, NDArray[np.float64]] | None = None
    for j, name in enumerate(table.header):
        cells = table.column(j)
        values = np.array([number(cell, table.decimal_comma) for cell in cells])
        present = np.array([cell.lower() not in MISSING for cell in cells])
        wrong = present & np.isnan(values)
        if _looks_like_time(name) or wrong[present].all():
            if times is None and present.all():
                times = _times(cells, path, name)
            continue
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise ModelError(f"{path}: column {name!r}, line {table.lines[at]}: {cells[at]!r} is not a number")
        if not present.any() or _is_index(name, values):
            continue
        size = np.abs(values[np.isfinite(values) & (values != 0.0)])
        if len(size) and (size.max() > _LARGEST or size.max() < 1.0 / _LARGEST):
            raise ModelError(f"{path}: column {name!r} has values about {size.max():.0e}: scale them")
        names.append(name or f"column {j + 1}")
        columns.append(values)
    if not columns:
        found_names = ", ".join(table.header)
        raise ModelError(f"{path}: no column of numbers (found {found_names}); one column a series is needed")
    rows = None if times is None else in_order(times[1])
    if times is None or rows is None:
        return SeriesFile(names, columns, None)
    if len(np.unique(times[1])) < len(rows) and (np.diff(times[1]) > 0).any() and (np.diff(times[1]) < 0).any():
        raise ModelError(
            f"{path}: times in {times[0]!r} repeat and go back, as where series stand one below the other; "
            "one column a series is needed"
        )
    return SeriesFile(names, [values[rows] for values in columns], times[0])


def _times(cells: list[str], path: Path, name: str) -> tuple[str, NDArray[np.float64]] | None:
    """A column's name and times; a column of text that is not named as one need not be one."""
    try:
        found = parse_times(cells, f"{path}: column {name!r}, ")
    except ModelError:
        if _looks_like_time(name):
            raise
        return None
    return None if found is None else (name, found)


def _is_value(text: str) -> bool:
    return bool(np.isfinite(number(text)))


def _is_whole(text: str) -> bool:
    return text.strip().lstrip("+-").isdigit()


def _looks_like_time(name: str) -> bool:
    return name.strip().lower() in _TIME_NAMES


def _is_index(name: str, values: NDArray[np.float64]) -> bool:
    """A nameless column that counts up by one."""
    return not name.strip() and len(values) > 1 and bool(np.all(np.diff(values) == 1))

"""Credit applications from a user's file, and the reading of CSV files of any delimiter."""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.risk.credit_encoding import CreditError

__all__ = ["Applications", "read_applications", "read_table"]

#: Words for a case that went wrong, in a label column of text.
BAD_WORDS = {"bad", "default", "defaulted", "1", "true", "yes", "y", "charged off", "delinquent", "late"}
#: What stands for nothing in files of this trade.
NULLS = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?", "#N/A"]
_DELIMITERS = ",;\t|"
_DECIMAL_COMMA = re.compile(r"(^|;)[+-]?\d+,\d+(;|$)")
_LOOKED_AT = 1000  # lines from which the way of writing decimals is told


@dataclass(frozen=True, slots=True)
class Applications:
    """Columns [n] by name (floats with NaN, or text with None) and whether each case turned bad."""

    table: dict[str, NDArray[Any]]
    is_bad: NDArray[np.bool_]
    bad_value: str


def read_table(path: Path, error: type[ModelError]) -> Any:
    """An arrow table of a CSV (.gz too; comma, semicolon, tab or bar) or Parquet file; raises `error` in one line."""
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", errors="replace") as file:
            header = file.readline()
            begin = [line for _, line in zip(range(_LOOKED_AT), file, strict=False)]
        delimiter = max(_DELIMITERS, key=header.count)
        # With semicolons between columns a comma may stand for decimals, as much of Europe writes them.
        comma = delimiter == ";" and any(_DECIMAL_COMMA.search(line) for line in begin)
        return pa.csv.read_csv(
            path,
            parse_options=pa.csv.ParseOptions(delimiter=delimiter),
            convert_options=pa.csv.ConvertOptions(
                strings_can_be_null=True, null_values=NULLS, decimal_point="," if comma else "."
            ),
        )
    except (OSError, EOFError, zlib.error, pa.ArrowException) as problem:
        raise error(f"{path}: cannot be read: {problem}") from problem


def read_applications(path: Path, label: str, bad: str | None = None) -> Applications:
    """A CSV or Parquet file with a header: `label` is the outcome, all other columns are features.

    `bad` names the value that means bad; without it a known word ("bad", "default", "1", …), else the rarer value.
    Raises CreditError where there is no such column, or it has not two values.
    """
    table = read_table(path, CreditError)
    if label not in table.column_names:
        raise CreditError(f"{path}: no column {label!r}; it has {', '.join(table.column_names)}")
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise CreditError(f"{path}: more than one column {', '.join(map(repr, twice))}; names must be told apart")
    outcome = [None if v is None else _word(v) for v in table[label].to_pylist()]
    values = sorted({v for v in outcome if v is not None})
    if len(values) != 2:
        raise CreditError(f"{path}: column {label!r} must have two values, it has {len(values)}: {values[:5]}")
    if bad is not None and _word(bad) not in values:
        raise CreditError(f"{path}: column {label!r} has {values}, not {bad!r}")
    known = [v for v in values if v in BAD_WORDS]
    rarer = min(values, key=outcome.count)
    bad_value = _word(bad) if bad is not None else known[0] if len(known) == 1 else rarer
    keep = np.array([v is not None for v in outcome])
    columns: dict[str, NDArray[Any]] = {}
    for name in table.column_names:
        if name != label:
            columns[name] = _column(table[name].combine_chunks())[keep]
    return Applications(columns, np.array([v == bad_value for v in outcome])[keep], bad_value)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().lower()


def _column(column: Any) -> NDArray[Any]:
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.int8())
        kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    if pa.types.is_temporal(kind):
        column = pc.cast(column, pa.string())
    return np.array(column.to_pylist(), dtype=object)

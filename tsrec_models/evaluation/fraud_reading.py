"""Card transactions from a user's file: CSV or Parquet, columns under any names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tsrec_models.evaluation.credit_reading import read_table
from tsrec_models.evaluation.fraud import Transactions
from tsrec_models.evaluation.times import parse_times
from tsrec_models.risk.fraud_features import FraudError

__all__ = ["COLUMNS", "HANDBOOK", "guess_columns", "read_transactions"]

COLUMNS = ("ts", "account_id", "merchant_id", "amount", "label")
#: The names of the Fraud Detection Handbook's data.
HANDBOOK = {
    "ts": "TX_DATETIME",
    "account_id": "CUSTOMER_ID",
    "merchant_id": "TERMINAL_ID",
    "amount": "TX_AMOUNT",
    "label": "TX_FRAUD",
}
_POSITIVE = {"1", "true", "yes", "y", "t", "fraud"}
_NEGATIVE = {"0", "false", "no", "n", "f", "genuine", "legit"}


def guess_columns(names: list[str], given: Mapping[str, str]) -> dict[str, str]:
    """Field -> column: what is `given`, else our name, else the handbook's. Raises FraudError for one not there."""
    found = {}
    for field in COLUMNS:
        for column in (given.get(field), field, HANDBOOK[field]):
            if column is not None and column in names:
                found[field] = column
                break
            if column is not None and field in given:
                raise FraudError(f"no column {column!r} for {field}; the file has {', '.join(names)}")
        else:
            raise FraudError(f"no column {field!r}; the file has {', '.join(names)}. Say which: {field}=COLUMN")
    return found


def read_transactions(path: Path, given: Mapping[str, str] | None = None) -> tuple[Transactions, int]:
    """Transactions of a CSV (.gz too) or Parquet file, sorted by time, and how many rows were left out.

    Left out are rows with something missing or a negative amount. `ts` is a timestamp, an ISO text or epoch seconds
    (or milli-, micro-, nanoseconds: told apart by their size). Raises FraudError where the file cannot be used.
    """
    if path.suffix == ".parquet" and path.exists():
        try:
            columns = guess_columns(pq.read_schema(path).names, given or {})
            table = pq.read_table(path, columns=list(dict.fromkeys(columns.values())))
        except (OSError, pa.ArrowException) as error:
            raise FraudError(f"{path}: cannot be read: {error}") from error
    else:
        table = read_table(path, FraudError)
        columns = guess_columns(table.column_names, given or {})
    twice = [column for column in columns.values() if table.column_names.count(column) > 1]
    if twice:
        raise FraudError(f"{path}: more than one column {twice[0]!r}; names must be told apart")
    part = {field: table[columns[field]].combine_chunks() for field in COLUMNS}
    ts = _seconds(part["ts"], columns["ts"])
    amount = _numbers(part["amount"], columns["amount"])
    label = _labels(part["label"], columns["label"])
    keep = np.isfinite(ts) & np.isfinite(amount) & np.isfinite(label) & (amount >= 0)
    for field in ("account_id", "merchant_id"):
        keep &= np.asarray(pc.is_valid(part[field]))
    rows = np.flatnonzero(keep)
    rows = rows[np.argsort(ts[rows], kind="stable")]
    if not len(rows):
        raise FraudError(f"{path}: no transaction has all of its fields, and an amount that is not negative")
    data = Transactions(
        ts[rows],
        _codes(part["account_id"])[rows],
        _codes(part["merchant_id"])[rows],
        amount[rows],
        label[rows] > 0,
    )
    return data, len(table) - len(rows)


def _codes(column: Any) -> NDArray[np.int64]:
    encoded = pc.dictionary_encode(column)
    return np.asarray(encoded.indices.fill_null(-1), dtype=np.int64)


def _numbers(column: Any, name: str) -> NDArray[np.float64]:
    try:
        return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise FraudError(f"column {name!r} is not a number: {error}") from error


def _seconds(column: Any, name: str) -> NDArray[np.float64]:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        try:
            column = pc.cast(column, pa.timestamp("ns"))
        except pa.ArrowInvalid:
            return _written(column, name)
    if pa.types.is_temporal(column.type):
        ns = np.asarray(pc.cast(pc.cast(column, pa.timestamp("ns")), pa.int64()).fill_null(0), dtype=np.int64)
        # In two parts: a double does not hold the nanoseconds since 1970.
        seconds = (ns // 10**9).astype(np.float64) + (ns % 10**9) / 1e9
        return np.where(np.asarray(pc.is_valid(column)), seconds, np.nan)
    values = _numbers(column, name)
    finite = values[np.isfinite(values)]
    size = float(np.abs(finite).max()) if len(finite) else 0.0
    for unit in (1e9, 1e6, 1e3):  # epoch seconds have ten digits until the year 2286
        if size >= 1e10 * unit / 10:
            return values / unit
    return values


def _written(column: Any, name: str) -> NDArray[np.float64]:
    """Times in other ways than ISO's, NaN where there is none."""
    there = np.flatnonzero(np.asarray(pc.is_valid(column)))
    found = parse_times(column.take(pa.array(there)).to_pylist(), f"column {name!r}, ")
    if found is None:
        example = column[int(there[0])].as_py() if len(there) else ""
        raise FraudError(f"column {name!r}: neither a time nor a number: {example!r}")
    seconds = np.full(len(column), np.nan)
    seconds[there] = found
    return seconds


def _labels(column: Any, name: str) -> NDArray[np.float64]:
    if pa.types.is_boolean(column.type):
        return _numbers(pc.cast(column, pa.int8()), name)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        out = np.full(len(column), np.nan)
        for i, text in enumerate(column.to_pylist()):
            word = "" if text is None else text.strip().lower()
            out[i] = 1.0 if word in _POSITIVE else 0.0 if word in _NEGATIVE else np.nan
        if len(out) and not np.isfinite(out).any():
            raise FraudError(f"column {name!r}: no label is one of 0, 1, true, false, yes, no, fraud, genuine")
        return out
    values = _numbers(column, name)
    if not np.isin(values[np.isfinite(values)], (0.0, 1.0)).all():
        raise FraudError(f"column {name!r}: labels must be 0 and 1")
    return values

"""Reading event logs: CSV, TSV, Parquet and JSONL files, gzipped or not, and records of a Kafka topic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from numpy.typing import NDArray

from tsrec_models.preparation.cleaning import MissingTimes, fill_times, possible_times
from tsrec_models.preparation.log import Log, LogError

__all__ = ["MissingColumnError", "Reading", "log_from_records", "read_log", "read_table"]

#: Numbers at least this large are not seconds of any year before 5138, but milli-, micro- or nanoseconds.
_FINER_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))

#: What may part the columns of a text file: the one that its first line has most of.
_DELIMITERS = (",", "\t", ";", "|")


class MissingColumnError(LogError):
    """A column that is needed is not there, by that name."""


@dataclass(frozen=True)
class Reading:
    """What was read: the log, rows dropped and why, rows given a time, and other columns in the log's row order."""

    log: Log
    dropped: dict[str, int] = field(default_factory=dict)
    filled: int = 0
    extra: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)


def read_log(
    path: str | Path,
    *,
    user: str = "user_id",
    item: str = "item_id",
    ts: str | None = "ts",
    missing_times: MissingTimes = "interpolate",
    extra: tuple[str, ...] = (),
    ts_needed: bool = False,
) -> Reading:
    """The log in a file. The columns `user` and `item` must be there; `ts` may be missing unless it is needed.

    `ts` is epoch seconds, milli-, micro- or nanoseconds (told apart by size) or an ISO 8601 time. Rows without a user
    or item are dropped and counted; rows without a possible time (`cleaning.possible_times`) are treated as
    `missing_times` says.

    Raises LogError if the file cannot be read, MissingColumnError if a column is missing.
    """
    return _to_log(read_table(path), str(path), user, item, ts, missing_times, extra, ts_needed)


def log_from_records(records: Iterable[bytes], *, user: str = "user_id", item: str = "item_id", ts: str = "ts") -> Log:
    """The log of JSON records, the values of a topic such as `clicks`, in the order they were consumed."""
    body = b"\n".join(records)
    if not body:
        return Log.from_arrays([], [])
    table = _json_table(pa.BufferReader(body), "records")
    return _to_log(table, "records", user, item, ts, "interpolate", ()).log


def read_table(path: str | Path) -> pa.Table:
    """The columns of a CSV, TSV, Parquet or JSONL file; a trailing `.gz` is uncompressed."""
    path = Path(path)
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if not path.is_file():
        raise LogError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
    try:
        if suffix in (".parquet", ".pq"):
            return pa.parquet.read_table(path)
        if path.stat().st_size == 0:
            raise LogError(f"{path}: the file is empty; a first line with the names of the columns is needed")
        with pa.input_stream(str(path), compression="gzip" if path.suffix == ".gz" else None) as stream:
            if suffix in (".jsonl", ".ndjson", ".json"):
                return _json_table(stream, str(path))
            return _csv_table(stream)
    except UnicodeDecodeError as error:
        raise LogError(f"{path}: the first line is not UTF-8 text; save the file as UTF-8") from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise LogError(f"{path}: {str(error).splitlines()[0]}") from error


def _csv_table(stream: pa.NativeFile) -> pa.Table:
    # Every column is read as text: an id such as 007 is not the number 7, and a column of numbers with one word in
    # row two million must not fail halfway.
    body = stream.read()
    header = body.split(b"\n", 1)[0].decode("utf-8-sig").rstrip("\r")
    delimiter = max(_DELIMITERS, key=header.count)
    names = [name.strip().strip('"') for name in header.split(delimiter)]
    return pa.csv.read_csv(
        pa.BufferReader(body),
        read_options=pa.csv.ReadOptions(skip_rows=1, column_names=names),
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )


def _json_table(stream: pa.NativeFile, where: str) -> pa.Table:
    try:
        return pa.json.read_json(stream, read_options=pa.json.ReadOptions(block_size=16 << 20))
    except pa.ArrowInvalid as error:
        raise LogError(f"{where}: {str(error).splitlines()[0]}; one JSON object a line is needed") from error


def _to_log(
    table: pa.Table,
    where: str,
    user: str,
    item: str,
    ts: str | None,
    missing_times: MissingTimes,
    extra: tuple[str, ...],
    ts_needed: bool = False,
) -> Reading:
    absent = [
        name for name in (user, item, *((ts,) if ts and ts_needed else ()), *extra) if name not in table.column_names
    ]
    if absent:
        raise MissingColumnError(
            f"{where}: no column {' or '.join(absent)}; the columns are {', '.join(table.column_names)}. "
            f"{user} and {item} are needed{f', {ts} is optional' if ts and not ts_needed else ''}"
        )
    for name in (user, item, *extra, *((ts,) if ts else ())):
        if table.column_names.count(name) > 1:
            raise LogError(f"{where}: {table.column_names.count(name)} columns are called {name}; one is needed")
    named = pc.and_(pc.is_valid(table[user]), pc.is_valid(table[item]))
    nameless = len(table) - (pc.sum(named).as_py() or 0)
    table = table.filter(named)
    times = _times(table[ts], where, ts) if ts is not None and ts in table.column_names else None
    dropped = {"without user or item": nameless} if nameless else {}
    users, user_ids = _codes(table[user], where, user)
    items, item_ids = _codes(table[item], where, item)
    columns = {name: np.array(table[name].to_pylist(), dtype=object) for name in extra}
    filled = 0
    if times is not None and np.isnan(times).any():
        filled = int(np.isnan(times).sum())
        times, keep = fill_times(times, users, missing_times)
        if not keep.all():
            dropped["without time"], filled = filled, 0
        users, items, times = users[keep], items[keep], times[keep]
        columns = {name: values[keep] for name, values in columns.items()}
    log = Log.from_arrays(users, items, times, user_ids=user_ids, item_ids=item_ids)
    order = np.lexsort((times if times is not None else np.arange(len(users)), users))
    return Reading(log, dropped, filled, {name: values[order] for name, values in columns.items()})


def _codes(column: pa.ChunkedArray, where: str, name: str) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    try:
        text = pc.cast(column, pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise LogError(f"{where}: column {name} holds {column.type}, which is not an id") from error
    encoded = pc.dictionary_encode(text).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # an empty column has no chunk to combine
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.str_)
    names = np.array(encoded.dictionary.to_pylist(), dtype=np.str_)
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), names


def _times(column: pa.ChunkedArray, where: str, name: str) -> NDArray[np.float64] | None:
    """Epoch seconds [rows], NaN where there is no possible time; None for an empty column, which is as good as none."""
    seconds = _seconds(column, where, name)
    times = possible_times(seconds)
    if np.isfinite(times).any():
        return times
    if np.isnan(seconds).all():
        return None
    raise LogError(
        f"{where}: column {name} holds no time of any year before 5138, but {seconds[~np.isnan(seconds)][0]:g} s"
    )


def _seconds(column: pa.ChunkedArray, where: str, name: str) -> NDArray[np.float64]:
    """Epoch seconds [rows]; NaN where there is none."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if pa.types.is_date(column.type):
        column = pc.cast(column, pa.timestamp("ms"))
    if pa.types.is_timestamp(column.type):
        return _from_timestamps(column)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        text = pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), pa.scalar(None, column.type), column)
        try:
            column = pc.cast(text, pa.float64())
        except pa.ArrowInvalid:
            try:
                return _from_timestamps(pc.cast(text, pa.timestamp("us", tz="UTC" if _has_zone(text) else None)))
            except pa.ArrowInvalid as error:
                raise LogError(
                    f"{where}: column {name}: {str(error).splitlines()[0]}; "
                    "times are epoch seconds or ISO 8601, all in one form"
                ) from error
    try:
        seconds: NDArray[np.float64] = pc.cast(column, pa.float64()).to_numpy().astype(np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise LogError(f"{where}: column {name} holds {column.type}, which is not a time") from error
    finite = np.abs(seconds[np.isfinite(seconds)])
    typical = float(np.quantile(finite, 0.5, method="lower")) if len(finite) else 0.0  # a mean of two may overflow
    for smallest, per_second in _FINER_UNITS:
        if typical >= smallest:
            return seconds / per_second
    return seconds


def _has_zone(text: pa.ChunkedArray) -> bool:
    return bool(pc.any(pc.match_substring_regex(text, r"(Z|[+-]\d\d:?\d\d)\s*$")).as_py())


def _from_timestamps(column: pa.ChunkedArray) -> NDArray[np.float64]:
    micros = pc.cast(pc.cast(column, pa.timestamp("us", tz=column.type.tz)), pa.int64())
    seconds: NDArray[np.float64] = pc.cast(micros, pa.float64()).to_numpy().astype(np.float64) / 1e6
    return seconds

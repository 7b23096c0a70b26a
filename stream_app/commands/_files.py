"""Files of records as columns of a struct of the contract: CSV, JSON lines and Parquet, plain or gzipped."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from stream_app.errors import UsageError
from topics import wire
from topics.columns import decode_columns, encode_columns
from topics.dialect import UNITS, Dialect, field_types, foreign_words, literal_texts
from topics.errors import ContractViolation, Reason, RecordError
from topics.spans import Spans

__all__ = ["Chunk", "FileFormat", "Layout", "read_file"]

#: Rows or lines taken at a time: some megabytes.
CHUNK_ROWS = 20_000

#: A block of CSV text.
CSV_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class Layout:
    """How a file's columns become fields.

    fields: our field -> its column; values: our field -> {its value: ours}; time: unit of time columns; constants: our
    field -> the same text for every record; columns: names of the columns of a CSV without a header; only, skip:
    column -> values of the rows that are meant, or not (of CSV and Parquet).
    """

    fields: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    time: Any = "s"
    constants: dict[str, str] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    delimiter: str = ","
    only: dict[str, list[str]] = field(default_factory=dict)
    skip: dict[str, list[str]] = field(default_factory=dict)

    def check(self, type_: type[Any]) -> None:
        """Raise UsageError where a field is named that the struct does not have, or a value that it does not take."""
        names = type_.__struct_fields__
        for option, named in (("--field", self.fields), ("--value", self.values), ("--set", self.constants)):
            for name in named:
                if name not in names:
                    raise UsageError(f"{option}: {type_.__name__} has no field {name!r}: it has {', '.join(names)}")
        for name, word, words in foreign_words(type_, self.values):
            raise UsageError(f"--value: {name} is one of {', '.join(words)}, not {word!r}")


@dataclass
class Chunk:
    """Records ready to be sent, all good; `errors` are of the others, rows counted from the chunk's first.

    keys, values: Spans; ts: float64 [records], event times in seconds, NaN where the struct has none; done: how much of
    the file has been read, 0 to 1.
    """

    keys: Spans
    values: Spans
    ts: NDArray[np.float64]
    errors: list[RecordError]
    done: float


class FileFormat:
    """CSV, JSON lines or Parquet, told by the name."""

    def __init__(self, path: Path) -> None:
        suffixes = [suffix.lower() for suffix in path.suffixes]
        self.gzipped = bool(suffixes) and suffixes[-1] == ".gz"
        last = suffixes[-2] if self.gzipped and len(suffixes) > 1 else suffixes[-1] if suffixes else ""
        kinds = {
            ".csv": "csv",
            ".tsv": "csv",
            ".txt": "csv",
            ".jsonl": "jsonl",
            ".ndjson": "jsonl",
            ".json": "jsonl",
            ".parquet": "parquet",
        }
        if last not in kinds:
            raise UsageError(f"{path}: its name should end in .csv, .tsv, .jsonl or .parquet, or one of these and .gz")
        self.kind = kinds[last]


def read_file(path: Path, type_: type[Any], key: str, layout: Layout) -> Iterator[Chunk]:
    """The records of a file as the contract writes them.

    Raises UsageError for a file that cannot be read, or a column that is not there, with the columns there are.
    """
    kind = FileFormat(path)
    layout.check(type_)
    if not path.stat().st_size:
        raise UsageError(f"{path}: the file is empty")
    try:
        if kind.kind == "jsonl":
            yield from _read_lines(path, kind.gzipped, type_, key, layout)
        else:
            tables = _parquet(path) if kind.kind == "parquet" else _csv(path, kind.gzipped, layout)
            for table, done in tables:
                yield _of_table(path, table, type_, key, layout, done)
    except (OSError, EOFError, pa.ArrowException) as error:
        raise UsageError(f"{path}: {error}") from error
    except ContractViolation as error:
        raise UsageError(f"{path}: {error}") from error


def _of_json(type_: type[Any], key: str, values: Spans, dialect: Dialect | None, done: float) -> Chunk:
    """Validate JSON values, and write them as the contract does where the source is foreign."""
    if any(field.name == "features" for field in msgspec.structs.fields(type_)):
        decoded = wire.decode(type_, values, dialect)
        records: list[Any] = decoded.records
        keys = Spans.of([getattr(record, key).encode() for record in records])
        ts = np.array([record.ts for record in records], np.float64)
        return Chunk(keys, Spans.of(wire.encode(records)), ts, decoded.errors, done)
    columns = decode_columns(type_, values, dialect)
    good = columns.good()
    if dialect is None and len(good) == len(values):
        out = values
    elif dialect is None:
        out = values.take(good.rows)
    else:
        out = encode_columns(type_, **{name: getattr(good, name) for name in type_.__struct_fields__})
    has_ts = "ts" in type_.__struct_fields__
    ts = good.ts if has_ts else np.full(len(good), np.nan)
    return Chunk(getattr(good, key), out, ts, columns.errors, done)


def _read_lines(path: Path, gzipped: bool, type_: type[Any], key: str, layout: Layout) -> Iterator[Chunk]:
    """JSON lines, each an object; empty lines are skipped."""
    dialect = Dialect(layout.fields, layout.values, layout.time, numeric_ids=True)
    dialect.check(type_)
    if layout.constants or layout.only or layout.skip:
        raise UsageError("--set, --only and --skip are for CSV and Parquet: a JSON line is sent as it is")
    for lines, done in _lines(path, gzipped):
        chunk = _of_json(type_, key, Spans.of(lines), dialect, done)
        yield chunk


def _lines(path: Path, gzipped: bool) -> Iterator[tuple[list[bytes], float]]:
    size = max(path.stat().st_size, 1)
    with path.open("rb") as raw:
        text: Any = gzip.GzipFile(fileobj=raw) if gzipped else raw
        while lines := text.readlines(CHUNK_ROWS * 100):
            yield [line for line in map(bytes.strip, lines) if line], raw.tell() / size


def _csv(path: Path, gzipped: bool, layout: Layout) -> Iterator[tuple[pa.Table, float]]:
    """CSV as strings: each field is converted as the struct wants it, not as a guess from the first rows."""
    size = max(path.stat().st_size, 1)
    delimiter = "\t" if ".tsv" in path.suffixes and layout.delimiter == "," else layout.delimiter
    with path.open("rb") as raw:
        stream = pa.PythonFile(raw)
        source = pa.CompressedInputStream(stream, "gzip") if gzipped else stream
        names = layout.columns or None
        read = pa.csv.ReadOptions(column_names=names, block_size=CSV_BLOCK_BYTES)
        parse = pa.csv.ParseOptions(delimiter=delimiter)
        if names is None:  # they are needed before types can be given, so the header is read first by itself
            with gzip.open(path) if gzipped else path.open("rb") as again:
                head = again.readline()
            names = pa.csv.read_csv(pa.BufferReader(head), parse_options=parse).column_names if head.strip() else []
        convert = pa.csv.ConvertOptions(
            column_types={name: pa.string() for name in names},
            strings_can_be_null=True,
            null_values=[""],
            quoted_strings_can_be_null=True,
        )
        for batch in pa.csv.open_csv(source, read_options=read, parse_options=parse, convert_options=convert):
            for start in range(0, batch.num_rows, CHUNK_ROWS):
                part = batch.slice(start, CHUNK_ROWS)
                yield pa.Table.from_batches([part]), min(raw.tell() / size, 1.0)


def _parquet(path: Path) -> Iterator[tuple[pa.Table, float]]:
    file = pa.parquet.ParquetFile(path)
    rows = 0
    for batch in file.iter_batches(CHUNK_ROWS):
        rows += batch.num_rows
        yield pa.Table.from_batches([batch]), rows / max(file.metadata.num_rows, 1)


def _of_table(path: Path, table: pa.Table, type_: type[Any], key: str, layout: Layout, done: float) -> Chunk:
    """A table's rows as records; rows without a required field are errors."""
    table = _chosen(path, table, layout)
    n = table.num_rows
    described = field_types(type_)
    columns: dict[str, Any] = {}
    bad = np.zeros(n, np.bool_)
    errors: dict[int, RecordError] = {}
    for item in msgspec.structs.fields(type_):
        kind, extra, _ = described[item.name]
        name = layout.fields.get(item.name, item.name)
        if item.name in layout.constants:
            array: Any = pa.array([layout.constants[item.name]] * n, pa.string())
        elif name in table.column_names:
            array = table.column(name).combine_chunks()
        elif item.required and not isinstance(kind, msgspec.inspect.DictType):
            raise UsageError(
                f"{path}: no column {name!r} for {item.name}: there are {', '.join(table.column_names)}; "
                f"name it with --field {item.name}=COLUMN"
            )
        else:
            array = None
        if isinstance(kind, msgspec.inspect.DictType):
            columns[item.name] = _rest(table, type_, layout)
            continue
        if array is None:
            continue
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
        columns[item.name], wrong = _column(item, kind, extra, array, layout)
        refused = wrong | _missing(columns[item.name]) if item.required else wrong
        for row in np.flatnonzero(refused).tolist():
            what = f"cannot be read: {array[row].as_py()!r}" if wrong[row] else "is missing"
            errors.setdefault(row, RecordError(row, Reason.INVALID, f"{name} {what}"))
            bad[row] = True
    good = np.flatnonzero(~bad)
    kept = {name: column.take(good) if isinstance(column, Spans) else column[good] for name, column in columns.items()}
    values = encode_columns(type_, **kept) if len(good) else Spans.of([])
    chunk = _of_json(type_, key, values, None, done)
    for error in chunk.errors:
        row = int(good[error.row])
        errors[row] = RecordError(row, error.reason, error.message)
    chunk.errors = [errors[row] for row in sorted(errors)]
    return chunk


def _chosen(path: Path, table: pa.Table, layout: Layout) -> pa.Table:
    """The rows that are meant. A number is compared by its value, so that 0 finds 0.0."""
    for wanted, choice in ((True, layout.only), (False, layout.skip)):
        for name, texts in choice.items():
            if name not in table.column_names:
                raise UsageError(
                    f"{path}: no column {name!r} to choose rows by: there are {', '.join(table.column_names)}"
                )
            column = table.column(name)
            if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
                try:
                    values = pa.array([float(text) for text in texts])
                except ValueError:
                    raise UsageError(f"{path}: column {name!r} holds numbers, not {', '.join(texts)}") from None
                column = column.cast(pa.float64(), safe=False)
            else:
                values, column = pa.array(texts, pa.string()), column.cast(pa.string())
            found = pc.fill_null(pc.is_in(column, values), False)
            table = table.filter(found if wanted else pc.invert(found))
    return table


def _missing(column: Any) -> NDArray[np.bool_]:
    values: NDArray[Any] = column.start if isinstance(column, Spans) else column
    return np.isnan(values) if values.dtype.kind == "f" else values < 0


def _column(item: Any, kind: Any, extra: dict[str, Any], array: Any, layout: Layout) -> tuple[Any, NDArray[np.bool_]]:
    """A column as `encode_columns` takes it, and the rows whose value could not be converted."""
    if item.name in layout.values:
        array = _renamed(array, layout.values[item.name])
    if isinstance(kind, msgspec.inspect.LiteralType):
        texts = literal_texts(item.type)
        text = array.cast(pa.string())
        codes = pc.fill_null(pc.index_in(text, pa.array(texts)), -1).to_numpy(zero_copy_only=False)
        return codes, (codes < 0) & text.is_valid().to_numpy(zero_copy_only=False)
    if isinstance(kind, msgspec.inspect.StrType):
        if pa.types.is_floating(array.type):  # ids that a missing value made floats: 17850.0 is 17850
            whole = pc.equal(pc.round(array), array)
            array = pc.if_else(whole, array.cast(pa.int64(), safe=False).cast(pa.string()), array.cast(pa.string()))
        return _spans(array), np.zeros(len(array), np.bool_)
    if extra.get("role") == "time":
        return _times(array, layout.time)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return _floats(array)
    return array.cast(pa.float64()).to_numpy(zero_copy_only=False), np.zeros(len(array), np.bool_)


def _renamed(array: Any, values: dict[str, str]) -> Any:
    """Values of a foreign source as ours; those not named stay."""
    text = array.cast(pa.string())
    at = pc.index_in(text, pa.array(list(values)))
    return pc.if_else(pc.is_valid(at), pc.take(pa.array(list(values.values()), pa.string()), at), text)


def _spans(array: Any) -> Spans:
    """An Arrow array as strings over its own buffer."""
    array = array.cast(pa.large_string())
    array = pa.concat_arrays([array]) if array.offset else array
    n = len(array)
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, np.int64)[array.offset : array.offset + n + 1]
    start, end = bounds[:-1].copy(), bounds[1:].copy()
    null = ~array.is_valid().to_numpy(zero_copy_only=False)
    start[null] = end[null] = -1
    return Spans(np.frombuffer(data or b"", np.uint8), start, end)


def _floats(array: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Texts as floats: NaN for a null and for what is no number, the latter also marked."""
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    try:
        return array.cast(pa.float64()).to_numpy(zero_copy_only=False), np.zeros(len(array), np.bool_)
    except pa.ArrowInvalid:  # some text is no number: take them one by one
        numbers = np.full(len(array), np.nan)
        for row, text in enumerate(array.to_pylist()):
            try:
                numbers[row] = float(text) if text is not None else np.nan
            except ValueError:
                numbers[row] = np.nan
        return numbers, valid & np.isnan(numbers)


def _times(array: Any, unit: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Times as seconds since the epoch; dates and texts of dates are UTC unless they say otherwise."""
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        micro = array.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        return micro.cast(pa.float64()).to_numpy(zero_copy_only=False) / 1e6, np.zeros(len(array), np.bool_)
    if unit == "iso":
        text = array.cast(pa.string())
        try:
            zoned = pc.match_substring_regex(text, r"(Z|[+-]\d\d:?\d\d)$")
            if pc.any(zoned).as_py():
                return _times(text.cast(pa.timestamp("us", "UTC")), unit)
            return _times(text.cast(pa.timestamp("us")), unit)
        except pa.ArrowInvalid:
            seconds = np.full(len(text), np.nan)
            for row, one in enumerate(text.to_pylist()):
                if one is not None:
                    try:
                        seconds[row] = _times(pa.array([one]).cast(pa.timestamp("us")), unit)[0][0]
                    except pa.ArrowInvalid:
                        seconds[row] = np.nan
            return seconds, np.isnan(seconds) & text.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_integer(array.type):
        array = array.cast(pa.float64(), safe=False)
    numbers, wrong = (
        _floats(array)
        if pa.types.is_string(array.type)
        else (array.cast(pa.float64()).to_numpy(zero_copy_only=False), np.zeros(len(array), np.bool_))
    )
    return numbers / UNITS[unit], wrong


def _rest(table: pa.Table, type_: type[Any], layout: Layout) -> Spans:
    """The columns that are no field of the struct, as one JSON object a row: the features of an application."""
    used = {layout.fields.get(field.name, field.name) for field in msgspec.structs.fields(type_)}
    rest = table.select([name for name in table.column_names if name not in used])
    return Spans.of([msgspec.json.encode({k: _number(v) for k, v in row.items()}) for row in rest.to_pylist()])


def _number(value: Any) -> Any:
    """A CSV's text as a number where it is one."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value

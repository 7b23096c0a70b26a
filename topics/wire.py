"""Bytes to records and back, whole batches at a time; and what a bad record is.

The whole batch is decoded in one list comprehension; only when a record of it is bad are its records taken one by one,
so good input pays nothing for the care. (Decoding many records as one JSON array would be faster still, but two
poison records can close each other's quotes and turn their neighbours into text.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec

from topics.catalog import MAX_RECORD_BYTES
from topics.dialect import Dialect
from topics.errors import Reason, RecordError
from topics.spans import Spans

__all__ = ["DECODE_ERRORS", "Decoded", "decode", "decode_one", "decoder", "encode", "explain"]

T = TypeVar("T")

#: All that msgspec raises for a bad record: it lets a UnicodeDecodeError through for text that is not UTF-8, and a
#: RecursionError for JSON nested too deeply.
DECODE_ERRORS = (msgspec.MsgspecError, UnicodeError, RecursionError)

NO_VALUE = "the record has no value"

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Decoded(Generic[T]):
    """Good records with their rows in the batch (ascending), and the errors of the others."""

    records: list[T]
    rows: Sequence[int]
    errors: list[RecordError]


def decoder(type_: type[T], dialect: Dialect | None = None) -> Callable[[bytes], T]:
    """A function that decodes one record and raises one of DECODE_ERRORS for a bad one."""
    read: Callable[[bytes], T] = _decoder(type_, dialect)  # type: ignore[arg-type]
    return read


@lru_cache(maxsize=256)
def _decoder(type_: Any, dialect: Dialect | None) -> Callable[[bytes], Any]:
    if not dialect:
        return msgspec.json.Decoder(type_).decode
    foreign, convert = dialect.reader(type_)
    read = msgspec.json.Decoder(foreign).decode

    def read_foreign(value: bytes) -> Any:
        return convert(read(value))

    return read_foreign


def decode(
    type_: type[T],
    values: Spans | Sequence[bytes | None],
    dialect: Dialect | None = None,
    *,
    max_bytes: int = MAX_RECORD_BYTES,
) -> Decoded[T]:
    """Decode a batch of record values into `type_`; records longer than `max_bytes` are errors."""
    parts = values.tolist() if isinstance(values, Spans) else values
    read = decoder(type_, dialect)
    if None not in parts and (not parts or max(map(len, parts)) <= max_bytes):  # type: ignore[arg-type]
        try:
            return Decoded([read(part) for part in parts], range(len(parts)), [])  # type: ignore[arg-type]
        except DECODE_ERRORS:
            pass  # some record is bad: the loop below finds out which, and why
    records: list[T] = []
    rows: list[int] = []
    errors: list[RecordError] = []
    for row, part in enumerate(parts):
        outcome = decode_one(read, row, part, max_bytes)
        if isinstance(outcome, RecordError):
            errors.append(outcome)
        else:
            records.append(outcome)
            rows.append(row)
    return Decoded(records, rows, errors)


def decode_one(
    read: Callable[[bytes], T], row: int, part: bytes | None, max_bytes: int = MAX_RECORD_BYTES
) -> T | RecordError:
    """The record, or why it is none."""
    if part is None:
        return RecordError(row, Reason.EMPTY, NO_VALUE)
    if len(part) > max_bytes:
        return RecordError(row, Reason.OVERSIZED, f"{len(part)} bytes, more than the {max_bytes} allowed")
    try:
        return read(part)
    except DECODE_ERRORS as error:
        return explain(error, row)


def explain(error: Exception, row: int) -> RecordError:
    """A decoding exception as the error of a record."""
    if isinstance(error, msgspec.ValidationError):
        return RecordError(row, Reason.INVALID, str(error))
    if isinstance(error, RecursionError):
        return RecordError(row, Reason.UNDECODABLE, "JSON is nested too deeply")
    return RecordError(row, Reason.UNDECODABLE, str(error))


def encode(records: Iterable[Any]) -> list[bytes]:
    """JSON of each record. Optional fields that are None are left out."""
    return [_encode(record) for record in records]

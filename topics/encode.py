"""Columns as JSON records, byte for byte what msgspec writes, without a Python object a record."""

from __future__ import annotations

from functools import lru_cache
from types import NoneType
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from topics import _encode
from topics._write import LONGEST_FLOAT, LONGEST_INT
from topics.dialect import field_types, literal_texts
from topics.errors import ContractViolation
from topics.spans import Spans

__all__ = ["encode_columns", "encode_lists"]

_NOTHING = np.empty(0, np.uint8)
_NO_MASK = np.empty(0, np.bool_)

#: Bytes after each record that a copy by whole words may overwrite.
_SLACK = 8


class _Member(NamedTuple):
    """A field as it is written: `name` is `,"name":`, `null` what stands for a null (None: none may)."""

    field: str
    kind: str
    name: NDArray[np.uint8]
    null: NDArray[np.uint8] | None
    texts: NDArray[np.uint8]
    text_end: NDArray[np.int64]


class _Column(NamedTuple):
    """One field's values, ready to be written, and the room they need: int64 [records], or a number for all."""

    member: _Member
    values: Any
    extra: Any
    room: Any


def encode_columns(type_: type[Any], /, **columns: Any) -> Spans:
    """JSON of one record a row, in one buffer, equal to msgspec's encoding of `type_`.

    A column is what `decode_columns` gives for the field: Spans or byte strings for str (None is null), float64 (NaN
    is null), integers (a numpy masked array where some are null), codes or bools for Literal and bool (-1 is null).
    A field of another type takes Spans of ready JSON, `encode_lists` for one. A plain str, int, float or bool stands
    for every row. A field not given is null. Raises ContractViolation for a column that does not fit its field, an
    infinity, a null where the struct has none, or text that is not UTF-8, with the row.
    """
    members = _members(type_)  # type: ignore[arg-type]
    if unknown := set(columns) - {member.field for member in members}:
        raise ContractViolation(f"{type_.__name__} has no field {', '.join(sorted(unknown))}")
    sizes = {len(value) for value in columns.values() if not isinstance(value, (str, int, float, bool, NoneType))}
    if len(sizes) != 1:
        raise ContractViolation(f"columns of {type_.__name__} must have one length, got {sorted(sizes)}")
    n = sizes.pop()
    ready = [_prepare(type_, member, columns.get(member.field), n) for member in members]
    room = np.full(n, 2 + _SLACK, np.int64)
    for column in ready:
        room += column.room
    end = np.cumsum(room)
    start = end - room
    cursor = start.copy()
    out = np.empty(int(end[-1]) if n else 0, np.uint8)
    for column in ready:
        _put(out, cursor, column)
    _encode.close_records(out, start, cursor, ord("{"), ord("}"))
    return Spans(out, start, cursor)


def encode_lists(values: Spans, counts: NDArray[np.integer[Any]]) -> Spans:
    """JSON arrays of consecutive records: the first counts[0] of `values`, the next counts[1], and so on."""
    last = np.cumsum(counts, dtype=np.int64)
    if len(values) != (last[-1] if len(last) else 0):
        raise ContractViolation(f"{len(values)} values for counts that add up to {int(last[-1]) if len(last) else 0}")
    sizes = np.concatenate(([0], np.cumsum(values.end - values.start + 1)))
    room = sizes[last] - sizes[last - counts] + 2 + _SLACK
    end = np.cumsum(room)
    start = end - room
    cursor = start.copy()
    out = np.empty(int(end[-1]) if len(end) else 0, np.uint8)
    _encode.put_lists(out, cursor, values.data, values.start, values.end, last)
    _encode.close_records(out, start, cursor, ord("["), ord("]"))
    return Spans(out, start, cursor)


@lru_cache(maxsize=256)
def _members(type_: Any) -> tuple[_Member, ...]:
    config = type_.__struct_config__
    if config.array_like or config.tag is not None:
        raise ContractViolation(f"{type_.__name__} cannot be encoded from columns: it is array-like or tagged")
    inspect = msgspec.inspect
    described = field_types(type_)
    members = []
    for field in msgspec.structs.fields(type_):
        info, _, optional = described[field.name]
        texts: list[bytes] = []
        if isinstance(info, inspect.StrType):
            kind = "str"
        elif isinstance(info, inspect.FloatType):
            kind = "float"
        elif isinstance(info, inspect.IntType):
            kind = "int"
        elif isinstance(info, inspect.BoolType):
            kind, texts = "code", [b"false", b"true"]
        elif isinstance(info, inspect.LiteralType):
            kind, texts = "code", [msgspec.json.encode(value) for value in literal_texts(field.type)]
        else:
            kind = "json"
        if config.omit_defaults and not field.required and field.default is not None and kind != "json":
            raise ContractViolation(f"{type_.__name__}.{field.name}: with omit_defaults its default has to be None")
        name = _bytes(b"," + msgspec.json.encode(field.encode_name) + b":")
        null = None
        if optional:
            null = _NOTHING if config.omit_defaults and not field.required else _bytes(name.tobytes() + b"null")
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        members.append(_Member(field.name, kind, name, null, _bytes(b"".join(texts)), ends))
    return tuple(members)


def _bytes(text: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(text, np.uint8)


def _prepare(type_: type[Any], member: _Member, value: Any, n: int) -> _Column:
    """Check one column, and say how much room it needs."""
    where = f"{type_.__name__}.{member.field}"
    null_room = 0 if member.null is None else len(member.null)
    if value is None:
        if member.null is None:
            raise ContractViolation(f"{where} is required")
        return _Column(member._replace(kind="constant"), member.null, None, null_room)
    if isinstance(value, (str, int, float, bool)):
        try:
            fitting = msgspec.convert(value, _field_type(type_, member.field))  # type: ignore[arg-type]
        except msgspec.ValidationError as error:
            raise ContractViolation(f"{where}: {error}") from None
        text = member.name.tobytes() + msgspec.json.encode(fitting)
        return _Column(member._replace(kind="constant"), _bytes(text), None, len(text))
    if member.kind in ("str", "json"):
        spans = value if isinstance(value, Spans) else Spans.of(_encoded(value))
        sizes, escaped = np.empty(n, np.int64), np.empty(n, np.bool_)
        data = np.ascontiguousarray(spans.data).view()
        data.flags.writeable = False
        row = _encode.measure(data, spans.start, spans.end, member.kind == "str", sizes, escaped)
        if row >= 0:
            raise ContractViolation(f"{where}: row {row} is not UTF-8")
        _refuse_null(where, member, sizes < 0)
        room = np.maximum(sizes, 0) + (len(member.name) + 2 + null_room)
        return _Column(member, Spans(data, spans.start, spans.end), escaped, room)
    if member.kind == "float":
        floats = np.ascontiguousarray(value, np.float64)
        if np.isinf(floats).any():
            raise ContractViolation(f"{where}: row {int(np.flatnonzero(np.isinf(floats))[0])} is infinite")
        _refuse_null(where, member, np.isnan(floats))
        return _Column(member, floats, None, len(member.name) + LONGEST_FLOAT + null_room)
    array = np.asanyarray(value)
    if array.dtype.kind not in "iub" or (array.dtype.kind == "u" and array.dtype.itemsize == 8):
        raise ContractViolation(f"{where} takes integers that fit int64, not {array.dtype}")
    if member.kind == "code":
        codes = np.ascontiguousarray(array, np.int64)
        if len(codes) and int(codes.max()) >= len(member.text_end):
            raise ContractViolation(f"{where}: code {int(codes.max())}, but there are {len(member.text_end)}")
        _refuse_null(where, member, codes < 0)
        return _Column(member, codes, None, len(member.name) + int(member.text_end.max()) + null_room)
    missing = np.ma.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else _NO_MASK  # type: ignore[no-untyped-call]
    _refuse_null(where, member, missing)
    integers = np.ascontiguousarray(np.ma.getdata(array), np.int64)  # type: ignore[no-untyped-call]
    return _Column(member, integers, missing, len(member.name) + LONGEST_INT + null_room)


def _encoded(values: Any) -> list[bytes | None]:
    """Strings as bytes."""
    return [value.encode() if isinstance(value, str) else value for value in values]


@lru_cache(maxsize=1024)
def _field_type(type_: Any, name: str) -> Any:
    return next(field.type for field in msgspec.structs.fields(type_) if field.name == name)


def _refuse_null(where: str, member: _Member, missing: NDArray[np.bool_]) -> None:
    if member.null is None and missing.any():
        raise ContractViolation(f"{where}: row {int(np.flatnonzero(missing)[0])} is null, but the field is required")


def _put(out: NDArray[np.uint8], cursor: NDArray[np.int64], column: _Column) -> None:
    """Write one column."""
    member, values = column.member, column.values
    null = _NOTHING if member.null is None else member.null
    if member.kind == "constant":
        _encode.put_constant(out, cursor, values)
    elif member.kind in ("str", "json"):
        quoted = member.kind == "str"
        _encode.put_strings(out, cursor, member.name, null, quoted, values.data, values.start, values.end, column.extra)
    elif member.kind == "int":
        _encode.put_ints(out, cursor, member.name, null, values, column.extra)
    elif member.kind == "float":
        _encode.put_floats(out, cursor, member.name, null, values)
    else:
        _encode.put_codes(out, cursor, member.name, null, values, member.texts, member.text_end)

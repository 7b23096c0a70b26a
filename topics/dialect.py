"""How a foreign source writes our records: other field names, other values, other units of time, ids as numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import UNSET, UnsetType

from topics.errors import ContractViolation

__all__ = ["Dialect", "TimeUnit", "field_types", "foreign_words", "literal_texts", "roles"]

TimeUnit = Literal["s", "ms", "us", "ns", "iso"]

#: Units in a second. A time is divided by this, so that a whole millisecond becomes the nearest float.
UNITS: dict[str, float] = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


class Dialect:
    """The way one source writes; the default is the contract itself.

    fields: our name -> its name, `{"user_id": "visitorid"}`; values: our field -> {its value: our value},
    `{"action": {"pv": "view"}}` (values not named stay as they are; booleans and integers are named `true`, `false`
    and by their digits); time: unit of every time field, `iso` for RFC 3339 strings (without an offset: UTC);
    numeric_ids: ids may come as JSON integers.
    """

    __slots__ = ("_key", "fields", "numeric_ids", "time", "values")

    def __init__(
        self,
        fields: Mapping[str, str] | None = None,
        values: Mapping[str, Mapping[str, str]] | None = None,
        time: TimeUnit = "s",
        numeric_ids: bool = False,
    ) -> None:
        if time not in (*UNITS, "iso"):
            raise ContractViolation(f"no unit of time {time!r}: use one of {', '.join((*UNITS, 'iso'))}")
        self.fields = dict(fields or {})
        self.values = {field: dict(mapped) for field, mapped in (values or {}).items()}
        self.time = time
        self.numeric_ids = numeric_ids
        self._key = (
            tuple(sorted(self.fields.items())),
            tuple((field, tuple(sorted(mapped.items()))) for field, mapped in sorted(self.values.items())),
            time,
            numeric_ids,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dialect) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __bool__(self) -> bool:
        """Whether anything differs from the contract."""
        return bool(self.fields or self.values or self.time != "s" or self.numeric_ids)

    def __repr__(self) -> str:
        return (
            f"Dialect(fields={self.fields}, values={self.values}, time={self.time!r}, numeric_ids={self.numeric_ids})"
        )

    def check(self, type_: type[Any]) -> None:
        """Raise ContractViolation where a field is named that `type_` has not, or two fields get one name."""
        known = [field.name for field in msgspec.structs.fields(type_)]
        for field in (*self.fields, *self.values):
            if field not in known:
                raise ContractViolation(f"{type_.__name__} has no field {field!r}: it has {', '.join(known)}")
        wire_names = [self.fields.get(name, name) for name in known]
        if twice := {name for name in wire_names if wire_names.count(name) > 1}:
            raise ContractViolation(f"two fields of {type_.__name__} are read from {', '.join(sorted(twice))}")

    def reader(self, type_: type[Any]) -> tuple[type[Any], Callable[[Any], Any]]:
        """A struct that msgspec decodes a foreign record into, and the function that makes a `type_` of it.

        The function raises msgspec.ValidationError like msgspec's own decoding.
        """
        self.check(type_)
        steps: list[tuple[str, Callable[[Any], Any] | None]] = []
        foreign: list[tuple[str, Any, Any]] = []
        marks = roles(type_)
        for field in msgspec.structs.fields(type_):
            wire_type: Any = field.type
            step: Callable[[Any], Any] | None = None
            if field.name in self.values:
                wire_type, step = str | int | bool | None, _Renamed(self.values[field.name])
            elif marks.get(field.name) == "time" and self.time == "iso":
                wire_type, step = datetime | None, _seconds
            elif marks.get(field.name) == "time" and self.time != "s":
                wire_type, step = float | None, _Scaled(UNITS[self.time])
            elif marks.get(field.name) == "id" and self.numeric_ids:
                wire_type, step = str | int | None, _text
            # A missing field stays missing, so that `type_` itself says whether that is allowed.
            foreign.append((field.name, wire_type | UnsetType, UNSET))
            steps.append((field.name, step))

        def convert(record: Any) -> Any:
            plain = {}
            for name, step in steps:
                value = getattr(record, name)
                if value is not UNSET:
                    plain[name] = value if step is None or value is None else step(value)
            return msgspec.convert(plain, type_)

        struct = msgspec.defstruct(type_.__name__, foreign, rename=self.fields, gc=False)
        return struct, convert


class _Renamed:
    """Foreign values to ours."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values

    def __call__(self, value: str | int | bool) -> str:
        text = value if isinstance(value, str) else str(value).lower()
        return self.values.get(text, text)


class _Scaled:
    """A time in another unit to seconds."""

    def __init__(self, units: float) -> None:
        self.units = units

    def __call__(self, value: float) -> float:
        return value / self.units


def _seconds(value: datetime) -> float:
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


def _text(value: str | int) -> str:
    return str(value)


def field_types(type_: type[Any]) -> dict[str, tuple[Any, dict[str, Any], bool]]:
    """Our field name -> (msgspec.inspect type without None and metadata, extra, may be None)."""
    info: Any = msgspec.inspect.type_info(type_)
    result = {}
    for field in info.fields:
        kind, optional = field.type, False
        extra: dict[str, Any] = {}
        while True:
            if isinstance(kind, msgspec.inspect.Metadata):
                extra = {**(kind.extra or {}), **extra}
                kind = kind.type
            elif isinstance(kind, msgspec.inspect.UnionType):
                rest = [t for t in kind.types if not isinstance(_bare(t), msgspec.inspect.NoneType)]
                optional = optional or len(rest) < len(kind.types)
                if len(rest) != 1:
                    break
                kind = rest[0]
            else:
                break
        result[field.name] = (kind, extra, optional)
    return result


def literal_texts(annotation: Any) -> tuple[Any, ...]:
    """The values of the Literal in a field's type, in the order they are declared (msgspec.inspect sorts them)."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    for part in get_args(annotation):
        if values := literal_texts(part):
            return values
    return ()


def foreign_words(
    type_: type[Any], values: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Of a mapping field -> {their word: ours}: field, word of ours, and the words that the field takes instead."""
    taken = {field.name: literal_texts(field.type) for field in msgspec.structs.fields(type_)}
    for field, mapped in values.items():
        for word in mapped.values():
            if taken[field] and word not in taken[field]:
                yield field, word, taken[field]


def _bare(kind: Any) -> Any:
    return kind.type if isinstance(kind, msgspec.inspect.Metadata) else kind


def roles(type_: type[Any]) -> dict[str, str]:
    """Our field name -> `id` or `time`, for the fields that are one."""
    return {name: extra["role"] for name, (_, extra, _) in field_types(type_).items() if "role" in extra}

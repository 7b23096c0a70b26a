"""What the decoding kernel is told about a struct: names, kinds, bounds and codes as arrays."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from topics.dialect import UNITS, Dialect, field_types, literal_texts
from topics.errors import ContractViolation

__all__ = ["BOOL", "CODE", "FLOAT", "INT", "ISO", "OPAQUE", "STRING", "Field", "Plan", "column_bits", "plan_of"]

# Kinds of a field. OPAQUE: its type is one the columns can hold, but its constraint only msgspec can check.
STRING, FLOAT, INT, CODE, BOOL, ISO, OPAQUE = range(7)

#: Columns of a plan's table. kind is how a field is read, holds what its column holds (they differ where kind is
#: OPAQUE); low and high bound an int or the length of a string in characters; a token's code stands under default.
COLUMNS = (
    "kind",
    "holds",
    "slot",
    "optional",
    "numeric",
    "low",
    "high",
    "first_token",
    "last_token",
    "missing",
    "default",
    "size",
)
(KIND, HOLDS, SLOT, OPTIONAL, NUMERIC, LOW, HIGH, FIRST_TOKEN, LAST_TOKEN, MISSING, DEFAULT, SIZE) = range(12)

#: Bits of the word that says which fields a record has.
MAX_FIELDS = 63

_INT = np.iinfo(np.int64)


class Field(NamedTuple):
    """One column: `slot` is its row in the output array of its kind; `codes` are the texts of an enum's codes."""

    name: str
    kind: int
    slot: int
    optional: bool
    default: Any
    codes: tuple[str, ...]


class Plan(NamedTuple):
    """A struct for the kernel. Texts are the names of the fields, then the tokens of their Literals.

    table: int64 [texts, columns named above]; bounds: float64 [fields, 3], lowest and highest value, and what a time
    is divided by; words: uint64 [texts, 2 * words], each text with its closing quote, and the mask of its bytes, word
    by word; required, defaulted: a bit a field; closed: unknown fields are errors; slots: rows of the output.
    """

    fields: tuple[Field, ...]
    table: NDArray[np.int64]
    bounds: NDArray[np.float64]
    words: NDArray[np.uint64]
    required: np.uint64
    defaulted: np.uint64
    closed: bool
    slots: int


#: No dialect: the contract as it is.
_CONTRACT = Dialect()


def plan_of(type_: type[Any], dialect: Dialect | None = None) -> Plan:
    """The plan of a flat struct; raises ContractViolation for one that columns cannot hold."""
    plan: Plan = _plan_of(type_, dialect or _CONTRACT)  # type: ignore[arg-type]
    return plan


@lru_cache(maxsize=256)
def _plan_of(type_: Any, dialect: Dialect) -> Plan:
    dialect.check(type_)
    config = type_.__struct_config__
    if config.array_like or config.tag is not None or hasattr(type_, "__post_init__"):
        raise ContractViolation(f"{type_.__name__} cannot be columns: it is array-like, tagged or has __post_init__")
    described = field_types(type_)
    fields: list[Field] = []
    rows: list[dict[str, Any]] = []
    keys: list[bytes] = []
    tokens: list[tuple[bytes, int]] = []
    required = defaulted = slots = 0
    n_fields = len(msgspec.structs.fields(type_))
    if not 0 < n_fields <= MAX_FIELDS:
        raise ContractViolation(f"{type_.__name__} has {n_fields} fields; columns hold 1 to {MAX_FIELDS}")
    for bit, field in enumerate(msgspec.structs.fields(type_)):
        row = _describe(type_, field, *described[field.name], dialect)
        default = None if field.default is msgspec.NODEFAULT else field.default
        fields.append(Field(field.name, row["holds"], slots, row["optional"], default, row["codes"]))
        row["slot"] = slots
        slots += 2 if row["holds"] == STRING else 1
        row["first_token"] = n_fields + len(tokens)
        tokens.extend(row["tokens"])
        row["last_token"] = n_fields + len(tokens)
        row["missing"] = column_bits(fields[-1], None)
        row["default"] = column_bits(fields[-1], default)
        keys.append(msgspec.json.encode(dialect.fields.get(field.name, field.encode_name))[1:-1])
        required |= field.required << bit
        defaulted |= (default is not None) << bit
        rows.append(row)
    texts = keys + [text for text, _ in tokens]
    table = np.zeros((len(texts), len(COLUMNS)), np.int64)
    for k, row in enumerate(rows):
        table[k] = [len(keys[k]) if name == "size" else row[name] for name in COLUMNS]
    for k, (text, code) in enumerate(tokens, n_fields):
        table[k, SIZE], table[k, DEFAULT] = len(text), code
    bounds = np.array([(row["least"], row["most"], row["scale"]) for row in rows], np.float64)
    return Plan(
        tuple(fields),
        table,
        bounds,
        _words(texts),
        np.uint64(required),
        np.uint64(defaulted),
        bool(config.forbid_unknown_fields),
        slots,
    )


def column_bits(field: Field, value: Any) -> int:
    """A value as it stands in the output; None is the column's missing value."""
    if field.kind == STRING:
        return -1
    if field.kind in (FLOAT, ISO):
        return int(np.float64(np.nan if value is None else value).view(np.int64))
    if field.kind == INT:
        return 0 if value is None else int(value)
    if value is None:
        return -1
    return field.codes.index(value) if field.kind == CODE else int(value)


def _describe(
    type_: type[Any], field: Any, kind: Any, extra: dict[str, Any], optional: bool, dialect: Dialect
) -> dict[str, Any]:
    """Kind, bounds and tokens of one field."""
    row: dict[str, Any] = {
        "optional": optional,
        "numeric": False,
        "least": -np.inf,
        "most": np.inf,
        "low": _INT.min,
        "high": _INT.max,
        "scale": 1.0,
        "codes": (),
        "tokens": [],
    }
    renamed = dialect.values.get(field.name)
    inspect = msgspec.inspect
    opaque = False
    if isinstance(kind, inspect.StrType):
        row["holds"] = STRING
        row["low"], row["high"] = kind.min_length or 0, _INT.max if kind.max_length is None else kind.max_length
        row["numeric"] = dialect.numeric_ids and extra.get("role") == "id"
        opaque = kind.pattern is not None or renamed is not None
    elif isinstance(kind, inspect.FloatType):
        is_time = extra.get("role") == "time"
        row["holds"] = ISO if is_time and dialect.time == "iso" else FLOAT
        row["scale"] = UNITS[dialect.time] if is_time and dialect.time in UNITS else 1.0
        row["least"], row["most"] = _bounds(kind, np.nextafter)
        opaque = kind.multiple_of is not None or renamed is not None
    elif isinstance(kind, inspect.IntType):
        row["holds"] = INT
        low, high = _bounds(kind, lambda bound, towards: bound + (1 if towards > 0 else -1))
        row["low"], row["high"] = int(max(low, _INT.min)), int(min(high, _INT.max))
        opaque = kind.multiple_of is not None or renamed is not None
    elif isinstance(kind, inspect.BoolType):
        row["holds"], row["codes"] = BOOL, ("false", "true")
        opaque = renamed is not None
    elif isinstance(kind, inspect.LiteralType) and all(isinstance(value, str) for value in kind.values):
        codes = literal_texts(field.type)
        row["holds"], row["codes"] = CODE, codes
        texts = {text: text for text in codes} | (renamed or {})
        row["tokens"] = [
            (msgspec.json.encode(text)[1:-1], codes.index(ours)) for text, ours in texts.items() if ours in codes
        ]
    else:
        raise ContractViolation(
            f"{type_.__name__}.{field.name} cannot be a column: columns hold str, float, int, bool and Literal "
            "strings, each optionally None; decode it with topics.wire"
        )
    row["kind"] = OPAQUE if opaque else row["holds"]
    if row["holds"] == STRING and field.default not in (msgspec.NODEFAULT, None):
        raise ContractViolation(f"{type_.__name__}.{field.name}: a string column has no default but None")
    if field.default_factory is not msgspec.NODEFAULT:
        raise ContractViolation(f"{type_.__name__}.{field.name}: a column has no default factory")
    return row


def _bounds(kind: Any, beyond: Any) -> tuple[Any, Any]:
    """Both bounds of a number, inclusive."""
    low = -np.inf if kind.ge is None else kind.ge
    high = np.inf if kind.le is None else kind.le
    if kind.gt is not None:
        low = max(low, beyond(kind.gt, np.inf))
    if kind.lt is not None:
        high = min(high, beyond(kind.lt, -np.inf))
    return low, high


def _words(texts: list[bytes]) -> NDArray[np.uint64]:
    """[texts, 2 * words]: little-endian words of the texts with their closing quotes, each before its mask."""
    width = max(len(text) // 8 + 1 for text in texts)
    words = np.zeros((len(texts), width, 2, 8), np.uint8)
    for k, text in enumerate(texts):
        padded = np.frombuffer((text + b'"').ljust(8 * width, b"\0"), np.uint8)
        words[k, :, 0] = padded.reshape(width, 8)
        words[k, :, 1] = (np.arange(8 * width) <= len(text)).reshape(width, 8) * np.uint8(0xFF)
    return words.view("<u8").astype(np.uint64).reshape(len(texts), 2 * width)

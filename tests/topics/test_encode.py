"""Columns are written as msgspec writes the same records."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from topics import ContractViolation, Spans, wire
from topics.columns import decode_columns, encode_columns, encode_lists
from topics.decisions import Forecast, Recommendation, RecommendedItem
from topics.events import Click


class Full(Struct, frozen=True):
    """A field of every kind, nulls written."""

    s: str
    n: int
    f: float
    c: Literal["view", 'a "quoted" é']
    b: bool
    s2: str | None = None
    n2: int | None = None
    f2: float | None = None
    c2: Literal["buy", "sell"] | None = None
    b2: bool | None = None


class Terse(Full, frozen=True, omit_defaults=True):
    """The same, nulls left out."""


class Options(Struct, frozen=True, omit_defaults=True):
    """Nothing but what may be missing."""

    s: str | None = None
    n: int | None = None


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
LONG = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
CODES = st.sampled_from(["view", 'a "quoted" é'])
ROW = st.tuples(
    TEXT, LONG, FLOAT, CODES, st.booleans(), st.none() | TEXT, st.none() | LONG, st.none() | FLOAT,
    st.sampled_from([None, "buy", "sell"]), st.none() | st.booleans(),
)  # fmt: skip


def columns_of(records: list[Any]) -> dict[str, Any]:
    """The records' columns, by the plainest way."""
    columns: dict[str, Any] = {}
    for field in msgspec.structs.fields(type(records[0])):
        values = [getattr(record, field.name) for record in records]
        kind = field.name[0]
        if kind == "s":
            columns[field.name] = Spans.of([None if v is None else v.encode() for v in values])
        elif kind == "n":
            columns[field.name] = np.ma.array([v or 0 for v in values], np.int64, mask=[v is None for v in values])
        elif kind == "f":
            columns[field.name] = np.array([np.nan if v is None else v for v in values])
        else:
            texts = ("buy", "sell") if field.name == "c2" else ("view", 'a "quoted" é')
            texts = (False, True) if kind == "b" else texts
            columns[field.name] = np.array([-1 if v is None else texts.index(v) for v in values], np.int8)
    return columns


@given(st.lists(ROW, min_size=1, max_size=8), st.sampled_from([Full, Terse]))
@example(
    [('\x00\x1f\x7f"\\/\b\t\n\f\r\x0b', -(2**63), 5e-324, "view", True, "\U0010ffff", 0, -0.0, "sell", False)], Full
)
@settings(max_examples=150, deadline=None)
def test_records_of_every_kind_of_column_equal_what_msgspec_writes(rows: list[Any], type_: type[Any]) -> None:
    records = [type_(*row) for row in rows]
    assert encode_columns(type_, **columns_of(records)).tolist() == wire.encode(records)


@given(st.lists(st.tuples(st.none() | TEXT, st.none() | LONG), min_size=1, max_size=8))
def test_records_in_which_all_may_be_missing(rows: list[Any]) -> None:
    records = [Options(*row) for row in rows]
    assert encode_columns(Options, **columns_of(records)).tolist() == wire.encode(records)


def test_floats_of_every_magnitude_equal_what_msgspec_writes() -> None:
    rng = np.random.default_rng(4)
    numbers = np.concatenate(
        [
            rng.integers(0, 2**64, 200_000, dtype=np.uint64).view(np.float64),
            rng.standard_normal(100_000),
            np.round(rng.uniform(0, 2e9, 100_000), 3),
            rng.random(50_000, np.float32).astype(np.float64),
            2.0 ** np.arange(-1074, 1024),
            np.arange(5000, dtype=np.uint64).view(np.float64),
            *(np.nextafter(10.0 ** np.arange(-320, 309), to) for to in (-np.inf, np.inf)),
            10.0 ** np.arange(-320, 309),
            np.arange(-2000, 2000) / 10,
        ]
    )
    numbers = numbers[np.isfinite(numbers)]
    one = msgspec.defstruct("One", [("f", float)])
    written = encode_columns(one, f=numbers).tolist()
    expected = msgspec.json.encode(numbers.tolist())[1:-1].split(b",")
    assert written == [b'{"f":%s}' % text for text in expected]


def test_decoded_columns_can_be_written_again() -> None:
    records = [Click("u1", "i1", 1.5, "cart"), Click("ü\n", "i2", 2.0), Click("u3", "i3", 1.76e9 + 0.1, session_id="s")]
    values = wire.encode(records)
    got = decode_columns(Click, Spans.of(values))
    columns = {name: getattr(got, name) for name in Click.__struct_fields__}
    assert encode_columns(Click, **columns).tolist() == values


def test_a_plain_value_stands_for_every_row_and_a_missing_field_is_null() -> None:
    written = encode_columns(
        Forecast, subject=["a", "b"], ts=np.array([1.0, 2.0]), horizon=1, mean=np.array([0.5, 0.25]), lower=0,
        upper=1.0, level=0.9, model="arima", volatility=np.array([np.nan, 0.125]),
    )  # fmt: skip
    expected = [
        Forecast("a", 1.0, 1, 0.5, 0.0, 1.0, 0.9, "arima"),
        Forecast("b", 2.0, 1, 0.25, 0.0, 1.0, 0.9, "arima", volatility=0.125),
    ]
    assert written.tolist() == wire.encode(expected)


def test_lists_of_records_fill_a_field_that_is_no_column() -> None:
    ids, scores = ["i1", "i2", "i3"], np.array([0.5, 0.25, 0.125])
    items = encode_lists(encode_columns(RecommendedItem, item_id=ids, score=scores), np.array([2, 0, 1]))
    written = encode_columns(
        Recommendation, decision_id=["d1", "d2", "d3"], user_id=["u1", "u2", "u3"], items=items, model="gru",
        rung="gru", event_ts=np.arange(3.0), produced_ts=9.5, source=["clicks:0:1", "clicks:0:2", "clicks:0:3"],
    )  # fmt: skip
    parts = [
        [RecommendedItem(i, s) for i, s in zip(ids, scores.tolist(), strict=True)][a:b]
        for a, b in ((0, 2), (2, 2), (2, 3))
    ]
    expected = [
        Recommendation(f"d{k + 1}", f"u{k + 1}", part, "gru", "gru", float(k), 9.5, f"clicks:0:{k + 1}")
        for k, part in enumerate(parts)
    ]
    assert written.tolist() == wire.encode(expected)


def test_no_rows_give_no_records() -> None:
    assert len(encode_columns(Options, s=[])) == 0
    assert len(encode_lists(Spans.of([]), np.array([], np.int64))) == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"f": np.array([1.0, np.inf])}, "f: row 1 is infinite"),
        ({"f": np.array([np.nan, 1.0])}, "f: row 0 is null"),
        ({"s": [b"a", None]}, "s: row 1 is null"),
        ({"s": [b"\xff", b"a"]}, "s: row 0 is not UTF-8"),
        ({"s": [b"a", b"\xed\xa0\x80"]}, "s: row 1 is not UTF-8"),
        ({"n": np.array([1.5, 2.0])}, "n takes integers"),
        ({"n": np.array([1, 2**63], np.uint64)}, "n takes integers"),
        ({"c": np.array([0, 2])}, "c: code 2"),
        ({"c": np.array([0, -1])}, "c: row 1 is null"),
        ({"n": np.array([1])}, "one length"),
        ({"other": np.array([1, 2])}, "no field other"),
        ({"n": None}, "n is required"),
        ({"c2": "hold"}, "Invalid enum value"),
    ],
)
def test_a_column_that_does_not_fit_is_refused_with_its_field_and_row(columns: dict[str, Any], message: str) -> None:
    fitting = {"s": ["a", "b"], "n": [1, 2], "f": [0.5, 1.5], "c": np.array([0, 1]), "b": np.array([True, False])}
    with pytest.raises(ContractViolation, match=message):
        encode_columns(Full, **fitting | columns)

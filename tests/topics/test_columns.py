"""Columns hold what msgspec decodes, and refuse what it refuses, with its reason."""

from __future__ import annotations

import json
import random
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from json_texts import Writer, choice, mostly
from msgspec import Meta, Struct

from topics import ContractViolation, Dialect, Reason, RecordError, Spans, columns, wire
from topics._decode import GOOD
from topics.columns import decode_columns
from topics.decisions import Forecast, Recommendation
from topics.events import Click, CreditApplication, Feedback, Item, Purchase, Trade

RECORDS = 300


class Every(Struct, frozen=True):
    """A field of every kind a column can hold."""

    s: str
    f: float
    n: Annotated[int, Meta(ge=-5, lt=1000)]
    c: Literal["view", "click", "cart", "a very long name of a thing"]
    short: Annotated[str, Meta(min_length=2, max_length=4)] | None = None
    big: int | None = None
    g: Annotated[float, Meta(gt=0, le=10)] | None = None
    b: bool | None = None
    side: Literal["buy", "sell"] = "buy"
    w: float = 1.5
    k: int = 7
    digits: Annotated[str, Meta(pattern="^[0-9]+$")] | None = None
    hundreds: Annotated[float, Meta(multiple_of=100)] | None = None


def _whole(w: Writer) -> str:
    return str(w.randrange(-(2 ** w.randrange(1, 63)), 2 ** w.randrange(1, 63)))


EVERY = {
    "s": Writer.string,
    "f": Writer.number,
    "n": mostly(lambda w: str(w.randrange(-5, 1000)), lambda w: w.choice(("-6", "1000", "1.0", "2.5", w.number()))),
    "c": mostly(
        choice(('"view"', '"click"', '"cart"', '"a very long name of a thing"')),
        choice(('"vie"', '"views"', '"\\u0076iew"', '"a very long name of a thinh"', "1")),
    ),
    "short": mostly(lambda w: f'"{w.text(2)}xy"', choice(('"x"', '"é"', '"éé"', '"éééé"', '"ééééé"', '"\\n\\t"'))),
    "big": mostly(_whole, Writer.number),
    "g": mostly(lambda w: repr(10 - w.uniform(0, 10)), choice(("0", "-0.0", "1e-9", "10", "10.000000001", "11"))),
    "b": mostly(choice(("true", "false")), choice(("null", "tru", "1", '"true"'))),
    "side": mostly(choice(('"buy"', '"sell"')), choice(('"hold"', "null"))),
    "w": Writer.number,
    "k": mostly(_whole, Writer.number),
    "digits": mostly(choice(('"12"', '"345"')), choice(('"x"', '""', '"1\\u0030"'))),
    "hundreds": mostly(choice(("100", "-200.0", "3e2")), choice(("150.5", "1e-3"))),
}  # fmt: skip
PLAIN = {name: value for name, value in EVERY.items() if name not in ("digits", "hundreds")}
FEW = {name: EVERY[name] for name in ("s", "c", "b", "n", "short")}


_id = mostly(
    lambda w: (
        w.choice(('"u1"', '"i-22"', f'"{w.text()}x"'))
        if w.random() < 0.7
        else str(w.randrange(10 ** w.randrange(1, 19)))
    ),
    lambda w: w.choice(
        ('""', "007", "-3", "-0", "1.0", "1e3", "12345678901234567890123", w.string(), f'"{"é" * 300}"')
    ),
)


def _time(w: Writer) -> str:
    if w.iso:
        return _date(w)
    return w.choice((w.number(), str(w.randrange(10 ** w.choice((9, 10, 13, 16, 19)))), repr(w.uniform(0, 2e9))))


def _date(w: Writer) -> str:
    date = f"{w.randrange(1965, 2210)}-{w.randrange(0, 14):02}-{w.randrange(0, 33):02}"
    if w.random() < 0.9:
        date = f"{w.randrange(1970, 2200)}-{w.randrange(1, 13):02}-{w.randrange(1, 32):02}"
    clock = f"{w.randrange(0, 24):02}:{w.randrange(0, 60):02}:{w.randrange(0, 60):02}"
    if w.random() < 0.05:
        clock = f"{w.randrange(0, 26):02}:{w.randrange(0, 62):02}:{w.randrange(0, 62):02}"
    fraction = "." + "".join(w.choices("0123456789", k=w.randrange(1, 9))) if w.random() < 0.5 else ""
    zone = w.choice(("", "Z", "z", "+02:30", "-11:00") * 5 + ("+0230", "+24:00", " Z"))
    return f'"{date}{w.choice("TTTTTT    tt_")}{clock}{fraction}{zone}"'


CLICK = {
    "visitorid": _id,
    "item_id": _id,
    "timestamp": _time,
    "session_id": _id,
    "action": mostly(
        choice(('"pv"', '"fav"', '"view"', '"cart"')),
        choice(('"buy"', '"odd"', "1", "true", "null", '"\\u0070v"', "2.5")),
    ),
}
MAPPED = {"pv": "view", "fav": "favorite", "1": "click", "true": "cart", "odd": "unknown", "cart": "click"}
DIALECTS = [
    Dialect({"user_id": "visitorid", "ts": "timestamp"}, {"action": MAPPED}, time, numeric)  # type: ignore[arg-type]
    for time in ("s", "ms", "us", "ns", "iso")
    for numeric in (False, True)
]


def assert_same(type_: type[Any], values: list[bytes | None], dialect: Dialect | None = None, **options: Any) -> None:
    """Columns and records agree on every row, but for integers no int64 can hold, which columns refuse."""
    expected = wire.decode(type_, values, dialect, **options)
    records = dict(zip(expected.rows, expected.records, strict=True))
    errors = {error.row: error for error in expected.errors}
    for row, record in list(records.items()):
        for field in msgspec.structs.fields(type_):
            value = getattr(record, field.name)
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                message = f"Integer does not fit 64 bits - at `$.{field.encode_name}`"
                errors[row] = RecordError(row, Reason.INVALID, message)
                del records[row]
                break
    got = decode_columns(type_, Spans.of(values), dialect, **options)
    assert got.errors == [errors[row] for row in sorted(errors)]
    assert np.flatnonzero(got.ok).tolist() == list(records)
    for row, record in records.items():
        assert repr(got.record(row)) == repr(record), values[row]  # repr: -0.0 is not 0.0
    for name in type_.__struct_fields__:
        assert got.present(name).tolist() == [
            row in records and getattr(records[row], name) is not None for row in range(len(values))
        ]


@given(st.integers(0, 2**64))
@settings(max_examples=80, deadline=None)
def test_objects_with_every_kind_of_field_decode_as_msgspec_does(seed: int) -> None:
    writer = Writer(seed)
    assert_same(Every, [writer.object(PLAIN if k % 3 else EVERY) for k in range(RECORDS)])


@given(st.integers(0, 2**64))
@settings(max_examples=80, deadline=None)
def test_broken_records_are_refused_exactly_where_msgspec_refuses_them(seed: int) -> None:
    writer = Writer(seed)
    narrow = msgspec.defstruct("Narrow", [("s", str), ("c", Literal["view", "click"], "view"), ("f", float, 0.0)])
    assert_same(narrow, [writer.broken(writer.object(FEW)) for _ in range(RECORDS)])


@given(st.integers(0, 2**64), st.sampled_from(DIALECTS))
@settings(max_examples=80, deadline=None)
def test_foreign_dialects_decode_as_the_record_reader_does(seed: int, dialect: Dialect) -> None:
    writer = Writer(seed)
    writer.iso = dialect.time == "iso" or writer.random() < 0.05
    assert_same(Click, [writer.object(CLICK) for _ in range(RECORDS)], dialect)


@given(st.lists(st.binary(max_size=40), max_size=5))
@example([b'{"user_id":"a","item_id":"b","ts":1}', b"\xef\xbb\xbf{}", b"", b"{", b'{"', b'{"user_id'])
@example([b'{"user_id":"' + b"\xed\xa0\x80" + b'","item_id":"b","ts":1}'])
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_are_refused_as_msgspec_refuses_them(values: list[bytes]) -> None:
    assert_same(Click, list(values))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=200))
@settings(max_examples=200, deadline=None)
def test_every_float_comes_back_as_it_was_written(numbers: list[float]) -> None:
    one = msgspec.defstruct("One", [("f", float)])
    columns_ = decode_columns(one, Spans.of([b'{"f":%s}' % repr(number).encode() for number in numbers]))
    assert columns_.f.tobytes() == np.array(numbers).tobytes()


def test_a_million_decimals_are_read_to_the_nearest_float() -> None:
    rng = random.Random(5)
    one = msgspec.defstruct("One", [("f", float)])
    texts = []
    for _ in range(200_000):
        mantissa = rng.randrange(10 ** rng.randrange(1, 20))
        texts.append(f"{mantissa}e{rng.randrange(-60, 60)}")
    for _ in range(50_000):  # exactly between two floats, and next to it
        middle = (rng.randrange(2**52, 2**53) * 2 + 1) << rng.randrange(0, 6)
        texts.append(f"{(middle + rng.randrange(-1, 2)) * 5 ** rng.randrange(3)}e{rng.randrange(-3, 4)}")
    read = decode_columns(one, Spans.of([b'{"f":%s}' % text.encode() for text in texts]))
    assert read.ok.all()
    assert read.f.tobytes() == np.array([float(text) for text in texts]).tobytes()


@pytest.mark.parametrize("type_", [Click, Purchase, Trade, Item, Feedback, Forecast])
def test_every_flat_struct_of_the_contract_decodes_from_what_wire_encodes(type_: type[Any]) -> None:
    rng = random.Random(3)
    samples: dict[str, Any] = {
        "action": "cart", "side": "sell", "horizon": 3, "level": 0.9, "source": "clicks:0:17", "reward": -1.5,
    }  # fmt: skip
    records = []
    for _ in range(50):
        values = {}
        for field in msgspec.structs.fields(type_):
            if field.required or rng.random() < 0.5:
                number = field.name in (
                    "ts",
                    "price",
                    "quantity",
                    "available_from",
                    "expires_at",
                    "mean",
                    "lower",
                    "upper",
                )
                number = number or "_9" in field.name or field.name in ("volatility", "step_s", "value")
                values[field.name] = samples.get(field.name, rng.uniform(1, 1e9) if number else f"é{rng.random()}")
        records.append(msgspec.convert(values, type_))
    assert_same(type_, list(wire.encode(records)))


def test_ordinary_records_never_reach_msgspec(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("a record went to msgspec")

    rng = random.Random(1)
    values = [
        json.dumps(
            {
                "item_id": f"i{rng.randrange(20_000)}",
                "context": {"page": [1, 2.5e3, None, True], "titre": 'déjà "vu"'},
                "user_id": f"ü{rng.randrange(200_000)}",
                "ts": rng.choice((1.76e9 + rng.random(), 1_760_000_000, 1760000000.123)),
                "action": rng.choice(("view", "click", None)),
            },
            ensure_ascii=False,
            indent=rng.choice((None, None, 2)),
        ).encode()
        for _ in range(2000)
    ]
    expected = wire.decode(Click, values).records
    monkeypatch.setattr(columns.wire, "decoder", lambda *_: refuse)
    monkeypatch.setattr(columns._Batch, "finish", refuse)
    got = decode_columns(Click, Spans.of(values))
    assert [got.record(row) for row in range(len(values))] == expected


def test_strings_that_needed_unescaping_stand_beside_those_that_did_not() -> None:
    got = decode_columns(Item, Spans.of([b'{"item_id":"a","title":"plain"}', b'{"item_id":"b","title":"\\u00e9\\n"}']))
    assert got.title.tolist() == [b"plain", "é\n".encode()]
    assert got.item_id.tolist() == [b"a", b"b"]
    assert got.category.tolist() == [None, None]


def test_missing_values_of_each_kind() -> None:
    got = decode_columns(Every, Spans.of([b'{"s":"x","f":1,"n":2,"c":"cart","g":null,"b":false}']))
    assert got.codes("c")[got.c[0]] == "cart"
    assert got.c.dtype == np.int8
    assert np.isnan(got.g[0])
    assert got.b[0] == 0
    assert got.short[0] is None
    assert not got.present("big")[0]
    assert (got.w[0], got.k[0], got.codes("side")[got.side[0]]) == (1.5, 7, "buy")


def test_a_null_value_is_an_error_unless_tombstones_are_expected() -> None:
    values = Spans.of([None, b'{"item_id":"a"}'])
    assert [(error.row, error.reason) for error in decode_columns(Item, values).errors] == [(0, Reason.EMPTY)]
    got = decode_columns(Item, values, tombstones=True)
    assert got.errors == []
    assert got.ok.tolist() == [False, True]


def test_oversized_records_are_errors_and_the_batch_goes_on() -> None:
    small = b'{"user_id":"a","item_id":"b","ts":1}'
    got = decode_columns(Click, Spans.of([small, small.replace(b'"a"', b'"%s"' % (b"a" * 90)), small]), max_bytes=100)
    assert [error.reason for error in got.errors] == [Reason.OVERSIZED]
    assert got.good().rows.tolist() == [0, 2]
    assert got.good().user_id.tolist() == [b"a", b"a"]


def test_two_poison_records_cannot_swallow_the_good_one_between_them() -> None:
    good = b'{"user_id":"a","item_id":"b","ts":1}'
    values = [b'{"user_id":"a","item_id":"', good, b'","ts":1}']
    assert decode_columns(Click, Spans.of(values)).ok.tolist() == [False, True, False]


def test_records_may_lie_anywhere_in_the_buffer_and_share_it_with_other_bytes() -> None:
    record = b'{"user_id":"a","item_id":"b","ts":1.5}'
    for pad in range(9):
        data = np.frombuffer(b"x" * pad + record, np.uint8)
        for cut in range(len(record) + 1):
            span = Spans(data, np.array([pad]), np.array([pad + cut]))
            assert decode_columns(Click, span).ok.tolist() == [cut == len(record)]


def test_a_struct_that_columns_cannot_hold_is_named() -> None:
    for type_ in (CreditApplication, Recommendation):
        with pytest.raises(ContractViolation, match=r"features cannot be a column|items cannot be a column"):
            decode_columns(type_, Spans.of([]))


def test_unknown_fields_are_errors_where_the_struct_forbids_them() -> None:
    closed = msgspec.defstruct("Closed", [("a", int)], forbid_unknown_fields=True)
    assert_same(closed, [b'{"a":1}', b'{"a":1,"b":2}'])


def test_the_kernel_itself_accepts_most_of_the_valid_records_of_the_property_tests() -> None:
    """Otherwise they would compare msgspec with itself."""
    cases = [(Every, PLAIN, None), (Every, FEW | {"f": Writer.number}, None)]
    cases += [(Click, CLICK, dialect) for dialect in DIALECTS]
    for type_, fields, dialect in cases:
        writer = Writer(11)
        writer.iso = dialect is not None and dialect.time == "iso"
        values = [writer.object(fields) for _ in range(500)]
        valid = len(wire.decode(type_, values, dialect).records)
        spans = Spans.of(values)
        plan = columns.plan_of(type_, dialect)  # type: ignore[arg-type]
        _, _, status = columns._run(plan, columns._read_only(spans.data), spans, 1 << 20)
        assert valid > 60, (type_, dialect)
        assert (status == GOOD).sum() > 0.4 * valid, (type_, dialect)

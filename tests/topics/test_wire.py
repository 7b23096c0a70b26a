"""Batches of records: what is good, what is bad, and why."""

from __future__ import annotations

import pytest

from topics import ContractViolation, Dialect, Reason, Spans, wire
from topics.events import Click, CreditApplication, Feedback, Item, Purchase, Trade

GOOD = b'{"user_id":"a","item_id":"b","ts":1.5}'


def test_a_good_batch_decodes_in_order() -> None:
    values = [GOOD.replace(b'"b"', b'"i%d"' % k) for k in range(5)]
    got = wire.decode(Click, values)
    assert [click.item_id for click in got.records] == ["i0", "i1", "i2", "i3", "i4"]
    assert list(got.rows) == [0, 1, 2, 3, 4]
    assert got.errors == []
    assert wire.decode(Click, Spans.of(values)) == got


@pytest.mark.parametrize(
    ("type_", "value", "reason", "message"),
    [
        (Click, None, Reason.EMPTY, "no value"),
        (Click, b"", Reason.UNDECODABLE, "truncated"),
        (Click, b"{", Reason.UNDECODABLE, "truncated"),
        (Click, b"\xef\xbb\xbf" + GOOD, Reason.UNDECODABLE, "byte 0"),
        (Click, GOOD + b"x", Reason.UNDECODABLE, "trailing"),
        (Click, GOOD.replace(b'"a"', b'"\xff"'), Reason.UNDECODABLE, "utf-8"),
        (Click, GOOD.replace(b'"a"', b'"\xed\xa0\x80"'), Reason.UNDECODABLE, "utf-8"),
        (Click, GOOD[:-1] + b',"x":' + b"[" * 100_000, Reason.UNDECODABLE, "deep"),
        (Click, b"[]", Reason.INVALID, "object"),
        (Click, b'{"user_id":"a","ts":1}', Reason.INVALID, "`item_id`"),
        (Click, GOOD.replace(b'"a"', b'""'), Reason.INVALID, "$.user_id"),
        (Click, GOOD.replace(b'"a"', b"7"), Reason.INVALID, "$.user_id"),
        (Click, GOOD.replace(b'"a"', b'"%s"' % (b"a" * 257)), Reason.INVALID, "$.user_id"),
        (Click, GOOD.replace(b"1.5", b"-1"), Reason.INVALID, "$.ts"),
        (Click, GOOD.replace(b"1.5", b"1e400"), Reason.INVALID, "$.ts"),
        (Click, GOOD.replace(b"1.5", b"NaN"), Reason.UNDECODABLE, "malformed"),
        (Click, GOOD.replace(b"1.5", b"1760000000000"), Reason.INVALID, "$.ts"),
        (Click, GOOD[:-1] + b',"action":"buy"}', Reason.INVALID, "$.action"),
        (Purchase, GOOD[:-1] + b',"quantity":-1}', Reason.INVALID, "$.quantity"),
        (Trade, b'{"symbol":"s","price":0,"quantity":1,"ts":1}', Reason.INVALID, "$.price"),
        (Trade, b'{"symbol":"s","price":1,"quantity":-1,"ts":1}', Reason.INVALID, "$.quantity"),
        (Item, b'{"item_id":"i","price":-0.01}', Reason.INVALID, "$.price"),
        (Feedback, b'{"decision_id":"d","item_id":"i","ts":1,"reward":null}', Reason.INVALID, "$.reward"),
        (CreditApplication, b'{"account_id":"a","ts":1,"features":{"x":[1]}}', Reason.INVALID, "$.features"),
    ],
)
def test_a_bad_record_has_a_reason_and_names_its_field(
    type_: type, value: bytes | None, reason: Reason, message: str
) -> None:
    got = wire.decode(type_, [value])
    assert [(error.row, error.reason) for error in got.errors] == [(0, reason)]
    assert message in got.errors[0].message


def test_a_bad_record_costs_only_itself() -> None:
    values = [GOOD, b"{", GOOD, None, GOOD]
    got = wire.decode(Click, values)
    assert list(got.rows) == [0, 2, 4]
    assert [error.row for error in got.errors] == [1, 3]


def test_a_record_longer_than_allowed_is_not_even_decoded() -> None:
    got = wire.decode(Click, [GOOD, b"{" * 200], max_bytes=100)
    assert got.errors[0].reason is Reason.OVERSIZED
    assert "200 bytes" in got.errors[0].message


def test_unknown_fields_are_ignored_and_null_is_missing() -> None:
    got = wire.decode(Click, [GOOD[:-1] + b',"action":null,"referrer":{"a":[1,2]}}'])
    assert got.records == [Click("a", "b", 1.5)]


def test_optional_fields_that_are_none_are_not_written() -> None:
    assert wire.encode([Click("a", "b", 1.5), Click("a", "b", 2.0, "cart")]) == [
        GOOD,
        b'{"user_id":"a","item_id":"b","ts":2.0,"action":"cart"}',
    ]


@pytest.mark.parametrize(
    ("time", "written", "seconds"),
    [
        ("s", "1760000000.125", 1760000000.125),
        ("ms", "1760000000125", 1760000000.125),
        ("us", "1760000000125000", 1760000000.125),
        ("ns", "1760000000125000000", 1760000000.125),
        ("iso", '"2025-10-09T08:53:20.125Z"', 1760000000.125),
        ("iso", '"2025-10-09 10:53:20.125+02:00"', 1760000000.125),
        ("iso", '"2025-10-09T08:53:20.125"', 1760000000.125),
    ],
)
def test_times_in_other_units(time: str, written: str, seconds: float) -> None:
    value = GOOD.replace(b"1.5", written.encode())
    assert wire.decode(Click, [value], Dialect(time=time)).records == [Click("a", "b", seconds)]  # type: ignore[arg-type]


def test_a_foreign_source_is_read_by_its_own_names_and_values() -> None:
    taobao = Dialect(
        {"user_id": "visitorid", "action": "behaviour", "ts": "timestamp"},
        {"action": {"pv": "view", "fav": "favorite", "buy": "cart"}},
        numeric_ids=True,
    )
    value = b'{"visitorid":12,"item_id":7,"timestamp":1511658000,"behaviour":"%s"}'
    got = wire.decode(Click, [value % b"pv", value % b"fav", value % b"cart", value % b"odd"], taobao)
    assert [click.action for click in got.records] == ["view", "favorite", "cart"]
    assert got.records[0] == Click("12", "7", 1511658000.0, "view")
    assert got.errors[0].message == "Invalid enum value 'odd' - at `$.action`"


def test_booleans_can_be_values_of_a_foreign_source() -> None:
    binance = Dialect({"side": "buyer_is_maker"}, {"side": {"true": "sell", "false": "buy"}})
    value = b'{"symbol":"s","price":1,"quantity":1,"ts":1,"buyer_is_maker":%s}'
    got = wire.decode(Trade, [value % b"true", value % b"false", value % b"null"], binance)
    assert [trade.side for trade in got.records] == ["sell", "buy", None]


def test_a_dialect_that_does_not_fit_the_struct_says_so() -> None:
    with pytest.raises(ContractViolation, match="no field 'userid'"):
        wire.decode(Click, [GOOD], Dialect({"userid": "u"}))
    with pytest.raises(ContractViolation, match="two fields of Click are read from item_id"):
        wire.decode(Click, [GOOD], Dialect({"user_id": "item_id"}))
    with pytest.raises(ContractViolation, match="unit of time 'min'"):
        Dialect(time="min")  # type: ignore[arg-type]


def test_the_contract_itself_is_an_empty_dialect() -> None:
    assert not Dialect()
    assert Dialect({"a": "b"}) == Dialect({"a": "b"})
    assert len({Dialect(time="ms"), Dialect(time="ms"), Dialect()}) == 2

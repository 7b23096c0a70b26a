"""Records that columns cannot hold go the same way as the others: bad ones apart, good ones to the agent."""

from __future__ import annotations

import numpy as np

from stream_app.batch import BatchTopic
from stream_app.structs import Structs
from topics.columns import Columns
from topics.dialect import Dialect
from topics.errors import Reason
from topics.events import CreditApplication, Trade
from topics.spans import Spans

GOOD = b'{"account_id": "a", "ts": 5, "features": {"age": 40, "job": "nurse", "owner": true, "rent": null}}'


def test_a_struct_with_a_dict_is_decoded_record_by_record_and_a_flat_one_into_columns() -> None:
    topic = BatchTopic("credit-applications", CreditApplication, 4)
    values = [GOOD, b"{", b'{"account_id": "a", "ts": 5}', None, GOOD]
    decoded = topic.decode(Spans.of(values))
    assert isinstance(decoded, Structs)
    assert decoded.ok.tolist() == [True, False, False, False, True]
    assert [(e.row, e.reason) for e in decoded.errors] == [
        (1, Reason.UNDECODABLE), (2, Reason.INVALID), (3, Reason.EMPTY),
    ]  # fmt: skip
    assert np.isnan(decoded.ts[1])
    assert decoded.ts[4] == 5.0
    assert isinstance(BatchTopic("trades", Trade, 4).decode(Spans.of([b"{}"])), Columns)


def test_good_and_take_keep_the_rows_of_the_batch() -> None:
    topic = BatchTopic("credit-applications", CreditApplication, 4)
    decoded = topic.decode(Spans.of([b"{", GOOD, GOOD.replace(b'"a"', b'"b"')]))
    good = decoded.good()
    assert good.rows.tolist() == [1, 2]
    assert [record.account_id for record in good.records] == ["a", "b"]
    assert good.errors == []
    last = good.take(np.array([False, True]))
    assert last.rows.tolist() == [2]
    assert last.record(0).features == {"age": 40.0, "job": "nurse", "owner": True, "rent": None}
    assert last.good() is last


def test_a_dialect_and_tombstones_hold_for_structs_too() -> None:
    dialect = Dialect(fields={"account_id": "customer"}, time="ms")
    topic = BatchTopic("credit-applications", CreditApplication, 4, dialect=dialect, tombstones=True)
    decoded = topic.decode(Spans.of([None, b'{"customer": "a", "ts": 7000, "features": {}}']))
    assert decoded.errors == []
    assert decoded.ok.tolist() == [False, True]
    assert decoded.records[1].account_id == "a"
    assert decoded.ts[1] == 7.0

"""Lists as records: objects and columns write the same bytes, and what is written is what the contract reads."""

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from stream_app import lists as lists_module
from stream_app.blending import NEURAL, RULES, TRENDING, Blended
from stream_app.items import ItemIndex
from stream_app.lists import encode_lists_of
from topics.decisions import Recommendation, decision_id
from topics.spans import Spans


def batch(partition: int, offsets: list[int], users: list[bytes]) -> SimpleNamespace:
    """What the encoding reads of a batch."""
    return SimpleNamespace(
        records=SimpleNamespace(topic="clicks", partition=partition),
        offsets=np.array(offsets),
        columns=SimpleNamespace(user_id=Spans.of(users), ts=np.array(offsets) + 0.125),
    )


def catalog() -> ItemIndex:
    items = ItemIndex()
    items.index(Spans.of([b"cup", b"l\xc3\xa4mp", b'a"b', b"tray"]))
    items.titles[1] = "Lämp"
    items._labels.set(1, "Lämp".encode())
    return items


def written(monkeypatch: pytest.MonkeyPatch, few: int) -> tuple[list[bytes | None], np.ndarray]:
    """Three lists of two batches: a full one, a short one with a reason by rule, an empty one with a note."""
    monkeypatch.setattr(lists_module, "FEW_LISTS", few)
    monkeypatch.setattr(lists_module, "time", SimpleNamespace(time=lambda: 1_700_000_000.5))
    lists = Blended(
        np.array([[0, 1, 2], [3, -1, -1], [-1, -1, -1]]),
        np.array([[0.5, 0.25, 1e-7], [0.1234567891, 0, 0], [0, 0, 0]], np.float32),
        np.array([[NEURAL, RULES, TRENDING], [TRENDING, 0, 0], [0, 0, 0]], np.int8),
    )
    causes = np.array([[-1, 1, -1], [2, -1, -1], [-1, -1, -1]])
    sources = [
        (batch(2, [7, 8, 9], [b"u1", b"u2", b"u3"]), np.array([0, 2])),
        (batch(0, [70], [b"\xc3\xa9"]), np.array([0])),
    ]
    values, cold = encode_lists_of(sources, lists, causes, catalog(), "neural", "gru-1", [None, None, 'withheld: "x"'])
    return values.tolist(), cold


def test_objects_and_columns_write_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    by_object, cold = written(monkeypatch, few=10)
    by_column, cold_too = written(monkeypatch, few=0)
    assert by_object == by_column
    np.testing.assert_array_equal(cold, cold_too)


def test_records_are_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    values, cold = written(monkeypatch, few=10)
    full, short, empty = (msgspec.json.decode(value or b"", type=Recommendation) for value in values)
    assert [item.reason for item in full.items] == ["fits what you did lately", "follows Lämp", "many take it now"]
    assert (full.user_id, full.source, full.rung, full.model) == ("u1", "clicks:2:7", "neural", "gru-1")
    assert full.decision_id == decision_id("clicks:2:7")
    assert (short.user_id, short.rung, short.items[0].reason) == ("u3", "trending", 'follows a"b')
    assert (empty.user_id, empty.items, empty.note) == ("é", [], 'withheld: "x"')
    assert cold.tolist() == [False, True, True]

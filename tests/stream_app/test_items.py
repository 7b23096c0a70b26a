"""Item indices and the catalog."""

from __future__ import annotations

import msgspec

from stream_app.items import ItemIndex
from topics.columns import decode_columns
from topics.events import Item
from topics.spans import Spans


def update(items: ItemIndex, *records: Item, deleted: tuple[bytes, ...] = ()) -> None:
    values = Spans.of([msgspec.json.encode(record) for record in records])
    items.update(decode_columns(Item, values), Spans.of(deleted))


def test_indices_are_dense_and_stay() -> None:
    items = ItemIndex()
    assert items.index(Spans.of([b"a", b"b", b"a"])).tolist() == [0, 1, 0]
    assert items.index(Spans.of([b"c", b"b"])).tolist() == [2, 1]
    assert [items.text(i) for i in range(3)] == ["a", "b", "c"]
    assert items.index_of("c") == 2
    assert items.index_of("never") == -1


def test_items_outside_their_window_or_deleted_are_not_available() -> None:
    items = ItemIndex()
    update(
        items, Item("open"), Item("early", available_from=100.0), Item("late", expires_at=50.0), Item("gone"),
        deleted=(b"gone",),
    )  # fmt: skip
    items.index(Spans.of([b"not-in-catalog"]))
    names = {items.text(i): bool(ok) for i, ok in enumerate(items.available(60.0))}
    assert names == {"open": True, "early": False, "late": False, "gone": False, "not-in-catalog": True}
    assert items.available(100.0)[items.index_of("early")]
    update(items, Item("gone"))
    assert items.available(60.0)[items.index_of("gone")]


def test_the_latest_record_of_an_item_holds() -> None:
    items = ItemIndex()
    update(items, Item("a", title="Old", category="x", price=1.0), Item("a", title="New", category="y", price=2.5))
    assert items.label(0) == "New"
    assert items.price(0) == 2.5
    assert items.categories[items.category_codes()[0]] == "y"
    assert items.label(items.index(Spans.of([b"b"]))[0]) == "b"


def test_blocked_items_are_not_available_until_the_list_says_otherwise() -> None:
    items = ItemIndex()
    items.index(Spans.of([b"a", b"b", b"c"]))
    items.block(Spans.of([b"b", b"not met yet"]))
    assert items.available(0.0).tolist() == [True, False, True, False]
    items.block(Spans.of([b"a"]))
    assert items.available(0.0).tolist() == [False, True, True, True]
    items.index(Spans.of([b"i%d" % i for i in range(3000)]))
    assert not items.available(0.0)[0]
    assert items.available(0.0)[1:].all()

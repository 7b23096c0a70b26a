"""Items as numbers: one index for the process, and the catalog that says what each is and when it is for sale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_app.state.index import KeyIndex
from topics.columns import Columns
from topics.spans import Spans

__all__ = ["ItemIndex", "Texts"]

_NO_CATEGORY = -1


class Texts:
    """A text for each index, as spans over one growing buffer; a text that is set again leaves its old bytes behind.

    One thread sets, others may read: a span is put in place whole, after its bytes.
    """

    def __init__(self) -> None:
        self._data = np.empty(4096, np.uint8)
        self._used = 0
        self._spans = np.full((1024, 2), -1, np.int64)

    def set(self, i: int, text: bytes) -> None:
        """Set the text of index `i`."""
        if i >= len(self._spans):
            more = max(i + 1, len(self._spans) * 3 // 2) - len(self._spans)
            self._spans = np.concatenate([self._spans, np.full((more, 2), -1, np.int64)])
        if self._used + len(text) > len(self._data):
            larger = np.empty(max(self._used + len(text), len(self._data) * 3 // 2), np.uint8)
            larger[: self._used] = self._data[: self._used]
            self._data = larger
        self._data[self._used : self._used + len(text)] = np.frombuffer(text, np.uint8)
        self._spans[i] = (self._used, self._used + len(text))
        self._used += len(text)

    def take(self, rows: NDArray[np.int64]) -> Spans:
        """The texts at `rows`; null where none was set."""
        spans = self._spans[rows]
        # The buffer after the spans: a later one holds all that an earlier one does.
        return Spans(self._data, spans[:, 0].copy(), spans[:, 1].copy())


class ItemIndex:
    """Item ids -> indices 0, 1, 2, … in the order they were first met, and the catalog in columns by that index.

    An item that the catalog does not know may be recommended: not every user of this has a catalog. One that the
    catalog deleted, or whose availability window is over or has not begun, may not.
    """

    def __init__(self) -> None:
        self._keys = KeyIndex(1024)
        self._texts: list[str] = []
        self._ids = Texts()
        self._labels = Texts()
        self.titles: dict[int, str] = {}
        self._category_codes: dict[str, int] = {}
        self.categories: list[str] = []
        self._category = np.empty(0, np.int32)
        self._price = np.empty(0)
        self._from = np.empty(0)
        self._until = np.empty(0)
        self._deleted = np.empty(0, np.bool_)
        self._blocked = np.empty(0, np.bool_)
        self.catalog_items = 0
        #: Grows with every change of the catalog.
        self.changes = 0

    def __len__(self) -> int:
        return len(self._texts)

    def index(self, ids: Spans) -> NDArray[np.int64]:
        """Index of each item, int64 [n]; new ones get the next."""
        rows, new = self._keys.insert(ids)
        if len(new):
            for i, key in zip(new.tolist(), self._keys.keys(new).tolist(), strict=True):
                self._texts.append((key or b"").decode("utf-8", "replace"))
                self._ids.set(i, key or b"")
                self._labels.set(i, key or b"")
            self._grow()
        return rows

    def index_of(self, item_id: str) -> int:
        """Index of one item, or -1 if it was never met."""
        return int(self._keys.lookup(Spans.of([item_id.encode()]))[0])

    def text(self, i: int) -> str:
        """The item's own id."""
        return self._texts[i]

    def ids(self, rows: NDArray[np.int64]) -> Spans:
        """The items' own ids."""
        return self._ids.take(rows)

    def labels(self, rows: NDArray[np.int64]) -> Spans:
        """Titles, or ids where the catalog has none."""
        return self._labels.take(rows)

    def label(self, i: int) -> str:
        """Title, or the id where the catalog has none."""
        return self.titles.get(i, self._texts[i])

    def _grow(self) -> None:
        size, old = len(self._texts), len(self._category)
        if size <= old:
            return
        more = max(1024, size + size // 2) - old
        self._category = np.concatenate([self._category, np.full(more, _NO_CATEGORY, np.int32)])
        self._price = np.concatenate([self._price, np.full(more, np.nan)])
        self._from = np.concatenate([self._from, np.full(more, -np.inf)])
        self._until = np.concatenate([self._until, np.full(more, np.inf)])
        self._deleted = np.concatenate([self._deleted, np.zeros(more, np.bool_)])
        self._blocked = np.concatenate([self._blocked, np.zeros(more, np.bool_)])

    # -- catalog

    def update(self, items: Columns, deleted: Spans) -> None:
        """Take catalog records (good rows of topic `items`, in order) and the ids of deleted items."""
        rows = self.index(items.item_id)
        category = items.category.tolist()
        title = items.title.tolist()
        for i, row in enumerate(rows.tolist()):
            if title[i] is not None:
                self.titles[row] = title[i].decode("utf-8", "replace")
                self._labels.set(row, title[i])
            self._category[row] = self._code(category[i])
        self._price[rows] = items.price
        self._from[rows] = np.where(np.isnan(items.available_from), -np.inf, items.available_from)
        self._until[rows] = np.where(np.isnan(items.expires_at), np.inf, items.expires_at)
        self._deleted[rows] = False
        if len(deleted):
            self._deleted[self.index(deleted)] = True
        self.catalog_items = len(self.titles)
        self.changes += 1

    def block(self, ids: Spans) -> None:
        """These items and no others are blocked: never recommended, whatever the catalog says of them."""
        rows = self.index(ids)
        blocked = np.zeros(len(self._blocked), np.bool_)
        blocked[rows] = True
        self._blocked = blocked  # in place whole: other threads ask too

    def blocked(self) -> NDArray[np.bool_]:
        """Which items are blocked: bool [items]."""
        return self._blocked[: len(self._texts)]

    def _code(self, category: bytes | None) -> int:
        if category is None:
            return _NO_CATEGORY
        text = category.decode("utf-8", "replace")
        if text not in self._category_codes:
            self._category_codes[text] = len(self.categories)
            self.categories.append(text)
        return self._category_codes[text]

    def available(self, ts: float) -> NDArray[np.bool_]:
        """Which items may be recommended at event time `ts`: bool [items]."""
        n = len(self._texts)
        return ~(self._deleted[:n] | self._blocked[:n]) & (self._from[:n] <= ts) & (ts < self._until[:n])

    def category_codes(self) -> NDArray[np.int32]:
        """Category of each item as a code into `categories`, -1 where there is none: int32 [items]."""
        return self._category[: len(self._texts)]

    def price(self, i: int) -> float | None:
        """Price of an item, or None."""
        price = float(self._price[i])
        return None if np.isnan(price) else price

    def known_to_catalog(self) -> NDArray[np.int64]:
        """Indices of items with a title, a category or a price that are not deleted."""
        n = len(self._texts)
        known = (self._category[:n] >= 0) | ~np.isnan(self._price[:n])
        known[[i for i in self.titles if i < n]] = True
        return np.flatnonzero(known & ~self._deleted[:n])

    def category_of(self, i: int) -> str | None:
        """Category of an item, or None."""
        code = int(self._category[i])
        return None if code < 0 else self.categories[code]

    def window(self, i: int) -> tuple[float, float]:
        """From and until when an item is for sale, epoch seconds; a deleted one never is."""
        return (np.inf, -np.inf) if self._deleted[i] else (float(self._from[i]), float(self._until[i]))

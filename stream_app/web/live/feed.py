"""Published records as the page shows them: recommendations with titles and prices, forecasts as points of a line."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from stream_app.items import ItemIndex
from topics.decisions import Forecast, Recommendation

__all__ = ["Prices", "Recommendations"]

#: Items of a list that the page shows.
SHOWN_ITEMS = 6
#: Items whose index is remembered.
MAX_KNOWN = 20_000
#: Symbols kept; of more, the one that was silent longest goes.
MAX_SYMBOLS = 24
#: Points kept of each.
MAX_POINTS = 180
#: Points on their way to browsers; one that falls further behind gets everything anew.
MAX_JOURNAL = 4 * MAX_SYMBOLS

#: Only forecasts of prices have it, by the contract.
_OF_A_SYMBOL = b'"volatility":'


class Recommendations:
    """Decodes records of `recommendations`, and dresses them with titles and prices."""

    def __init__(self, items: ItemIndex) -> None:
        self._items = items
        self._index: dict[str, int] = {}
        self._decode = msgspec.json.Decoder(Recommendation).decode

    def decode(self, records: Iterable[bytes]) -> list[Recommendation]:
        """Records as structs."""
        return [self._decode(record) for record in records]

    def unknown(self, made: Iterable[Recommendation]) -> list[str]:
        """Items whose index has not been asked for; give them to `look_up`."""
        shown = {item.item_id for one in made for item in one.items[:SHOWN_ITEMS]}
        return [item_id for item_id in shown if item_id not in self._index]

    def look_up(self, item_ids: Iterable[str]) -> None:
        """In the stream's loop, which owns the index of items."""
        if len(self._index) > MAX_KNOWN:
            self._index = {}
        self._index |= {item_id: i for item_id in item_ids if (i := self._items.index_of(item_id)) >= 0}

    def rows(self, made: Iterable[Recommendation]) -> list[dict[str, Any]]:
        """One dict a recommendation."""
        return [self._row(one) for one in made]

    def _row(self, made: Recommendation) -> dict[str, Any]:
        return {
            "id": made.decision_id, "user": made.user_id, "rung": made.rung, "model": made.model, "ts": made.event_ts,
            "made": made.produced_ts, "source": made.source, "note": made.note, "n": len(made.items),
            "items": [self._item(item.item_id, item.score, item.reason) for item in made.items[:SHOWN_ITEMS]],
        }  # fmt: skip

    def _item(self, item_id: str, score: float, reason: str | None) -> dict[str, Any]:
        i = self._index.get(item_id)
        known = {} if i is None else {"title": self._items.titles.get(i), "price": self._items.price(i)}
        return {"id": item_id, "score": score, "why": reason, **known}


class Prices:
    """The last points of each symbol, and which of them are new.

    A point is [ts, value, mean, lower, upper, var_99, step_s]: what the price was at `ts`, and what is said of
    `ts + step_s`.
    """

    def __init__(self) -> None:
        self.lines: dict[str, deque[list[Any]]] = {}
        self.level = 0.0
        self._journal: deque[tuple[int, str, list[Any]]] = deque(maxlen=MAX_JOURNAL)
        self._decode = msgspec.json.Decoder(Forecast).decode
        self.newest = 0
        self._held: list[bytes] = []

    def hold(self, records: Iterable[bytes]) -> None:
        """Keep those of symbols for `release`: lines begin with their past, which is being read."""
        self._held += [record for record in records if _OF_A_SYMBOL in record]

    def release(self) -> None:
        """Add what was held."""
        held, self._held = self._held, []
        self.add(held)

    def add(self, records: Iterable[bytes]) -> None:
        """Take the symbols among records of `forecasts`, each once, in the order of each symbol's time."""
        for record in records:
            if _OF_A_SYMBOL not in record:
                continue  # an item's demand: there are many more of them, and no price to draw
            made = self._decode(record)
            line = self.lines.pop(made.subject, None) or deque(maxlen=MAX_POINTS)
            if line and made.ts <= line[-1][0]:
                self.lines[made.subject] = line
                continue  # published again after a crash, or read from the topic and from the tap
            point = [made.ts, made.value, made.mean, made.lower, made.upper, made.var_99, made.step_s]
            line.append(point)
            self.level = made.level
            self.lines[made.subject] = line  # the one heard of last stands last
            self.newest += 1
            self._journal.append((self.newest, made.subject, point))
            while len(self.lines) > MAX_SYMBOLS:
                self.lines.pop(next(iter(self.lines)))

    def since(self, seen: int) -> dict[str, Any] | None:
        """What a browser that has everything up to number `seen` lacks; all lines where that is too long ago."""
        if seen == self.newest:
            return None
        if seen == 0 or not self._journal or self._journal[0][0] > seen + 1:
            return {"all": True, "level": self.level, "lines": {name: list(line) for name, line in self.lines.items()}}
        lines: dict[str, list[Any]] = {}
        for number, symbol, point in self._journal:
            if number > seen:
                lines.setdefault(symbol, []).append(point)
        return {"all": False, "level": self.level, "lines": lines}

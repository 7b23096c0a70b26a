"""What the demo replays: real purchases with a simulated view before each, and real trades, in order of their time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq

from topics.events import Click, Item, Purchase, Trade
from topics.wire import encode

__all__ = ["DATA", "LATENESS_S", "Event", "items", "shop_events", "trade_events"]

DATA = Path(__file__).with_name("data")

#: A view is invented this long before each purchase: the shop's file has none. It is marked as simulated.
VIEW_BEFORE_S = 30.0

#: Orders under way at once: about two days' worth, so events come up to some days out of order.
SHOPPERS = 200
LATENESS_S = 14 * 86_400.0


@dataclass(frozen=True, slots=True)
class Event:
    """One record to send: topic of the contract, key, value; user and item where it is a shop event."""

    topic: str
    key: bytes
    value: bytes
    user: str = ""
    item: str = ""


def items() -> list[Event]:
    """The catalog."""
    table = pq.read_table(DATA / "items.parquet").to_pylist()
    records = [Item(item_id=row["item_id"], title=row["title"], price=row["price"]) for row in table]
    return [
        Event("items", record.item_id.encode(), value) for record, value in zip(records, encode(records), strict=True)
    ]


def shop_events(shoppers: int = SHOPPERS, seed: int = 7) -> Iterator[Event]:
    """A view and a purchase for each order line of the last five weeks.

    The file has the lines of an order in one minute. Here `shoppers` orders are under way at once, the earliest ones
    first, and one of them at random goes on each time; so a shopper's next event comes when the last is answered.
    """
    draw = random.Random(seed)
    orders = _orders()
    under_way = [order for order, _ in zip(orders, range(shoppers), strict=False)]
    while under_way:
        i = draw.randrange(len(under_way))
        event = next(under_way[i], None)
        if event is not None:
            yield event
            continue
        order = next(orders, None)
        if order is None:
            del under_way[i]
        else:
            under_way[i] = order


def _orders() -> Iterator[Iterator[Event]]:
    """The events of each order, in order of time."""
    table = pq.read_table(DATA / "purchases.parquet")
    columns = [table[name].to_pylist() for name in ("user_id", "item_id", "ts", "quantity", "price", "order_id")]
    for _, lines in itertools.groupby(zip(*columns, strict=True), key=lambda line: (line[0], line[5])):
        yield _events(list(lines))


def _events(lines: list[tuple[str, str, int, int, float, str]]) -> Iterator[Event]:
    for user, item, ts, quantity, price, order in lines:
        view = Click(user_id=user, item_id=item, ts=float(ts) - VIEW_BEFORE_S, action="view")
        text = msgspec.json.encode(view)
        yield Event("clicks", user.encode(), text[:-1] + b',"simulated":true}', user, item)
        bought = Purchase(
            user_id=user, item_id=item, ts=float(ts), quantity=float(quantity), price=round(price, 2), order_id=order
        )
        yield Event("purchases", user.encode(), msgspec.json.encode(bought), user, item)


def trade_events() -> tuple[np.ndarray, list[Event]]:
    """Seconds since the first trade, float64 [n], and the trades: six markets, ten minutes."""
    table = pq.read_table(DATA / "trades.parquet")
    columns = [table[name].to_pylist() for name in ("symbol", "ts_ms", "price", "quantity", "side", "trade_id")]
    events = []
    for symbol, ts_ms, price, quantity, side, trade_id in zip(*columns, strict=True):
        trade = Trade(
            symbol=symbol, price=price, quantity=quantity, ts=ts_ms / 1000.0, side=side, trade_id=str(trade_id)
        )
        events.append(Event("trades", symbol.encode(), msgspec.json.encode(trade)))
    ts = np.asarray(columns[1], np.float64) / 1000.0
    return ts - ts[0], events

"""Decoding and encoding of JSON records: the kernels beside msgspec, in turns within one run. Prints JSON lines.

    python bench/decode.py [RECORDS_A_BATCH]

Rates are of the best of 15 turns, in records/s on one core. `msgspec` is one list comprehension with one decoder, which
leaves Python objects; `columns` leaves numpy columns.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np

from topics import Dialect, Spans, wire
from topics.columns import decode_columns, encode_columns
from topics.events import Click, Trade

TURNS = 15


class SmallClick(msgspec.Struct, gc=False):
    """What the standard job reads."""

    user_id: str
    ts: float


class Count(msgspec.Struct, gc=False):
    """What the standard job writes."""

    user_id: str
    window_start: int
    count: int


class Score(msgspec.Struct, gc=False):
    """A float of 16 or 17 digits."""

    item_id: str
    score: float


def race(name: str, n: int, size: float, **contestants: Callable[[], Any]) -> None:
    """Run each in turn, and print their best rates."""
    best = dict.fromkeys(contestants, float("inf"))
    for turn in range(TURNS + 2):
        for contestant, run in contestants.items():
            start = time.perf_counter()
            run()
            if turn >= 2:
                best[contestant] = min(best[contestant], time.perf_counter() - start)
    rates = {contestant: round(n / seconds) for contestant, seconds in best.items()}
    ratio = round(best["msgspec"] / best["columns"], 2)
    print(json.dumps({"case": name, "bytes": round(size, 1), **rates, "ratio": ratio}), flush=True)


def decoding(name: str, type_: type[Any], values: list[bytes], dialect: Dialect | None = None) -> None:
    """One case of decoding."""
    spans = Spans.of(values)
    race(
        f"decode {name}",
        len(values),
        spans.nbytes() / len(values),
        msgspec=lambda: wire.decode(type_, values, dialect),
        columns=lambda: decode_columns(type_, spans, dialect),
    )


def encoding(name: str, type_: type[Any], columns: dict[str, Any]) -> None:
    """One case of encoding; the records are made beforehand, which favours msgspec."""
    rows = zip(*(c.tolist() if isinstance(c, np.ndarray) else c for c in columns.values()), strict=True)
    records = [type_(*(v.decode() if isinstance(v, bytes) else v for v in row)) for row in rows]
    size = sum(map(len, wire.encode(records))) / len(records)
    race(
        f"encode {name}",
        len(records),
        size,
        msgspec=lambda: wire.encode(records),
        columns=lambda: encode_columns(type_, **columns),
    )


def main(n: int) -> None:
    """All cases, `n` records a batch."""
    rng = random.Random(1)
    user = [f"u{rng.randrange(200_000)}" for _ in range(n)]
    item = [f"i{rng.randrange(20_000)}" for _ in range(n)]
    ts = [round(1.76e9 + k * 0.002, 3) for k in range(n)]
    small = [
        b'{"user_id":"%s","item_id":"%s","ts":%.3f}' % (u.encode(), i.encode(), t)
        for u, i, t in zip(user, item, ts, strict=True)
    ]
    decoding("standard job: user_id and ts", SmallClick, small)
    decoding("small clicks", Click, small)
    action: list[Literal["view", "click", "cart"]] = [rng.choice(("view", "click", "cart")) for _ in range(n)]
    spaced = [
        json.dumps(
            {"user_id": u, "item_id": i, "ts": 1.76e9 + rng.random() * 1e6, "action": a, "session_id": f"s{u}"}
        ).encode()
        for u, i, a in zip(user, item, action, strict=True)
    ]
    decoding("json.dumps, time.time(), five fields", Click, spaced)
    foreign = [
        b'{"visitorid":%d,"timestamp":%d,"behaviour":"pv","item_id":%d}'
        % (rng.randrange(200_000), 1_760_000_000_000 + k, rng.randrange(20_000))
        for k in range(n)
    ]
    dialect = Dialect(
        {"user_id": "visitorid", "ts": "timestamp", "action": "behaviour"}, {"action": {"pv": "view"}}, "ms", True
    )
    decoding("foreign names, values, ms, numeric ids", Click, foreign, dialect)
    iso = [
        b'{"user_id":"%s","item_id":"%s","ts":"2026-01-%02dT10:%02d:%02d.%03dZ"}'
        % (u.encode(), i.encode(), 1 + k % 28, k % 60, k % 59, k % 1000)
        for k, (u, i) in enumerate(zip(user, item, strict=True))
    ]
    decoding("ISO 8601 times", Click, iso, Dialect(time="iso"))
    trade = [
        b'{"symbol":"BTCUSDT","price":%.2f,"quantity":%.5f,"ts":%.3f,"side":"buy","trade_id":"%d","account_id":"a%d"}'
        % (60_000 + rng.random(), rng.random(), t, k, rng.randrange(5000))
        for k, t in enumerate(ts)
    ]
    decoding("trades", Trade, trade)
    long = [
        value[:-1]
        + b',"context":{"agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","page":[1,2,{"a":null}],"referrer":"https://example.com/a/b?c=d"}}'
        for value in small
    ]
    decoding("unknown nested fields", Click, long)
    poison = [b"{broken" if k % 10 == 0 else value for k, value in enumerate(small)]
    decoding("one record in ten broken", Click, poison)
    escaped = [value.replace(b'"i', b'"\\u00e9') for value in small]
    decoding("every record with an escape (the slow way)", Click, escaped)
    users = Spans.of([u.encode() for u in user])
    encoding(
        "standard job: counts",
        Count,
        {"user_id": users, "window_start": np.array(ts).astype(np.int64) // 300 * 300, "count": np.arange(n) % 50 + 1},
    )
    encoding("scores of 16 or 17 digits", Score, {"item_id": users, "score": np.random.default_rng(1).random(n)})


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)

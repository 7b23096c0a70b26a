"""Recovery of a million users' state through Shard.apply, beside Faust's own table with the same state as JSON."""

from __future__ import annotations

import argparse
import json
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
from faust.stores.memory import Store
from state_memory import LAYOUT, RECENT, fill

from stream_app.state import Shard
from topics.spans import Spans

#: Changelog records a fetch, as of 1 MB of these rows.
FETCH = 1_300


def apply(keys: Spans, values: Spans, fetch: int) -> tuple[Shard, float, float]:
    """A new shard from a changelog in fetches of `fetch` records; seconds on the clock and of CPU."""
    shard = Shard(LAYOUT)
    began, cpu_began = time.perf_counter(), time.process_time()
    for first in range(0, len(keys), fetch):
        part = np.arange(first, min(first + fetch, len(keys)))
        shard.apply(keys.take(part), values.take(part))
    return shard, time.perf_counter() - began, time.process_time() - cpu_began


def stock(shard: Shard, users: int) -> float:
    """CPU seconds that Faust's memory store takes to apply the state of `users` users, decoding it from JSON."""
    keys = [f"u{i:08d}" for i in range(users)]
    values = []
    for row in range(users):
        state = {
            "recent": [list(entry.values()) for entry in RECENT.read(shard, row)],
            "hidden": shard.column("hidden")[row].tolist(),
            "windows": shard.column("tumbling.ring")[row].tolist(),
        }
        values.append(json.dumps(state).encode())
    store: Any = Store.__new__(Store)
    Store.__post_init__(store)
    began = time.process_time()
    for first in range(0, users, 1000):  # Faust's recovery buffer
        message = SimpleNamespace(partition=0, value=b"")
        store.apply_changelog_batch(
            [
                SimpleNamespace(key=key, value=json.loads(value), message=message)
                for key, value in zip(keys[first : first + 1000], values[first : first + 1000], strict=True)
            ],
            to_key=lambda key: key,
            to_value=lambda value: value,
        )
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--stock-users", type=int, default=20_000)
    options = parser.parse_args()
    apply(Spans.of([]), Spans.of([]), 1)
    written = Shard(LAYOUT)
    fill(written, options.users)
    began, cpu_began = time.perf_counter(), time.process_time()
    keys, values = written.drain_dirty()
    drain_s, drain_cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    cpu_s = 0.0
    for name, fetch in (("fetches of 1 MB", FETCH), ("fetches of 1 MB, again", FETCH), ("at once", options.users)):
        shard, seconds, cpu_s = apply(keys, values, fetch)
        same = np.array_equal(shard._raw[: options.users], written._raw[: options.users])
        report = {
            "bench": "state_recovery", "how": name, "users": options.users, "row_bytes": LAYOUT.row_bytes,
            "seconds": round(seconds, 2), "cpu_s": round(cpu_s, 2),
            "rows_per_cpu_s": round(options.users / cpu_s), "equal": same,
        }  # fmt: skip
        print(json.dumps(report), flush=True)
    report = {
        "bench": "state_recovery", "how": "drain of all rows", "users": options.users,
        "seconds": round(drain_s, 2), "cpu_s": round(drain_cpu_s, 2),
    }  # fmt: skip
    print(json.dumps(report), flush=True)
    stock_s = stock(written, options.stock_users)
    report = {
        "bench": "state_recovery", "how": "Faust's memory store, JSON", "users": options.stock_users,
        "cpu_s": round(stock_s, 2), "rows_per_cpu_s": round(options.stock_users / stock_s),
        "ours_times_faster": round(stock_s / options.stock_users / (cpu_s / options.users), 1),
    }  # fmt: skip
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()

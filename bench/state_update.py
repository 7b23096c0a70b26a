"""What one event costs in the state: lookup, window of a tumbling count, and a whole user profile, in batches."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
from state_memory import LAYOUT, RECENT, WINDOWS, user_ids

from stream_app.state import Columns, Layout, Shard
from topics.spans import Spans

#: The state of the standard job: a count a user and window.
COUNTS = Layout(Columns(WINDOWS), ("clicks",))


def count(shard: Shard, keys: Spans, offsets: np.ndarray, ts: np.ndarray) -> None:
    """The standard job's state."""
    shard.savepoint()
    rows = shard.locate(keys)
    shard.fresh(rows, 0, offsets)
    shard.advance(rows, 0, offsets, ts)
    WINDOWS.add(shard, rows, ts)
    shard.release()


def profile(shard: Shard, keys: Spans, offsets: np.ndarray, ts: np.ndarray) -> None:
    """Count, recent items, and a new hidden state."""
    shard.savepoint()
    rows = shard.locate(keys)
    shard.fresh(rows, 0, offsets)
    shard.advance(rows, 0, offsets, ts)
    WINDOWS.add(shard, rows, ts)
    RECENT.push(shard, rows, item=offsets.astype(np.int32), ts=ts.astype(np.int32), kind=1)
    hidden = shard.column("hidden")
    hidden[rows] = 0.9 * hidden[rows]
    shard.release()


def run(work: Callable[..., None], layout: Layout, users: int, batch: int, events: int) -> dict[str, float]:
    """CPU nanoseconds an event, median over batches of random users; and of draining what changed in `events`."""
    rng = np.random.default_rng(2)
    everyone, shard = user_ids(0, users), Shard(layout)
    shard.locate(everyone)
    shard.drain_dirty()
    times = []
    for i in range(events // batch):
        keys = everyone.take(rng.integers(0, users, batch))
        keys = Spans.of(keys.tolist())  # as they come: one after another in a fetched buffer
        offsets, ts = i * batch + np.arange(batch), 1.7e9 + i + rng.random(batch)
        began = time.process_time_ns()
        work(shard, keys, offsets, ts)
        times.append((time.process_time_ns() - began) / batch)
    began = time.process_time_ns()
    drained = len(shard.drain_dirty()[0])
    return {
        "ns_per_event": round(float(np.median(times[1:])), 1),
        "drain_ns_per_row": round((time.process_time_ns() - began) / drained, 1),
    }


def lookups(users: int, batch: int) -> float:
    """CPU nanoseconds a lookup of random keys that are there."""
    rng = np.random.default_rng(3)
    everyone, shard = user_ids(0, users), Shard(COUNTS)
    shard.locate(everyone)
    times = []
    for _ in range(300):
        keys = Spans.of(everyone.take(rng.integers(0, users, batch)).tolist())
        began = time.process_time_ns()
        shard.find(keys)
        times.append((time.process_time_ns() - began) / batch)
    return round(float(np.median(times[1:])), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--events", type=int, default=400_000)
    options = parser.parse_args()
    for users in (1_000, 50_000, 1_000_000):
        report: dict[str, object] = {"bench": "state_update", "users": users, "batch": options.batch}
        report["lookup_ns"] = lookups(users, options.batch)
        report["counts"] = run(count, COUNTS, users, options.batch, options.events)
        report["profile"] = run(profile, LAYOUT, users, options.batch, options.events)
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()

"""Memory of a user's state: windows, 50 recent items, a hidden state of 64, index included."""

from __future__ import annotations

import argparse
import json
import os
import resource

import numpy as np

from stream_app.state import Column, Columns, Layout, Ring, Shard, TumblingCounts
from topics.spans import Spans

WINDOWS = TumblingCounts(300, windows=12)
RECENT = Ring(50, item=np.int32, ts=np.int32, kind=np.int8)
COLUMNS = Columns(WINDOWS, RECENT, hidden=Column(np.float32, (64,)))
LAYOUT = Layout(COLUMNS, ("clicks", "purchases"))

#: Users a batch.
BATCH = 10_000


def user_ids(first: int, last: int) -> Spans:
    """Ids as shops have them: u and eight digits."""
    return Spans.of([b"u%08d" % i for i in range(first, last)])


def fill(shard: Shard, users: int, events: int = 3) -> None:
    """`events` events for each of `users` users; every byte of every row is written."""
    rng = np.random.default_rng(1)
    for first in range(0, users, BATCH):
        rows = shard.locate(user_ids(first, min(users, first + BATCH)))
        n = len(rows)
        for event in range(events):
            ts = 1.7e9 + first + event + rng.random(n)
            shard.advance(rows, 0, np.arange(first, first + n), ts)
            WINDOWS.add(shard, rows, ts)
            RECENT.push(shard, rows, item=rng.integers(0, 50_000, n), ts=ts.astype(np.int32), kind=1)
        shard.column("hidden")[rows] = rng.standard_normal((n, 64), np.float32)


def resident_bytes() -> int:
    """Memory of this process that is in RAM now."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, nargs="+", default=[100_000, 650_000, 1_000_000])
    for users in parser.parse_args().users:
        pid = os.fork()  # a process of its own each, or the memory of one size would serve the next
        if pid == 0:
            fill(Shard(LAYOUT), 1_000)
            before = resident_bytes()
            shard = Shard(LAYOUT)
            fill(shard, users)
            filled = resident_bytes()
            shard.drain_dirty()
            result = {
                "bench": "state_memory",
                "users": users,
                "row_bytes": LAYOUT.row_bytes,
                "index_bytes_per_user": round(shard.index.nbytes / users, 1),
                "reported_bytes_per_user": round(shard.nbytes / users, 1),
                "resident_bytes_per_user": round((filled - before) / users, 1),
                "resident_bytes_per_user_peak_in_checkpoint_of_all": round(
                    (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / users, 1
                ),
            }
            print(json.dumps(result), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()

"""A shop's real clicks through crashes: what the state says in the end is what a plain count says."""

from __future__ import annotations

import csv
import gzip
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from stream_app.state import Columns, Layout, Ring, Shard, TumblingCounts
from topics.spans import Spans

CLICKS = Path(__file__).parents[4] / "shared" / "data" / "taobao" / "UserBehavior.csv.gz"
WINDOW = TumblingCounts(300, windows=48)
RECENT = Ring(50, item=np.int32, ts=np.int32)
LAYOUT = Layout(Columns(WINDOW, RECENT), ("clicks",))


@pytest.mark.skipif(not CLICKS.exists(), reason="the shop's clicks are not at hand (../shared/data/taobao)")
@pytest.mark.parametrize("seed", [1, 2])
def test_after_crashes_at_random_moments_counts_and_rings_are_right(seed: int) -> None:
    with gzip.open(CLICKS, "rt") as file:
        events = [(user.encode(), int(item), float(ts)) for user, item, _, _, ts in csv.reader(file)]
    users = Spans.of([user for user, _, _ in events])
    items, ts = np.array([item for _, item, _ in events], np.int64), np.array([at for _, _, at in events])
    rng, shard = np.random.default_rng(seed), Shard(LAYOUT, "users")
    changelog: dict[bytes | None, bytes | None] = {}
    at = committed = crashes = 0
    published: dict[tuple[bytes | None, float], set[int]] = defaultdict(set)
    while at < len(events):
        part = np.arange(at, min(len(events), at + int(rng.integers(1, 3000))))
        shard.savepoint()
        rows, fresh = shard.admit(users.take(part), 0, part, ts[part])
        counts, starts, late = WINDOW.add(shard, rows[fresh], ts[part][fresh])
        RECENT.push(shard, rows[fresh], item=items[part][fresh], ts=ts[part][fresh])
        assert not late.any()
        if rng.random() < 0.1:
            shard.rollback()  # the agent raised: the batch comes again
            continue
        shard.release()
        for i, count, start in zip(part[fresh].tolist(), counts.tolist(), starts.tolist(), strict=True):
            published[users[i], start].add(count)
        at = int(part[-1]) + 1
        if rng.random() < 0.5:  # a checkpoint: rows first, then the offset, with a crash between them now and then
            keys, values = shard.drain_dirty()
            changelog.update(zip(keys, values, strict=True))
            if rng.random() < 0.7:
                committed = at
        if rng.random() < 0.1:
            shard, at, crashes = Shard(LAYOUT, "users"), committed, crashes + 1
            shard.apply(Spans.of(k for k in changelog if k is not None), Spans.of(changelog.values()))
    truth = Counter((user, at // 300 * 300) for user, _, at in events)
    assert crashes > 2
    assert {key: max(counts) for key, counts in published.items()} == dict(truth)
    assert all(counts == set(range(1, truth[key] + 1)) for key, counts in published.items())
    histories: dict[bytes, list[int]] = defaultdict(list)
    for user, item, _ in events:
        histories[user].append(item)
    rows = shard.find(Spans.of(histories))
    last, lengths = RECENT.last(shard, rows)
    for i, history in enumerate(histories.values()):
        assert last["item"][i, : lengths[i]].tolist() == history[::-1][:50]

"""The last list of each user: against a plain dict, and what becomes of it when its row does not stay."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.agents.profiles import profile_columns
from stream_app.blending import Blended
from stream_app.latest import LatestLists, Listed, Published, _hash
from stream_app.state.columns import Layout
from stream_app.state.shard import Shard
from topics.decisions import decision_ids
from topics.spans import Spans

K = 3


def new_shard(partition: int = 0) -> Shard:
    return Shard(Layout(profile_columns(66), ("clicks", "purchases")), "users", partition)


def keep(latest: LatestLists, shard: Shard, users: list[int], first: int, seed: int) -> dict[bytes, dict[str, Any]]:
    """A batch of answers to `users`; what is to be read back."""
    draw = np.random.default_rng(seed)
    n = len(users)
    names = [b"user-%d" % user for user in users]
    rows, offsets, ts = shard.locate(Spans.of(names)), np.arange(first, first + n), draw.random(n) * 1e9
    shard.advance(rows, 0, offsets, ts)
    items = draw.integers(-1, 100, (n, K))
    scores = draw.random((n, K)).astype(np.float32)
    sources, causes = draw.integers(0, 3, (n, K)).astype(np.int8), draw.integers(-1, 100, (n, K))
    cold = draw.random(n) < 0.3
    notes = [f"withheld: {i}" if draw.random() < 0.2 else None for i in range(n)]
    ids = decision_ids("clicks", shard.partition, offsets.tolist())
    values = Spans.of([b'{"decision_id":"%s","more":1}' % identity.encode() for identity in ids])
    made = Published(values, Blended(items, scores, sources), causes, cold, "neural", "gru-1", notes)
    latest.keep(shard, 0, Spans.of(names), rows, offsets, ts, made)
    return {
        names[i]: {
            "decision_id": ids[i], "offset": int(offsets[i]), "event_ts": float(ts[i]), "note": notes[i],
            "model": "trending" if cold[i] else "gru-1", "rung": "trending" if cold[i] else "neural",
            "items": [int(v) for v in items[i] if v >= 0],
            "scores": [round(float(s), 6) for v, s in zip(items[i], scores[i], strict=True) if v >= 0],
            "causes": [int(c) for v, c in zip(items[i], causes[i], strict=True) if v >= 0],
        }
        for i in range(n)
    }  # fmt: skip


def read(latest: LatestLists, shard: Shard, user: bytes) -> Listed | None:
    return latest.read(shard, int(shard.find(Spans.of([user]))[0]), user)


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=20), min_size=1, max_size=6))
def test_the_last_list_of_each_user_is_read_back_as_it_was(batches: list[list[int]]) -> None:
    latest, shards = LatestLists(K), [new_shard(0), new_shard(1)]
    truth: list[dict[bytes, dict[str, Any]]] = [{}, {}]
    first = 0
    for number, users in enumerate(batches):
        shard = shards[number % 2]
        truth[number % 2].update(keep(latest, shard, users, first, number))
        first += len(users)
    for shard, expected in zip(shards, truth, strict=True):
        for user, wanted in expected.items():
            found = read(latest, shard, user)
            assert found is not None
            assert {name: getattr(found, name) for name in wanted} == wanted
            assert latest.read_elsewhere(shard, int(shard.find(Spans.of([user]))[0]), user) == found
            (place,) = latest.candidates(wanted["decision_id"])
            assert latest.read_decision(*place, wanted["decision_id"]) == (user.decode(), found)
    assert latest.candidates("0" * 24) == []


def test_a_user_costs_no_more_than_the_budget_of_a_kilobyte_leaves() -> None:
    index_bytes = 25  # measured by bench/state_memory.py
    assert LatestLists(10).dtype.itemsize == 174
    assert Layout(profile_columns(66), ("clicks", "purchases")).row_bytes + index_bytes + 174 <= 1024


def test_a_list_is_gone_with_its_row_its_shard_and_its_batch() -> None:
    latest, shard = LatestLists(K), new_shard()
    keep(latest, shard, [1, 2], 0, 0)
    row = int(shard.find(Spans.of([b"user-1"]))[0])
    assert latest.read(shard, row, b"user-2") is None  # a row that was given to another
    assert latest.read(shard, -1, b"user-9") is None
    assert latest.read(shard, 10_000, b"user-1") is None
    shard.column("_mark")[row, 0] = -1  # its batch was taken back
    assert latest.read(shard, row, b"user-1") is None
    other = new_shard()  # dropped and recovered
    other.locate(Spans.of([b"user-1"]))
    assert read(latest, other, b"user-1") is None
    assert read(latest, shard, b"user-2") is not None
    latest.drop([])
    assert read(latest, shard, b"user-2") is None
    assert latest.nbytes == 0


def test_more_models_than_numbers_forget_the_oldest() -> None:
    latest = LatestLists(K)
    codes = [latest._code(f"model-{i}") for i in range(300)]
    assert max(codes) < 255
    assert latest._names[codes[-1]] == "model-299"


def test_the_hash_is_fnv_1a() -> None:
    assert _hash(b"foobar") == 0xBF9CF968

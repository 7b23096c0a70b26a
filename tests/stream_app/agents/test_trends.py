"""Trends of partitions and their sum."""

from __future__ import annotations

import numpy as np

from stream_app.agents.trends import SLOTS, ItemTrends, PartitionTrends, trend_columns
from stream_app.items import ItemIndex
from stream_app.state.columns import Columns, Layout
from stream_app.state.shard import Shard
from topics.spans import Spans
from tsrec_models.sequence.rules import EMPTY, RuleSettings

SETTINGS = RuleSettings(slots=SLOTS, half_life_s=1000.0)


def new_shard(partition: int) -> Shard:
    return Shard(Layout(Columns.of(trend_columns()), ("clicks",)), "items", partition)


class Tables:
    """As much of a table as `ItemTrends` needs."""

    def __init__(self, n: int) -> None:
        self.shards = {p: new_shard(p) for p in range(n)}

    def shard(self, partition: int) -> Shard:
        return self.shards[partition]


def sequences(seed: int, n: int) -> list[tuple[list[bytes], np.ndarray]]:
    draw = np.random.default_rng(seed)
    return [([b"i%d" % i for i in draw.integers(0, 9, 6)], np.sort(draw.uniform(0, 5000, 6))) for _ in range(n)]


def feed(trends: ItemTrends, partition: int, events: list[tuple[list[bytes], np.ndarray]]) -> None:
    part = trends.partition(partition)
    for ids, ts in events:
        numbers = part.numbers(Spans.of(ids))
        previous = np.full((len(numbers), 4), EMPTY, np.int64)
        for i in range(len(numbers)):
            past = numbers[:i][::-1][:4]
            previous[i, : len(past)] = past
        part.learn(previous, numbers, ts)
        trends.learn_sum(part.to_indices(previous), part.to_indices(numbers), ts)


def by_name(trends: ItemTrends, items: ItemIndex, now: float) -> tuple[dict[str, float], dict[str, float]]:
    """Scores of every item after `i0`, and trends, by item id."""
    index = items.index(Spans.of([b"i0"]))
    scores = trends.rules.scores(index[None], now=np.array([now]))[0]
    counts = trends.trending.counts(now)
    name = [items.text(i) for i in range(len(items))]
    return (
        {name[i]: round(float(s), 4) for i, s in enumerate(scores) if s > 0},
        {name[i]: round(float(c), 4) for i, c in enumerate(counts) if c > 0},
    )


def test_the_sum_after_a_rebalance_is_what_learning_everything_would_have_given() -> None:
    tables, items = Tables(2), ItemIndex()
    trends = ItemTrends(tables, items, SETTINGS, 500.0)
    feed(trends, 0, sequences(1, 20))
    feed(trends, 1, sequences(2, 20))
    learnt = by_name(trends, items, 5000.0)
    assert learnt[0]
    import asyncio

    asyncio.run(trends.rebuild())
    summed = by_name(trends, items, 5000.0)
    for before, after in zip(learnt, summed, strict=True):
        assert before.keys() == after.keys()
        for name, value in before.items():
            np.testing.assert_allclose(after[name], value, rtol=1e-3)


def test_a_partition_is_the_same_after_its_rows_went_through_the_changelog() -> None:
    tables, items = Tables(1), ItemIndex()
    trends = ItemTrends(tables, items, SETTINGS, 500.0)
    feed(trends, 0, sequences(3, 30))
    trends.write_back()
    keys, values = tables.shards[0].drain_dirty()
    recovered = new_shard(0)
    order = np.random.default_rng(0).permutation(len(keys))
    recovered.apply(keys.take(order), values.take(order))
    fresh_items = ItemIndex()
    again = PartitionTrends(recovered, fresh_items, SETTINGS, 500.0)
    original = trends.partition(0)
    for name in (b"i0", b"i3", b"i7"):
        a, b = original.numbers(Spans.of([name]))[0], again.numbers(Spans.of([name]))[0]
        assert a == b
        for left, right in zip(original.rules.rules_of(a), again.rules.rules_of(b), strict=True):
            np.testing.assert_array_equal(left, right)
    np.testing.assert_allclose(again.trending.counts(5000.0)[:9], original.trending.counts(5000.0)[:9], rtol=1e-6)


def test_a_new_item_after_recovery_gets_a_number_nobody_has() -> None:
    tables, items = Tables(1), ItemIndex()
    trends = ItemTrends(tables, items, SETTINGS, 500.0)
    part = trends.partition(0)
    before = part.numbers(Spans.of([b"a", b"b", b"a", b"c"]))
    assert before.tolist() == [0, 1, 0, 2]
    keys, values = tables.shards[0].drain_dirty()
    recovered = new_shard(0)
    recovered.apply(keys, values)
    again = PartitionTrends(recovered, ItemIndex(), SETTINGS, 500.0)
    assert again.numbers(Spans.of([b"d", b"c"])).tolist() == [3, 2]


def test_the_padding_of_rings_stays_padding_however_many_items_a_partition_has() -> None:
    part = PartitionTrends(new_shard(0), ItemIndex(), SETTINGS, 1000.0)
    for begin in (0, 1, 255, 256, 257, 600):
        ids = Spans.of([b"item-%d" % i for i in range(begin + 1)])
        numbers = part.numbers(ids)
        padded = np.append(numbers, EMPTY)[None]
        assert part.to_indices(padded)[0, -1] == EMPTY
        assert (part.to_indices(numbers) >= 0).all()

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsrec_models.base import ModelError
from tsrec_models.sequence.filters import (
    ItemFacts,
    cap_per_category,
    drop_items,
    drop_unavailable,
    keep_at_least,
)
from tsrec_models.sequence.filters_order import calibrate, class_shares, diversify, popularity_classes

INF = float("inf")


def lists(*rows):
    width = max(len(row) for row in rows)
    ids = np.full((len(rows), width), -1)
    scores = np.full((len(rows), width), -np.inf, dtype=np.float32)
    for b, row in enumerate(rows):
        ids[b, : len(row)] = row
        scores[b, : len(row)] = np.arange(len(row), 0, -1)
    return ids, scores


def named(result):
    return [[i for i in row if i >= 0] for row in result[0].tolist()]


def test_blocked_unavailable_and_expired_items_leave():
    facts = ItemFacts(
        np.full(5, -1),
        np.array([-INF, 100.0, -INF, -INF, -INF]),
        np.array([INF, INF, 50.0, INF, INF]),
        np.array([False, False, False, True, False]),
    )
    given = lists([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [7])
    result = drop_unavailable(given, facts, np.array([10.0, 100.0, 0.0]))
    assert named(result) == [[0, 2, 4], [0, 1, 4], [7]]
    assert result[1][0].tolist() == [5.0, 3.0, 1.0, -INF, -INF]


def test_of_items_nothing_is_known_of_none_leaves():
    given = lists([3, 1])
    assert named(drop_unavailable(given, ItemFacts.nothing(0), np.array([0.0]))) == [[3, 1]]
    assert named(drop_unavailable(given, ItemFacts.nothing(5), np.array([0.0]))) == [[3, 1]]


def test_seen_items_leave_their_own_users_list_only():
    given = lists([1, 2, 3], [1, 2, 3])
    assert named(drop_items(given, [np.array([2]), np.array([9, 3])])) == [[1, 3], [1, 2]]
    with pytest.raises(ModelError):
        drop_items(given, [np.array([2])])


def test_a_poor_list_is_shorter():
    given = lists([1, 2, 3], [4, 5, 6])
    assert named(keep_at_least(given, 2.0)) == [[1, 2], [4, 5]]
    assert named(keep_at_least(given, np.array([3.0, 9.0], np.float32))) == [[1], []]


def test_a_category_fills_no_more_than_its_places():
    category = np.array([0, 0, 0, 1, -1, -1, -1])
    given = lists([0, 1, 2, 3, 4, 5, 6, 40])
    assert named(cap_per_category(given, category, 2)) == [[0, 1, 3, 4, 5, 6, 40]]
    assert named(cap_per_category(given, category, 1)) == [[0, 3, 4, 5, 6, 40]]
    with pytest.raises(ModelError):
        cap_per_category(given, category, 0)


def assert_greedy(ids, scores, k, trade, similarity, chosen):
    """Each choice has the best gain of what was left then, by a plain loop; equal gains may fall either way."""
    left = [c for c in range(len(ids)) if ids[c] >= 0]
    assert len(chosen) == min(k, len(left))
    if not left:
        return
    low, high = scores[left[-1]], scores[left[0]]
    relevance = {c: (scores[c] - low) / (high - low) if high > low else 1.0 for c in left}
    taken = []
    for item in chosen:
        nearest = {c: max((similarity(ids[c], ids[d]) for d in taken), default=0) for c in left}
        gains = {c: (1 - trade) * relevance[c] - trade * nearest[c] for c in left}
        place = next(c for c in left if ids[c] == item)
        assert gains[place] >= max(gains.values()) - 1e-5
        left.remove(place)
        taken.append(place)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_variety_is_that_of_a_greedy_loop(seed, trade):
    rng = np.random.default_rng(seed)
    category = rng.integers(-1, 3, 20)
    given = lists(*(rng.permutation(20)[: rng.integers(0, 12)].tolist() for _ in range(4)), list(range(12)))

    def same(a, b):
        return float(category[a] >= 0 and category[a] == category[b])

    found = named(diversify(given, 6, trade, category=category))
    for ids, scores, chosen in zip(*given, found, strict=True):
        assert_greedy(ids, scores, 6, trade, same, chosen)


def test_variety_by_vectors_takes_the_item_that_looks_another_way():
    vectors = np.array([[1, 0], [2, 0.01], [0, 1]], dtype=np.float32)
    assert named(diversify(lists([0, 1, 2]), 2, 0.8, vectors=vectors)) == [[0, 2]]
    assert named(diversify(lists([0, 1, 2]), 2, 0.0, vectors=vectors)) == [[0, 1]]


def test_without_trade_the_order_stays():
    given = lists([5, 2, 9, 1])
    assert named(diversify(given, 4, 0.0, category=np.zeros(10, dtype=np.int64))) == [[5, 2, 9, 1]]
    assert named(calibrate(given, 4, 0.0, np.zeros(10, dtype=np.int64), np.ones((1, 1)))) == [[5, 2, 9, 1]]


def test_calibration_brings_the_shares_of_the_history():
    classes = np.array([0] * 10 + [1] * 10)
    popular_first = lists(list(range(20)))
    wanted = class_shares([np.array([12, 13, 1])], classes)
    np.testing.assert_allclose(wanted, [[1 / 3, 2 / 3]])
    ids, _ = calibrate(popular_first, 6, 0.99, classes, wanted)
    assert np.bincount(classes[ids[0]]).tolist() == [2, 4]
    untouched, _ = calibrate(popular_first, 6, 0.0, classes, wanted)
    assert untouched[0].tolist() == [0, 1, 2, 3, 4, 5]


def test_classes_of_popularity_part_the_events_not_the_items():
    counts = np.array([1.0, 50.0, 20.0, 10.0, 5.0, 14.0])
    assert popularity_classes(counts).tolist() == [2, 0, 1, 2, 2, 1]


def test_a_history_without_known_items_has_the_shares_of_all_items():
    classes = np.array([0, 1, 1, 1])
    np.testing.assert_allclose(class_shares([np.array([], dtype=np.int64)], classes), [[0.25, 0.75]])


def test_empty_lists_stay_empty():
    given = lists([], [1])
    assert named(diversify(given, 3, 0.5, category=np.zeros(5, dtype=np.int64))) == [[], [1]]
    assert named(calibrate(given, 3, 0.5, np.zeros(5, dtype=np.int64), np.ones((2, 1)))) == [[], [1]]


def test_impossible_wishes_are_refused():
    given = lists([1])
    for wish in (
        lambda: diversify(given, 3, 1.5, category=np.zeros(5, dtype=np.int64)),
        lambda: diversify(given, 3, 0.5),
        lambda: diversify(given, 0, 0.5, category=np.zeros(5, dtype=np.int64)),
        lambda: calibrate(given, 3, -0.1, np.zeros(5, dtype=np.int64), np.ones((1, 1))),
    ):
        with pytest.raises(ModelError):
            wish()

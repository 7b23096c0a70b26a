"""Metrics against plain loops, and NDCG against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsrec_models.evaluation.ranking_metrics import (
    EXCLUDED,
    accuracy,
    catalog_coverage,
    gini,
    hit,
    novelty,
    reciprocal_gain,
    reciprocal_rank,
    target_ranks,
)


def ranks_by_sorting(scores, targets, seen):
    out = []
    for line, target, banned in zip(scores, targets, seen, strict=True):
        if target in banned or target >= len(line):
            out.append(EXCLUDED)
            continue
        left = [i for i in range(len(line)) if i not in banned]
        worst_first = sorted(left, key=lambda i: (line[i], i != target))  # ties count against the target
        out.append(len(left) - 1 - worst_first.index(target))
    return out


def ask_kernel(scores, targets, seen):
    indptr = np.cumsum([0, *[len(s) for s in seen]])
    flat = np.array([i for s in seen for i in s], dtype=np.int64)
    return target_ranks(np.asarray(scores, np.float32), np.asarray(targets, np.int64), indptr, flat).tolist()


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000))
def test_ranks_are_those_of_sorting(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, (6, 9)).astype(np.float32)  # few values: many ties
    targets = rng.integers(0, 10, 6)
    seen = [rng.integers(0, 9, rng.integers(0, 6)).tolist() for _ in range(6)]  # with repeats
    assert ask_kernel(scores, targets, seen) == ranks_by_sorting(scores, targets, seen)


def test_a_model_that_scores_all_alike_earns_nothing():
    assert ask_kernel(np.zeros((1, 50)), [3], [[]]) == [49]


def test_a_score_that_is_no_number_is_the_worst():
    scores = np.array([[np.nan, 1.0, np.nan], [np.nan, 1.0, 2.0]], dtype=np.float32)
    assert ask_kernel(scores, [0, 1], [[], []])[1] == 1
    assert ask_kernel(scores, [0, 1], [[], []])[0] >= 1


def test_gain_is_ndcg_of_one_relevant_item():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the reference")
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(40, 30)).astype(np.float32)
    targets = rng.integers(0, 30, 40)
    relevance = np.zeros((40, 30))
    relevance[np.arange(40), targets] = 1
    ranks = np.array(ask_kernel(scores, targets, [[]] * 40))
    for k in (1, 10, 20):
        assert reciprocal_gain(ranks, k).mean() == pytest.approx(metrics.ndcg_score(relevance, scores, k=k))
        expected = metrics.top_k_accuracy_score(targets, scores, k=k, labels=np.arange(30))
        assert hit(ranks, k).mean() == pytest.approx(expected)


def test_reciprocal_rank_is_average_precision_of_one_relevant_item_among_those_not_excluded():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the reference")
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(50, 30)).astype(np.float32)
    targets = rng.integers(0, 30, 50)
    seen = [[item for item in rng.choice(30, 6, replace=False).tolist() if item != target] for target in targets]
    relevance, left = np.zeros((50, 30)), scores.copy()
    relevance[np.arange(50), targets] = 1
    for row, items in enumerate(seen):
        left[row, items] = -1e9
    ranks = np.array(ask_kernel(scores, targets, seen))
    expected = metrics.label_ranking_average_precision_score(relevance, left)
    assert reciprocal_rank(ranks, 30).mean() == pytest.approx(expected)


def test_the_first_place_earns_one_and_beyond_k_nothing():
    ranks = np.array([0, 1, 9, 10, 19, 20, EXCLUDED])
    assert reciprocal_rank(ranks, 20).tolist() == [1, 1 / 2, 1 / 10, 1 / 11, 1 / 20, 0, 0]
    assert hit(ranks, 10).tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert reciprocal_gain(ranks, 10)[:2].tolist() == [1, 1 / np.log2(3)]
    assert set(accuracy(ranks)) == {"hr@10", "ndcg@10", "mrr@20", "recall@20"}
    assert accuracy(ranks)["recall@20"].tolist() == [1, 1, 1, 1, 1, 0, 0]


def test_coverage_counts_items_named_at_least_once():
    assert catalog_coverage(np.array([[0, 1], [1, -1]]), 4) == 0.5


def test_gini_is_that_of_mean_absolute_differences():
    lists = np.array([[0, 1, 2], [0, 1, -1], [0, 3, 1]])
    counts = np.bincount(lists[lists >= 0], minlength=6)
    expected = np.abs(counts[:, None] - counts[None]).sum() / (2 * 6 * counts.sum())
    assert gini(lists, 6) == pytest.approx(expected)
    assert gini(np.array([[0, 1], [2, 3]]), 4) == pytest.approx(0.0)
    assert gini(np.full((2, 2), -1), 4) == 0.0


def test_novelty_is_the_mean_surprise_in_bits():
    popularity = np.array([6, 0, 0, 0])  # shares with one added: 7/10, 1/10, 1/10, 1/10
    assert novelty(np.array([[0, 1]]), popularity) == pytest.approx((np.log2(10 / 7) + np.log2(10)) / 2)

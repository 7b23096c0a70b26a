"""What goes into training: windows, batches, negatives, augmentation, first vectors, settings, search."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.augment import Augmentation, corrupt_inputs, crop_windows, reorder_windows
from tsrec_models.sequence.hparams import search
from tsrec_models.sequence.init import cooccurrence, ppmi, ppmi_vectors
from tsrec_models.sequence.intervals import interval_buckets
from tsrec_models.sequence.sampling import NegativeSampler
from tsrec_models.sequence.training_batches import cut_windows, training_batches
from tsrec_models.sequence.training_settings import Settings


def some_log(n_users: int = 30, seed: int = 0) -> Log:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 40, n_users)
    users = np.repeat(np.arange(n_users), lengths)
    times = 1.7e9 + np.cumsum(rng.exponential(1000.0, len(users)))
    return Log.from_arrays(users, rng.integers(0, 17, len(users)), times, n_items=17)


def test_windows_hold_each_transition_once() -> None:
    log = some_log()
    starts, stops = cut_windows(log.indptr, 7, np.random.default_rng(1))
    assert (stops - starts <= 8).all()
    found = sorted(row for a, b in zip(starts, stops, strict=True) for row in range(a, b - 1))
    assert found == [row for row in range(len(log) - 1) if log.users[row] == log.users[row + 1]]


def test_batches_hold_every_pair_with_its_intervals_once() -> None:
    log = some_log()
    batches = training_batches(
        log,
        batch_events=60,
        max_length=11,
        with_times=True,
        augmentation=Augmentation(),
        rng=np.random.default_rng(2),
    )
    found = []
    for batch in batches:
        assert batch.items.size <= 60 or len(batch.items) == 1
        rows, cols = np.nonzero(batch.valid)
        parts = (batch.items, batch.targets, batch.buckets, batch.query_buckets)
        found += list(zip(*(part[rows, cols].tolist() for part in parts), strict=True))
    expected = []
    for user in range(log.n_users):
        items = log.history(user)
        times = log.times[log.indptr[user] : log.indptr[user + 1]]
        buckets = interval_buckets(np.diff(times, prepend=np.nan))
        expected += list(zip(items[:-1], items[1:], buckets[:-1], buckets[1:], strict=True))
    assert sorted(found) == sorted(expected)


def test_batches_waste_little_on_padding() -> None:
    log = some_log(400)
    batches = training_batches(
        log,
        batch_events=500,
        max_length=50,
        with_times=False,
        augmentation=Augmentation(),
        rng=np.random.default_rng(0),
    )
    valid, padded = np.sum([[batch.valid.sum(), batch.valid.size] for batch in batches], axis=0)
    assert valid / padded > 0.85


def test_negatives_follow_their_stated_probability() -> None:
    sampler = NegativeSampler(np.array([0, 1, 100]))
    drawn = np.bincount(sampler.draw(100_000, np.random.default_rng(0)), minlength=3) / 100_000
    np.testing.assert_allclose(drawn, np.exp(sampler.log_probability), atol=0.01)
    assert np.exp(sampler.log_probability).sum() == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(ModelError, match="at least one item"):
        NegativeSampler(np.array([], np.int64))


def test_crops_lie_inside_and_keep_half() -> None:
    starts, stops = np.array([0, 10, 30]), np.array([10, 12, 70])
    first, last = crop_windows(starts, stops, 1.0, np.random.default_rng(0))
    assert (first >= starts).all()
    assert (last <= stops).all()
    assert (last - first >= np.maximum(2, 0.5 * (stops - starts) - 1)).all()
    same = crop_windows(starts, stops, 0.0, np.random.default_rng(0))
    np.testing.assert_array_equal(same, [starts, stops])


def test_reordering_moves_events_of_one_row_only() -> None:
    items = np.arange(40).reshape(2, 20)
    reordered = items.copy()
    reorder_windows(reordered, np.array([20, 10]), 1.0, 0.5, 3)
    assert (reordered != items).any()
    np.testing.assert_array_equal(np.sort(reordered, axis=1), items)
    np.testing.assert_array_equal(reordered[1, 10:], items[1, 10:])  # padding stays


def test_masks_and_substitutes_come_as_often_as_asked() -> None:
    items = np.full((200, 50), 3)
    similar = np.full((10, 2), 4)
    changed = corrupt_inputs(
        items, Augmentation(mask=0.2, substitute=0.3, similar=similar), 10, np.random.default_rng(0)
    )
    assert (changed == 10).mean() == pytest.approx(0.2, abs=0.02)
    assert (changed == 4).mean() == pytest.approx(0.3 * 0.8, abs=0.02)
    assert (items == 3).all()


def test_cooccurrence_counts_pairs_by_their_gap() -> None:
    log = Log.from_arrays([0, 0, 0, 1, 1], [0, 1, 2, 0, 1], n_items=3)
    expected = np.array([[0.0, 2.0, 0.5], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(cooccurrence(log, 0.5, 5).toarray(), expected)
    np.testing.assert_allclose(cooccurrence(log, 0.5, 1).toarray(), expected * (expected >= 1))


def test_ppmi_is_the_logarithm_of_the_ratio_where_positive() -> None:
    counts = cooccurrence(some_log(), 0.7, 4)
    dense = counts.toarray()
    with np.errstate(divide="ignore"):
        ratio = np.log(dense * dense.sum() / np.outer(dense.sum(1), dense.sum(0)))
    np.testing.assert_allclose(ppmi(counts).toarray(), np.maximum(ratio, 0.0), rtol=1e-4, atol=1e-5)


def test_first_vectors_put_companions_together() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(rng.integers(0, 2, 300), 6)  # users stay within items 0-9 or 10-19
    log = Log.from_arrays(np.repeat(np.arange(300), 6), 10 * group + rng.integers(0, 10, 1800), n_items=21)
    vectors = ppmi_vectors(log, 4, decay=0.7, window=5, seed=0)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near, far = unit[:10] @ unit[:10].T, unit[:10] @ unit[10:20].T
    assert near.mean() > far.mean() + 0.5
    assert vectors[20].any(), "an item nobody took still needs a vector"
    np.testing.assert_array_equal(vectors, ppmi_vectors(log, 4, decay=0.7, window=5, seed=0))


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ModelError, match="dropout must be in"):
        Settings(dropout=1.0)
    with pytest.raises(ModelError, match="multiple of heads"):
        Settings(width=10, heads=3)
    with pytest.raises(ModelError, match="unknown settings: depth"):
        Settings.from_dict({"depth": 3})


def test_scarce_logs_get_more_dropout() -> None:
    sparse = Log.from_arrays(np.arange(100), np.arange(100))
    dense = Log.from_arrays(np.arange(10_000) // 10, np.arange(10_000) % 5)
    assert Settings.for_log(sparse).dropout == 0.5
    assert Settings.for_log(dense).dropout < 0.25


def score(settings: Settings) -> float:
    return -abs(settings.dropout - 0.3) - abs(settings.lr - 1e-3)


@pytest.mark.parametrize("method", ["grid", "random", "tpe"])
def test_a_search_finds_the_best_of_a_small_space(method: str) -> None:
    if method == "tpe":
        pytest.importorskip("optuna", reason="optuna is not installed")
    space = {"dropout": (0.1, 0.3, 0.5), "lr": (1e-3, 1e-2)}
    base = Settings(dropout=0.6)
    deadline = time.monotonic() + 60.0
    trials = search(score, base, space, method=method, deadline=deadline, trials=40, seed=1)  # type: ignore[arg-type]
    assert trials[0].settings == replace(base, dropout=0.3, lr=1e-3)
    assert any(trial.settings == base for trial in trials)
    assert [trial.score for trial in trials] == sorted((trial.score for trial in trials), reverse=True)


def test_a_search_out_of_time_still_has_tried_the_base() -> None:
    trials = search(score, Settings(), {"dropout": (0.3,)}, method="grid", deadline=time.monotonic() - 1.0)
    assert [trial.settings for trial in trials] == [Settings()]


def test_a_search_over_nothing_is_refused() -> None:
    with pytest.raises(ModelError, match="at least one setting"):
        search(score, Settings(), {}, method="grid", deadline=0.0)
    with pytest.raises(ModelError, match="unknown settings"):
        search(score, Settings(), {"depth": (1,)}, method="grid", deadline=0.0)

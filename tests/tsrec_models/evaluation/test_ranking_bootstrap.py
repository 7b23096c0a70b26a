import numpy as np
import pytest

from tsrec_models.evaluation.bootstrap import bootstrap_difference, bootstrap_means


def test_the_interval_of_a_mean_is_that_of_the_normal_law():
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, 2.0, 4000)
    low, high = bootstrap_means(values[:, None], np.arange(4000), draws=2000)[0]
    half = 1.96 * values.std() / np.sqrt(4000)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_questions_of_one_user_stand_or_fall_together():
    rng = np.random.default_rng(1)
    per_user = rng.normal(size=100)
    values, users = np.repeat(per_user, 50), np.repeat(np.arange(100), 50)
    together = bootstrap_means(values[:, None], users)[0]
    apart = bootstrap_means(values[:, None], np.arange(5000))[0]
    assert np.diff(together) > 5 * np.diff(apart)


def test_a_level_of_ninety_five_covers_the_truth_about_that_often():
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        sizes = rng.integers(1, 6, 150)
        users = np.repeat(np.arange(150), sizes)
        values = (rng.random(150)[users] + rng.random(len(users))) / 2
        low, high = bootstrap_means(values[:, None], users, draws=300, seed=trial)[0]
        covered += low <= 0.5 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_a_paired_difference_is_narrower_than_its_parts():
    rng = np.random.default_rng(3)
    base = rng.random(2000)
    better = base + 0.01 + rng.normal(0, 0.01, 2000)
    low, high = bootstrap_difference(better, base, np.arange(2000))
    assert 0.005 < low < 0.01 < high < 0.015


def test_the_same_seed_gives_the_same_interval():
    values, users = np.random.default_rng(4).random((50, 3)), np.arange(50) % 7
    np.testing.assert_array_equal(bootstrap_means(values, users, seed=5), bootstrap_means(values, users, seed=5))

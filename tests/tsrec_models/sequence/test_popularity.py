import numpy as np
import pytest

from tsrec_models.base import ModelError, SequenceRecommender
from tsrec_models.preparation import Log
from tsrec_models.sequence.popularity import Popularity, RecentPopularity, Trending

DAY = 86400.0
N = 8


def events(seed=0, n=200, span=30 * DAY):
    rng = np.random.default_rng(seed)
    return rng.integers(0, N, n), np.sort(rng.uniform(0, span, n))


def test_all_time_counts_are_counts():
    items, times = events()
    model = Popularity(N)
    model.update(items[:50], times[:50])
    model.update(items[50:], times[50:])
    np.testing.assert_array_equal(model.counts(), np.bincount(items, minlength=N))


def test_the_window_holds_the_last_days_and_nothing_older():
    items, times = events()
    model = RecentPopularity(N, 7 * DAY, buckets=7)
    for start in range(0, len(items), 13):
        model.update(items[start : start + 13], times[start : start + 13])
    now = times[-1]
    first_day = np.floor(now / DAY) - 6
    inside = np.floor(times / DAY) >= first_day
    np.testing.assert_array_equal(model.counts(), np.bincount(items[inside], minlength=N))
    np.testing.assert_array_equal(
        model.counts(now + 3 * DAY), np.bincount(items[np.floor(times / DAY) >= first_day + 3], minlength=N)
    )
    assert model.counts(now + 8 * DAY).sum() == 0


def test_an_event_too_late_for_the_window_counts_nowhere():
    model = RecentPopularity(2, 7 * DAY, buckets=7)
    model.update([0], [30 * DAY])
    model.update([1], [1 * DAY])
    assert model.counts().tolist() == [1.0, 0.0]


def test_a_late_event_within_the_window_counts():
    model = RecentPopularity(2, 7 * DAY, buckets=7)
    model.update([0], [30 * DAY])
    model.update([1], [28 * DAY])
    assert model.counts().tolist() == [1.0, 1.0]


@pytest.mark.parametrize("half_life", [0.01 * DAY, 3 * DAY])  # the first passes 3,000 half-lives
def test_trending_halves_with_every_half_life_whatever_the_order(half_life):
    items, times = events()
    now = times[-1] + DAY * 0.005
    expected = np.zeros(N)
    np.add.at(expected, items, 2.0 ** ((times - now) / half_life))
    order = np.random.default_rng(1).permutation(len(items))
    for sequence in (np.arange(len(items)), order):
        model = Trending(N, half_life)
        for row in sequence:
            model.update([items[row]], [times[row]])
        np.testing.assert_allclose(model.counts(now), expected, rtol=1e-5, atol=1e-38)


def test_trending_rows_come_back_from_exports_of_different_times():
    items, times = events()
    model, replica = Trending(N, 0.05 * DAY), Trending(N, 0.05 * DAY)
    for item, ts in zip(items, times, strict=True):
        model.update([item], [ts])
        replica.import_rows([item], *model.export_rows([item]))
    np.testing.assert_allclose(replica.counts(times[-1]), model.counts(times[-1]), rtol=1e-6)


def test_the_top_names_only_what_was_taken():
    model = Popularity(5)
    model.update([3, 3, 1], [0.0, 1.0, 2.0])
    ids, scores = model.top(3)
    assert ids.tolist() == [3, 1, -1]
    assert scores.tolist() == [2.0, 1.0, -np.inf]


@pytest.mark.parametrize("kind", [Popularity, RecentPopularity, Trending])
def test_new_items_make_room_and_every_user_gets_the_same_list(kind):
    model = kind(2)
    model.update([4, 4, 1], [1.0, 2.0, 3.0])
    assert model.n_items == 5
    assert isinstance(model, SequenceRecommender)
    state = model.step(model.initial_state(2), np.array([0, 1]), np.array([5.0, 6.0]))
    ids, _ = model.topk(state, 2, [np.array([4]), np.array([], dtype=np.int64)])
    assert ids.tolist() == [[1, 0], [4, 1]]


@pytest.mark.parametrize("kind", [Popularity, RecentPopularity, Trending])
def test_fitting_is_learning_every_event(kind):
    items, times = events()
    log = Log.from_arrays(np.arange(len(items)) % 7, items, times)
    model = kind(log.n_items)
    model.update(items, times)
    np.testing.assert_allclose(kind.fit(log).counts(), model.counts(), rtol=1e-6)


def test_impossible_windows_are_refused():
    with pytest.raises(ModelError):
        RecentPopularity(3, 0.0)
    with pytest.raises(ModelError):
        Trending(3, -1.0)

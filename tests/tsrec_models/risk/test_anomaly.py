"""The anomaly detector: what it promises, what it finds, and its state as rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numba import njit

from tsrec_models.base import Detector, ModelError
from tsrec_models.risk import anomaly_tail
from tsrec_models.risk.anomaly import VIEWS, AnomalyDetector


@njit
def run_tail(magnitudes, growth, state):
    out = np.empty(len(magnitudes))
    for t in range(len(magnitudes)):
        nats, bin_ = anomaly_tail.surprise(state, 0, 0, magnitudes[t])
        out[t] = nats
        anomaly_tail.learn(state, 0, 0, bin_, growth)
    return out


def tail(magnitudes, growth=1.0):
    state = np.zeros((1, anomaly_tail.WIDTH))
    anomaly_tail.clear(state)
    return run_tail(magnitudes, growth, state), state


def test_surprise_is_the_rank_among_all_before_up_to_a_bin():
    values = np.abs(np.random.default_rng(1).standard_normal(3000))
    got, _ = tail(values)
    for t in range(100, 3000, 37):
        past, octave = values[:t], 2**0.25
        if values[t] > past.max() / octave:
            continue
        at_most = -math.log((np.sum(past >= values[t] * octave) + 1) / (t + 1))
        at_least = -math.log((np.sum(past >= values[t] / octave) + 1) / (t + 1))
        assert at_least - 1e-9 <= got[t] <= at_most + 1e-9


@pytest.mark.parametrize("kind", ["normal", "t2", "lognormal"])
def test_p_values_are_as_small_as_they_say_whatever_the_distribution(kind):
    rng = np.random.default_rng(7)
    draw = {
        "normal": lambda n: np.abs(rng.standard_normal(n)),
        "t2": lambda n: np.abs(rng.standard_t(2, n)),
        "lognormal": lambda n: rng.lognormal(0, 1, n),
    }[kind]
    small = dict.fromkeys((0.1, 0.01, 0.002), 0)
    for _ in range(20):
        got = tail(draw(5000))[0][500:]
        for p in small:
            small[p] += int(np.sum(got >= -math.log(p)))
    for p, count in small.items():
        # Fewer than stated far out, where the values of a bin lie at its lower end; never more.
        assert 0.5 * p < count / 90_000 < 1.1 * p


def test_old_values_fade():
    values = np.concatenate([np.full(3000, 1.0), np.full(3000, 8.0)])
    assert tail(values, 1.0)[0][-1] == pytest.approx(math.log(2), abs=0.3)
    assert tail(values, 1.002)[0][-1] < 0.1
    assert tail(values, 1.2)[0][-1] < 0.1  # past the point where weights are scaled down


def scores_of(values, times=None, **settings):
    detector = AnomalyDetector(1, **settings)
    times = 300.0 * np.arange(len(values)) if times is None else times
    return detector.explain(np.asarray(values, float), times, np.zeros(len(values), np.int64))


@pytest.mark.parametrize("kind", ["normal", "t3", "lognormal", "seasonal"])
def test_false_alarms_are_no_more_than_stated(kind):
    rng = np.random.default_rng(3)
    alarms = values = 0
    for _ in range(6):
        n = 8000
        noise = {"normal": rng.standard_normal, "t3": lambda k: rng.standard_t(3, k)}.get(
            kind, lambda k: rng.lognormal(0, 0.5, k)
        )(n)
        if kind == "seasonal":
            noise = noise + 5 * np.sin(2 * np.pi * np.arange(n) / 288)
        got, _ = scores_of(noise, quiet=0)
        alarms += int(np.sum(got[1000:] >= 0.99))
        values += n - 1000
    assert alarms / values < 0.01


def test_views_that_agree_find_what_none_of_them_would_alone():
    # By the smallest p-value times the number of views it is 0.39 of these shifts.
    series, n, places = 40, 12_000, np.arange(4_000, 12_000, 400)
    values = np.random.default_rng(5).standard_normal((n, series))
    for at in places:
        values[at : at + 20] += 3.0
    detector = AnomalyDetector(series, quiet=0, day_bins=0, week_bins=0)
    alarms = np.array([detector.update(values[t], np.full(series, 60.0 * t)) for t in range(n)]) >= 0.995
    assert np.mean([alarms[at : at + 20].any(axis=0).mean() for at in places]) > 0.45


def signal(n=4032):
    rng = np.random.default_rng(11)
    hour = np.arange(n) / 12 % 24
    return np.where((hour > 9) & (hour < 18), 80.0, 20.0) + rng.standard_normal(n)


def missing_day(values):
    values[288 * 10 : 288 * 11] = 20.0 + np.random.default_rng(1).standard_normal(288)


def spike(values):
    values[288 * 10 + 130] = 150.0


def noisier(values):
    values[288 * 10 : 288 * 11] += 6.0 * np.random.default_rng(1).standard_normal(288)


@pytest.mark.parametrize("change", [missing_day, spike, noisier])
def test_what_a_person_would_see_stands_out_most(change):
    values = signal()
    change(values)
    got, views = scores_of(values)
    best = int(got[700:].argmax()) + 700
    assert 288 * 10 <= best < 288 * 11
    assert 0 <= views[best] < len(VIEWS)
    assert got[best] > 0.999


@pytest.mark.parametrize("values", [np.full(3000, 45.0), np.tile(np.repeat([20.0, 80.0], 144), 12)])
def test_a_flat_line_and_a_perfect_wave_are_silent(values):
    got, _ = scores_of(values)
    assert np.all(got[600:] < 0.995)


def test_an_episode_is_a_few_alarms_and_without_merging_one_a_value():
    values = np.random.default_rng(2).standard_normal(3000)
    values[2000:2040] += 15.0
    merged, single = scores_of(values)[0], scores_of(values, quiet=0)[0]
    few, many = np.sum(merged[1990:2200] >= 0.995), np.sum(single[1990:2200] >= 0.995)
    assert 1 <= few <= 5
    assert many > 2 * few
    first = np.flatnonzero(merged[1990:] >= 0.995)[0] + 1990
    assert 2000 <= first < 2003


def test_the_future_and_other_series_change_nothing():
    rng = np.random.default_rng(4)
    values = rng.standard_normal((3, 1200)).cumsum(axis=1)
    times = 60.0 * np.arange(1200)
    batch = AnomalyDetector(3)
    got = np.stack([batch.update(values[:, t], np.full(3, times[t])) for t in range(1200)], axis=1)
    for row in range(3):
        np.testing.assert_array_equal(got[row], scores_of(values[row], times)[0])
    np.testing.assert_array_equal(got[0, :800], scores_of(values[0, :800], times[:800])[0])


def test_state_is_rows_that_can_be_moved():
    values = np.random.default_rng(4).standard_normal(1000).cumsum()
    times = 60.0 * np.arange(1000)
    whole = scores_of(values, times)[0]
    detector = AnomalyDetector(1)
    table = np.tile(detector.initial_rows(1), (4, 1))
    detector.update(values[:600], times[:600], np.full(600, 3), table)
    table[1] = table[3].copy()
    rest = detector.update(values[600:], times[600:], np.full(400, 1), table)
    np.testing.assert_array_equal(rest, whole[600:])


def test_a_missing_value_scores_nothing_and_teaches_nothing():
    values = np.random.default_rng(4).standard_normal(900)
    holes = np.insert(values, 500, [np.nan, np.inf])
    times = 300.0 * np.arange(900)
    got = scores_of(holes, np.insert(times, 500, [times[500]] * 2))[0]
    assert got[500:502].tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(np.delete(got, [500, 501]), scores_of(values, times)[0])


def test_without_seasons_the_row_is_small():
    small = AnomalyDetector(2, day_bins=0, week_bins=0)
    assert small.width < 1000
    assert isinstance(small, Detector)
    assert small.update(np.zeros(2), np.zeros(2)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("settings", [{"quiet": -1}, {"memory": 10}, {"day_bins": -1}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ModelError):
        AnomalyDetector(1, **settings)


def test_a_table_of_other_settings_is_named():
    with pytest.raises(ModelError, match="must be"):
        AnomalyDetector(1).update(np.zeros(1), np.zeros(1), np.zeros(1, np.int64), np.zeros((1, 5)))

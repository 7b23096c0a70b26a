"""Intervals hold their level under drift, and the stream's object carries all it needs in its rows."""

from __future__ import annotations

import numpy as np
import pytest

from tsrec_models.arima import ArimaBank, Coefficients, Order
from tsrec_models.arima.calibrated import CalibratedBank
from tsrec_models.arima.conformal import RATE, AdaptiveIntervals
from tsrec_models.arima.conformal_kernel import VOLATILITY_WEIGHT, too_small
from tsrec_models.arima.estimate import estimate
from tsrec_models.base import Forecast, ModelError


def quarters(covered: np.ndarray) -> list[float]:
    return [float(np.nanmean(part)) for part in np.array_split(covered, 4)]


def one_step(errors: np.ndarray, level: float = 0.9) -> np.ndarray:
    """Hits of intervals about errors [times, n] of a model that always claims a variance of one."""
    intervals = AdaptiveIntervals(errors.shape[1], level=level)
    ones = np.ones((errors.shape[1], 1))
    return np.stack([intervals.observe(e[:, None], ones)[:, 0] for e in errors])


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_coverage_holds_when_the_variance_triples(level):
    e = np.random.default_rng(0).normal(size=(2000, 10))
    e[1000:] *= np.sqrt(3.0)
    assert all(abs(q - level) < 0.02 for q in quarters(one_step(e, level)))
    # The plain normal interval does not: the test can tell the difference.
    z = {0.8: 1.2816, 0.9: 1.6449, 0.95: 1.96}[level]
    assert np.mean(np.abs(e[1000:]) <= z) < level - 0.08


@pytest.mark.parametrize("kind", ["heavy tails", "trend in scale", "bursts"])
def test_coverage_holds_for_other_shapes(kind):
    rng = np.random.default_rng(1)
    e = rng.standard_t(2.5, size=(1600, 10)) if kind == "heavy tails" else rng.normal(size=(1600, 10))
    if kind == "trend in scale":
        e *= np.linspace(1, 20, 1600)[:, None]
    if kind == "bursts":
        e *= np.where((np.arange(1600) // 100) % 2, 5.0, 1.0)[:, None]
    assert all(0.88 <= q <= 0.92 for q in quarters(one_step(e)))


def test_long_run_misses_are_bounded_by_the_range_of_q():
    e = np.random.default_rng(2).normal(size=(500, 1)) * np.repeat([1.0, 0.01, 30.0, 0.3, 7.0], 100)[:, None]
    intervals = AdaptiveIntervals(1)
    q, hits = [], []
    for value in e:
        q.append(intervals.to_rows()[0, 0])
        hits.append(intervals.observe(value[:, None], np.ones((1, 1)))[0, 0])
    assert abs(1 - np.mean(hits) - 0.1) <= (max(q) - min(q)) / (RATE * len(e)) + 1e-9


def test_one_observation_moves_the_state_as_written():
    intervals = AdaptiveIntervals(2)
    q, m, _, _ = intervals.to_rows()[0]
    hit = intervals.observe(np.array([[100.0], [np.nan]]), np.array([[4.0], [1.0]]))
    assert hit[0, 0] == 0.0
    assert np.isnan(hit[1, 0])
    after = intervals.to_rows()
    np.testing.assert_allclose(after[0, :2], [q + RATE * 0.9, m + VOLATILITY_WEIGHT * (50.0 - m)])
    np.testing.assert_allclose(after[1, :2], [q, m])
    around = intervals.around(Forecast(np.array([[1.0], [1.0]]), np.array([[4.0], [4.0]])))
    np.testing.assert_allclose(around.upper[:, 0] - 1.0, 2.0 * after[:, 0] * after[:, 1])


def test_calibration_starts_from_the_quantile_of_past_scores():
    scores = np.abs(np.random.default_rng(3).standard_t(3, size=(4000, 1, 1)))
    intervals = AdaptiveIntervals(1)
    intervals.calibrate(scores)
    band = intervals.around(Forecast(np.zeros((1, 1)), np.ones((1, 1)))).upper[0, 0]
    typical = band / intervals.to_rows()[0, 1] * scores.mean()
    assert 0.85 < np.mean(scores <= typical) < 0.95


def test_the_errors_of_a_fit_are_taken_as_smaller_than_those_to_come():
    scores = np.abs(np.random.default_rng(3).normal(size=(40, 2, 1)))
    held_out, fitted = AdaptiveIntervals(2), AdaptiveIntervals(2)
    held_out.calibrate(scores)
    fitted.calibrate(scores, coefficients=np.array([2.0, 0.0]))
    of_both = held_out.to_rows(), fitted.to_rows()
    np.testing.assert_array_equal(of_both[0][:, 0], of_both[1][:, 0])  # the quantile is of ratios
    wider = of_both[1][:, 1] / of_both[0][:, 1]
    np.testing.assert_allclose(wider, [np.sqrt(44 / 36), np.sqrt(42 / 38)])
    # A fit that has used up its values is corrected, but not without bound.
    assert too_small(5, 6.0) == pytest.approx(np.sqrt(3.0))


def test_the_first_intervals_of_young_series_hold_their_level():
    # Thirty values, order and coefficients from them; the next ten are not covered by what the fit thinks of itself.
    y = np.random.default_rng(9).normal(size=(40, 400)).cumsum(axis=0)
    fits = estimate([y[:30, i] for i in range(400)])
    covered, plain = [], []
    for rows in fits.alike():
        model = CalibratedBank(fits.take(rows).bank())
        model.warm_up(y[:30, rows], np.arange(len(rows)), fits.take(rows).n_coefficients())
        for values in y[30:, rows]:
            forecast, _ = model.forecast()
            plain += (np.abs(values - forecast.mean[:, 0]) <= 1.645 * np.sqrt(forecast.variance[:, 0])).tolist()
            covered += model.step(values).covered[:, 0].tolist()
    assert 0.89 <= np.mean(covered) <= 0.92
    assert np.mean(plain) < 0.86


def test_rolling_coverage_follows_the_hits():
    intervals = AdaptiveIntervals(1)
    for _ in range(50):
        intervals.observe(np.full((1, 1), 1e-9), np.ones((1, 1)))
    assert intervals.coverage()[0, 0] > 0.9


def model(n: int, horizons: int) -> CalibratedBank:
    coefficients = Coefficients(Order(1, 1, 1), np.ones(1), np.array([[0.5]]), np.array([[-0.2]]))
    return CalibratedBank(ArimaBank.of([coefficients], n_series=n), horizons)


def test_every_horizon_holds_its_level_under_drift():
    rng = np.random.default_rng(5)
    e = rng.normal(size=(1500, 8))
    e[750:] *= np.sqrt(3.0)
    calibrated = model(8, 6)
    covered = np.stack([calibrated.step(y).covered for y in e.cumsum(axis=0)])
    for h in range(6):
        assert all(0.87 <= q <= 0.93 for q in quarters(covered[:, :, h]))


def test_an_interval_is_scored_against_the_value_it_was_made_for():
    calibrated = model(3, 4)
    y = np.random.default_rng(6).normal(size=(40, 3)).cumsum(axis=0)
    made = []
    for t, values in enumerate(y):
        before = calibrated.intervals_model.to_rows().reshape(3, 4, -1)
        covered = calibrated.step(values).covered
        for h in range(4):
            if t - 1 - h >= 1:
                mean, variance = made[t - 1 - h]
                half = before[:, h, 0] * before[:, h, 1] * np.sqrt(variance[:, h])
                np.testing.assert_array_equal(covered[:, h], np.abs(values - mean[:, h]) <= half)
        forecast, _ = calibrated.forecast()
        made.append((forecast.mean, forecast.variance))


def test_rows_carry_bank_intervals_and_pending_forecasts():
    y = np.random.default_rng(7).normal(size=(60, 5)).cumsum(axis=0)
    straight, moved = model(5, 3), model(5, 3)
    for values in y[:30]:
        straight.step(values)
    rows = np.arange(5)
    assert straight.to_rows(rows).shape == (5, straight.state_width)
    moved.from_rows(rows, straight.to_rows(rows))
    for values in y[30:]:
        np.testing.assert_array_equal(straight.step(values).covered, moved.step(values).covered)
    np.testing.assert_array_equal(straight.to_rows(rows), moved.to_rows(rows))


def test_warm_up_leaves_the_state_that_stepping_leaves():
    y = np.random.default_rng(8).normal(size=(50, 4)).cumsum(axis=0)
    for horizons in (1, 3):
        stepped, warmed = model(4, horizons), model(4, horizons)
        for values in y[:40]:
            stepped.step(values)
        warmed.warm_up(y[:40], np.arange(4))
        np.testing.assert_allclose(stepped.bank.to_rows(), warmed.bank.to_rows(), rtol=1e-9, atol=1e-12)
        pending = slice(stepped.bank.state_width + stepped.intervals_model.state_width, None)
        rows = np.arange(4)
        np.testing.assert_allclose(stepped.to_rows(rows)[:, pending], warmed.to_rows(rows)[:, pending], rtol=1e-9)


def test_mistakes_are_told():
    with pytest.raises(ModelError, match="between 0 and 1"):
        AdaptiveIntervals(1, level=1.0)
    with pytest.raises(ModelError, match="states have shape"):
        model(2, 1).from_rows(np.array([0]), np.zeros((1, 3)))

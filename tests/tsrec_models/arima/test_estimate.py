"""Estimates against statsmodels' own, and what the automatic order must get right."""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tsrec_models.arima import Order, detect_period, estimate
from tsrec_models.base import ModelError

sys.path.insert(0, str(Path(__file__).parent))
from classics import classic, sarimax, with_gaps


def simulate(n: int, ar: float, ma: float, d: int, seed: int) -> np.ndarray:
    e = np.random.default_rng(seed).normal(size=n + 50)
    w = np.zeros(n + 50)
    for t in range(1, n + 50):
        w[t] = ar * w[t - 1] + e[t] + ma * e[t - 1]
    w = w[50:]
    for _ in range(d):
        w = w.cumsum()
    return w


@pytest.mark.parametrize(
    ("file", "column", "transform", "order", "gaps"),
    [
        ("datasets_Nile.csv", "Nile", None, Order(0, 1, 1), False),
        ("datasets_Nile.csv", "Nile", None, Order(1, 0, 1, mean=True), True),
        ("datasets_lynx.csv", "lynx", np.log10, Order(2, 0, 2, mean=True), False),
        ("datasets_JohnsonJohnson.csv", "JohnsonJohnson", np.log, Order(1, 1, 1, 1, 1, 0, 4), False),
        ("datasets_UKgas.csv", "UKgas", np.log, Order(0, 1, 1, 0, 1, 1, 4), True),
    ],
)
def test_likelihood_is_at_least_that_of_statsmodels(file, column, transform, order, gaps):
    y = classic(file, column, transform)
    y = with_gaps(y) if gaps else y
    ours = estimate([y], order)
    bank = ours.bank()
    bank.filter(y[:, None])
    model = sarimax(y, order)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = model.fit(disp=0, maxiter=100)
    assert bank.loglikelihood()[0] >= theirs.llf - 1e-4


def test_the_stated_likelihood_is_that_of_the_filter():
    y = [simulate(300, 0.5, 0.3, 1, seed) for seed in range(5)]
    for order in (Order(2, 1, 2), Order(1, 1, 1, 1, 0, 1, 12), Order(0, 1, 1, mean=True)):
        fits = estimate(y, order)
        bank = fits.bank()
        bank.filter(np.stack(y, axis=1))
        exact = bank.loglikelihood() + 0.5 * order.n_lags * np.log(2 * np.pi)
        np.testing.assert_allclose(fits.loglikelihood, exact, atol=1e-5)


def test_regression_coefficients_are_found_with_and_without_gaps():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 2))
    y = simulate(400, 0.6, 0.0, 1, 1) + x @ [2.0, -1.0]
    for one in (y, with_gaps(y)):
        fits = estimate([one], Order(1, 1, 0), x=[x])
        np.testing.assert_allclose(fits.beta[0], [2.0, -1.0], atol=0.15)


def test_true_coefficients_are_recovered_on_average():
    fits = estimate([simulate(500, 0.7, -0.3, 1, seed) for seed in range(40)], Order(1, 1, 1))
    ((_, coefficients),) = fits.groups()
    assert abs(coefficients.ar.mean() - 0.7) < 0.05
    assert abs(coefficients.ma.mean() + 0.3) < 0.05
    assert abs(fits.sigma2.mean() - 1.0) < 0.03


def test_automatic_orders_find_the_kind_of_series():
    walk = estimate([simulate(400, 0.0, 0.0, 1, seed) for seed in range(10)])
    assert (walk.orders[:, 1] == 1).mean() >= 0.7
    noise = estimate([simulate(400, 0.0, 0.0, 0, seed) + 7.0 for seed in range(10)])
    assert (noise.orders[:, 1] == 0).mean() >= 0.8
    assert (noise.orders[:, 7] == 1).mean() >= 0.8
    autoregressive = estimate([simulate(600, 0.8, 0.0, 0, seed) for seed in range(10)])
    assert (autoregressive.orders[:, 0] + autoregressive.orders[:, 2] >= 1).all()


@pytest.mark.parametrize("level", [0.0, 1e6, 1e9, 1e11])
def test_a_walk_far_from_zero_is_differenced_as_one_near_it(level):
    y = np.random.default_rng(0).normal(size=300).cumsum()
    assert estimate([level + y]).order(0).d == 1


def test_seasons_are_detected_and_modelled():
    passengers = np.log(classic("datasets_AirPassengers.csv", "AirPassengers"))
    assert detect_period(passengers) == 12
    assert detect_period(classic("datasets_nottem.csv", "nottem")) == 12
    assert detect_period(with_gaps(np.log(classic("datasets_UKgas.csv", "UKgas")))) == 4
    assert detect_period(np.random.default_rng(0).normal(size=500).cumsum()) == 1
    assert str(estimate([passengers], period=None).order(0)) == "(0,1,1)(0,1,1)[12]"


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (np.full(50, 5.0), [5.0, 5.0]),
        (np.zeros(50), [0.0, 0.0]),
        (np.arange(50.0), [50.0, 51.0]),
        (np.array([1.0, 2.0]), [2.0, 2.0]),
        (np.tile(np.arange(12.0), 10), [0.0, 1.0]),
    ],
)
def test_degenerate_series_get_the_obvious_forecast(y, expected):
    bank = (fits := estimate([y], period=None)).bank()
    assert np.isfinite(fits.sigma2).all()
    bank.filter(y[:, None])
    np.testing.assert_allclose(bank.forecast(2).mean[0], expected, atol=1e-6)


def test_tasks_in_parallel_give_what_one_gives():
    y = [simulate(100 + 10 * i, 0.5, 0.0, 1, i) for i in range(6)]
    one = estimate(y, Order(1, 1, 1))
    with ThreadPoolExecutor(2) as pool:
        many = estimate(y, Order(1, 1, 1), executor=pool, chunks=3)
    np.testing.assert_array_equal(one.free, many.free)


def test_mistakes_are_told():
    with pytest.raises(ModelError, match="at most 14 lags"):
        estimate([np.arange(99.0)], Order(9, 0, 9))
    with pytest.raises(ModelError, match="one of kalman"):
        estimate([np.zeros(9)], gaps="nothing")
    with pytest.raises(ModelError, match="finite values of shape"):
        estimate([np.zeros(9)], x=[np.full((9, 1), np.nan)])

"""The filter against statsmodels on the classic series, and what the stream relies on."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path

import numpy as np
import pytest

from tsrec_models.arima import ArimaBank, Coefficients, Layout, Order, bank
from tsrec_models.arima.refit import widest_layout
from tsrec_models.base import Forecaster, ModelError

sys.path.insert(0, str(Path(__file__).parent))
from classics import CLASSICS, classic, coefficients_of, plausible, sarimax, with_gaps

RELATIVE = 1e-9
HORIZON = 15


def regressors(n: int, k: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    return np.stack([np.sin(np.arange(n) / 9.0), rng.normal(size=n)], axis=1)[:, :k]


@pytest.mark.parametrize("k", [0, 2], ids=["plain", "regressors"])
@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
@pytest.mark.parametrize(("file", "column", "transform", "order"), CLASSICS, ids=[c[1] for c in CLASSICS])
def test_equals_statsmodels_on_the_classics(file, column, transform, order, gaps, k):
    y = classic(file, column, transform)[:700]
    x = regressors(len(y), k)
    n = len(y) - HORIZON
    y, x, x_future = (with_gaps(y[:n]) if gaps else y[:n]), x[:n], x[n:]
    params = plausible(y, order, x if k else None)
    theirs = sarimax(y, order, x if k else None).filter(params)
    ours = ArimaBank.of([coefficients_of(order, params, k)], steady_error=1e-13)
    innovations = ours.filter(y[:, None], x=x[:, None, :])

    v, variance = innovations.value[:, 0], innovations.variance[:, 0]
    seen = np.isfinite(v)
    diffuse = theirs.filter_results.forecasts_error_diffuse_cov
    proper = np.isfinite(y) if diffuse is None else np.isfinite(y) & (diffuse[0, 0] <= 1e-10)
    assert (seen == proper).all()
    scale = np.sqrt(theirs.forecasts_error_cov[0, 0])
    assert np.all(np.abs(v - theirs.forecasts_error[0])[seen] <= RELATIVE * scale[seen])
    np.testing.assert_allclose(variance[seen], theirs.forecasts_error_cov[0, 0][seen], rtol=RELATIVE)
    np.testing.assert_allclose(ours.loglikelihood()[0], theirs.llf, rtol=RELATIVE)
    future = theirs.get_forecast(HORIZON, exog=x_future if k else None)
    forecast = ours.forecast(HORIZON, x=x_future[None])
    np.testing.assert_allclose(forecast.mean[0], future.predicted_mean, rtol=RELATIVE, atol=RELATIVE * scale[-1])
    np.testing.assert_allclose(forecast.variance[0], future.var_pred_mean, rtol=RELATIVE)


def random_models(n: int, seed: int = 0) -> list[Coefficients]:
    """Models of several orders, so that a bank is mixed."""
    rng = np.random.default_rng(seed)
    orders = [Order(2, 1, 2), Order(0, 1, 1), Order(1, 0, 0, mean=True), Order(0, 2, 2), Order(1, 0, 1, 0, 1, 1, 4)]
    models = []
    for i in range(n):
        order = orders[i % len(orders)]
        models.append(
            Coefficients(
                order,
                rng.uniform(0.5, 2.0, 1),
                rng.uniform(-0.4, 0.4, (1, order.p)),
                rng.uniform(-0.4, 0.4, (1, order.q)),
                rng.uniform(-0.4, 0.4, (1, order.P)),
                rng.uniform(-0.4, 0.4, (1, order.Q)),
                rng.normal(size=1) if order.mean else None,
            )
        )
    return models


def walks(times: int, n: int, missing: float = 0.0, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(times, n)).cumsum(axis=0)
    return np.where(rng.uniform(size=y.shape) < missing, np.nan, y)


def test_series_of_mixed_orders_do_not_touch_each_other():
    models = random_models(150)
    together = ArimaBank.of(models)
    y = walks(60, 150, missing=0.05)
    innovations = together.filter(y)
    for i in (0, 1, 2, 3, 4, 77, 149):
        alone = ArimaBank.of([models[i]])
        np.testing.assert_allclose(innovations.value[:, i], alone.filter(y[:, [i]]).value[:, 0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(together.forecast(5).mean[i], alone.forecast(5).mean[0], rtol=1e-9)
        np.testing.assert_allclose(together.forecast(5).variance[i], alone.forecast(5).variance[0], rtol=1e-9)


def test_shuffled_rows_and_repeated_rows_give_what_one_by_one_gives():
    n = 200
    models = random_models(n)
    y = walks(40, n, missing=0.03)
    whole, parts = ArimaBank.of(models), ArimaBank.of(models)
    rng = np.random.default_rng(3)
    expected = whole.filter(y).value
    got = np.empty_like(expected)
    for t in range(0, 40, 2):  # two values of each series a call, in shuffled places but in order within a series
        order = rng.permutation(np.repeat(np.arange(n), 2))
        first = np.zeros(2 * n, dtype=bool)
        first[np.unique(order, return_index=True)[1]] = True
        v = parts.update(np.where(first, y[t, order], y[t + 1, order]), order)
        got[t, order[first]], got[t + 1, order[~first]] = v[first], v[~first]
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(parts.to_rows(), whole.to_rows(), rtol=1e-9, atol=1e-12)


def test_rows_carry_everything_a_series_knows():
    models = random_models(30)
    y = walks(50, 30, missing=0.1)
    straight, moved = ArimaBank.of(models), ArimaBank.of(models)
    straight.filter(y[:25])
    rows = np.arange(30)
    moved.from_rows(rows, straight.to_rows())
    assert moved.to_rows().shape == (30, moved.state_width) == (30, len(moved.layout.state_columns))
    np.testing.assert_array_equal(moved.filter(y[25:]).value, straight.filter(y[25:]).value)
    np.testing.assert_array_equal(moved.loglikelihood(), straight.loglikelihood())


def test_steady_state_keeps_its_error_bound():
    """The bound holds against the filter that never switches, for coefficients near and far from the unit circle."""
    rng = np.random.default_rng(5)
    n = 300
    model = Coefficients(
        Order(1, 1, 2),
        np.ones(n),
        rng.uniform(-0.9, 0.9, (n, 1)),
        np.stack([(a := rng.uniform(-0.97, 0.97, n)) + (b := rng.uniform(-0.97, 0.97, n)), a * b], axis=1),
    )
    y = walks(600, n)
    bound = 1e-6
    fast, exact = ArimaBank.of([model], steady_error=bound), ArimaBank.of([model], steady_error=0.0)
    v_fast, v = fast.filter(y), exact.filter(y)
    assert fast.steady().mean() > 0.9
    assert not exact.steady().any()
    errors = np.nanmax(np.abs(v_fast.value - v.value), axis=0) / np.nanmax(np.abs(v.value), axis=0)
    assert errors.max() <= bound
    assert errors.max() > 0  # it did switch early
    np.testing.assert_allclose(v_fast.variance, v.variance, rtol=bound)


def test_no_forecast_is_claimed_before_differencing_has_its_values():
    filters = ArimaBank.of([Coefficients(Order(0, 2, 0), np.array([1.0]))], n_series=1)
    assert np.isnan(filters.forecast(2).mean).all()
    assert np.isnan(filters.update(np.array([1.0]))).all()
    assert np.isinf(filters.forecast(2).variance).all()
    assert np.isnan(filters.update(np.array([3.0]))).all()
    np.testing.assert_allclose(filters.forecast(2).mean, [[5.0, 7.0]])
    np.testing.assert_allclose(filters.forecast(2).variance, [[1.0, 5.0]])


def test_missing_values_before_the_first_are_no_gap():
    filters = ArimaBank.of(random_models(10))
    before = filters.to_rows()
    filters.update(np.full(10, np.nan))
    np.testing.assert_allclose(filters.to_rows()[:5, 2:6], before[:5, 2:6])
    late, early = ArimaBank.of(random_models(10)), ArimaBank.of(random_models(10))
    y = walks(30, 10)
    padded = np.vstack([np.full((9, 10), np.nan), y])
    np.testing.assert_allclose(late.filter(padded).value[9:], early.filter(y).value, rtol=1e-9, atol=1e-12)


def test_infinite_values_count_as_missing():
    one, other = (ArimaBank.of([Coefficients(Order(1, 1, 0), np.ones(1), np.array([[0.5]]))]) for _ in range(2))
    y = walks(20, 1)
    y[7] = np.inf
    v = one.filter(y).value
    y[7] = np.nan
    np.testing.assert_array_equal(v, other.filter(y).value)


def test_standardised_innovations_of_the_true_model_are_standard_normal():
    rng = np.random.default_rng(2)
    e = 3.0 * rng.normal(size=(400, 50))
    y = np.zeros_like(e)
    for t in range(1, 400):
        y[t] = 0.6 * y[t - 1] + e[t] + 0.4 * e[t - 1]
    model = Coefficients(Order(1, 0, 1), np.array([9.0]), np.array([[0.6]]), np.array([[0.4]]))
    z = ArimaBank.of([model], n_series=50).filter(y).standardised[50:]
    assert abs(z.mean()) < 0.03
    assert abs(z.std() - 1) < 0.02


def test_new_series_start_fresh_after_a_resize():
    filters = ArimaBank.of([Coefficients(Order(0, 1, 1), np.ones(1), ma=np.array([[0.3]]))], n_series=3)
    filters.filter(walks(10, 3))
    old = filters.to_rows()
    filters.resize(5)
    np.testing.assert_array_equal(filters.to_rows()[:3], old)
    assert np.isnan(filters.forecast(1, np.array([3, 4])).mean).all()
    assert len(filters.update(np.ones(5))) == 5


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda b: b.update(np.zeros(3)), "y has shape"),
        (lambda b: b.update(np.zeros(1), np.array([5])), "resize it first"),
        (lambda b: b.forecast(0), "at least 1"),
        (lambda b: b.from_rows(np.array([0]), np.zeros((1, 2))), "states have shape"),
        (lambda b: b.set_parameters(np.array([0]), np.zeros((1, 2))), "parameters have shape"),
        (lambda b: ArimaBank.of([Coefficients(Order(1, 0, 0), np.ones(1), np.array([[1.0]]))]), "not stationary"),
        (lambda b: ArimaBank.of([Coefficients(Order(1, 0, 0), -np.ones(1), np.array([[0.1]]))]), "sigma2"),
        (lambda b: ArimaBank.of([Coefficients(Order(1, 1, 0), np.ones(1), [[0.1]])], layout=Layout(1, 0)), "larger"),
        (lambda b: Coefficients(Order(1, 0, 0), np.ones(1)), "expected"),
        (lambda b: Order(-1, 0, 0), "0 or more"),
        (lambda b: Order(1, 0, 0, P=1), "period"),
    ],
)
def test_mistakes_are_told(call, says):
    with pytest.raises(ModelError, match=says):
        call(ArimaBank.of([Coefficients(Order(0, 1, 0), np.ones(1))], n_series=2))


def test_the_example_of_the_bank_runs():
    assert doctest.testmod(bank).failed == 0


def test_a_fitted_bank_stands_at_the_end_of_its_past():
    y = [walks(80, 1, seed=1)[:, 0], walks(60, 1, seed=2)[:, 0]]
    bank = ArimaBank.of([Coefficients(Order(0, 1, 0), np.ones(1))], n_series=2, layout=widest_layout())
    assert isinstance(bank, Forecaster)
    bank.fit(y)
    assert (bank.parameters()[:, bank.layout.lags + 2 * bank.layout.r] != 1.0).all()
    assert np.abs(bank.forecast(1).mean[:, 0] - [y[0][-1], y[1][-1]]).max() < 2.0
    with pytest.raises(ModelError, match="3 series for a bank of 2"):
        bank.fit([*y, y[0]])

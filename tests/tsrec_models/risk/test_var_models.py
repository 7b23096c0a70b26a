"""The two volatility models of the backtest, and forecasts that never see the future."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student

from tsrec_models.base import ModelError
from tsrec_models.risk.var_models import PRIORS, fit, volatility
from tsrec_models.risk.var_walkforward import walk_forward


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def density(z, sigma, dof):
    stretch = math.sqrt(dof / (dof - 2))
    return student.logpdf(z * stretch, dof) + math.log(stretch) - math.log(sigma)


def slow_gjr(raw, returns, variance):
    out, total = [], 0.0
    for value in returns:
        out.append(math.sqrt(variance))
        e = value - raw[0]
        total -= density(e / out[-1], out[-1], 2.05 + math.exp(raw[5]))
        news = raw[2] ** 2 + (raw[3] ** 2 if e < 0 else 0)
        variance = math.exp(raw[1]) + news * e * e + sigmoid(raw[4]) * variance
    return [*out, math.sqrt(variance)], total


def slow_path(raw, returns, start):
    """Kernels written as weighted sums over the whole past instead of recursions."""
    e = np.array(returns) - raw[0]
    out, total = [], 0.0
    for t in range(len(returns) + 1):
        age = np.arange(t)[::-1]

        def mean(values, raw_decay, first, t=t, age=age):
            decay = sigmoid(raw_decay)
            return first * decay**t + float(np.sum((1 - decay) * decay**age * values[:t]))

        w1, w2 = sigmoid(raw[8]), sigmoid(raw[9])
        trend = (1 - w1) * mean(e, raw[4], 0.0) + w1 * mean(e, raw[5], 0.0)
        size = (1 - w2) * mean(e * e, raw[6], start) + w2 * mean(e * e, raw[7], start)
        sigma = math.exp(raw[1]) - math.exp(raw[2]) * trend + math.exp(raw[3]) * math.sqrt(size)
        floor = 0.1 * math.sqrt(start)
        if sigma < floor:
            sigma = floor * math.exp(max(sigma / floor - 1, -3))
        out.append(sigma)
        if t < len(returns):
            total -= density(e[t] / sigma, sigma, 2.05 + math.exp(raw[10]))
    return out, total


@pytest.mark.parametrize(("model", "slow"), [("gjr", slow_gjr), ("path", slow_path)])
def test_volatility_and_likelihood_equal_the_formula_written_out(model, slow):
    rng = np.random.default_rng(2)
    returns = rng.standard_t(5, 150)
    raw = PRIORS[model] + 0.1 * rng.standard_normal(len(PRIORS[model]))
    got, loss = volatility(model, raw, returns, 1.3)
    expected, total = slow(raw, returns.tolist(), 1.3)
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    assert loss == pytest.approx(total, rel=1e-9)


def garch_returns(n, seed=3):
    rng = np.random.default_rng(seed)
    variance, out = 1.0, np.empty(n)
    for t in range(n):
        e = math.sqrt(variance) * rng.standard_t(8) * math.sqrt(6 / 8)
        out[t] = e
        variance = 0.02 + (0.02 + 0.12 * (e < 0)) * e * e + 0.9 * variance
    return out


@pytest.mark.parametrize("model", ["gjr", "path"])
def test_a_fit_is_better_than_its_start_and_close_to_the_true_volatility(model):
    returns = garch_returns(3000)
    raw = fit(model, returns)
    start = float(np.var(returns))
    found, loss = volatility(model, raw, returns, start)
    assert loss < volatility(model, PRIORS[model], returns, start)[1]
    truth, _ = slow_gjr(
        [0.0, math.log(0.02), math.sqrt(0.02), math.sqrt(0.12), math.log(9.0), math.log(6.0)], returns.tolist(), 1.0
    )
    assert np.corrcoef(found[100:], truth[100:])[0, 1] > 0.95


def test_no_forecast_changes_when_the_future_does():
    returns = 0.01 * garch_returns(700)
    other = returns.copy()
    other[560:] = -0.2
    one = walk_forward(returns, (0.95, 0.99), warmup=400, window=200, refit=50)
    two = walk_forward(other, (0.95, 0.99), warmup=400, window=200, refit=50)
    # Return 560 is the first that differs; the forecast for it was made before.
    np.testing.assert_array_equal(one.var[:161], two.var[:161])
    np.testing.assert_array_equal(one.es[:161], two.es[:161])
    assert np.all(two.var[161] > one.var[161])


def test_forecasts_do_not_depend_on_the_unit_of_the_price_move():
    returns = 0.01 * garch_returns(600)
    one = walk_forward(returns, (0.95,), warmup=400, window=300, refit=100)
    two = walk_forward(0.01 * returns, (0.95,), warmup=400, window=300, refit=100)
    np.testing.assert_allclose(two.var, 0.01 * one.var, rtol=1e-3)


def test_hits_come_as_often_as_they_should_on_a_simulated_market():
    one = walk_forward(0.01 * garch_returns(2500, seed=8), (0.95,), warmup=500, window=400, refit=500)
    hits = one.returns < -one.var[:, 0]
    assert 70 < hits.sum() < 132  # 100 expected of 2,000: within the 99.9 % interval
    assert np.all(one.es > one.var)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(50) * 0.01, (0.95,), 100), "longer series"),
        ((np.zeros(500), (0.95,), 100), "does not move"),
        ((garch_returns(500), (0.99,), 90), "lengthen the warm-up"),
    ],
)
def test_histories_that_cannot_be_tested_are_refused(arguments, message):
    with pytest.raises(ModelError, match=message):
        walk_forward(*arguments)


def test_a_market_on_the_edge_of_stationarity_is_fitted_again_and_again():
    """Volatility that never reverts pushes the persistence to its edge, where the optimiser cannot look."""
    rng = np.random.default_rng(12)
    returns = np.exp(np.cumsum(0.03 * rng.standard_normal(4000))) * rng.standard_t(3, 4000)
    returns /= returns[:1000].std()
    raw, start = None, float(np.var(returns[:1000]))
    for end in range(1000, 4001, 250):
        before = raw
        raw = fit("gjr", returns[:end], raw)
        start = float(np.var(returns[:end]))
        loss = volatility("gjr", raw, returns[:end], start)[1]
        assert math.isfinite(loss)
        assert raw[2] ** 2 + 0.5 * raw[3] ** 2 + sigmoid(raw[4]) < 1.0
        if before is not None:  # the prior may cost a little of the likelihood
            prior = 0.5 * float(np.sum((raw - PRIORS["gjr"]) ** 2) - np.sum((before - PRIORS["gjr"]) ** 2))
            assert loss + prior <= volatility("gjr", before, returns[:end], start)[1] + 1e-6

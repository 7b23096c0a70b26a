"""Filtered historical simulation against plain loops over whole histories."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsrec_models.base import ModelError
from tsrec_models.risk.fhs import BURN_IN, FilteredHistoricalSimulation, tail_quantile, tail_shortfall
from tsrec_models.risk.volatility import GarchParameters, ewma


def slow_quantile(values, tail):
    """Linear between the k-th smallest at probability k / (n + 1)."""
    n = len(values)
    if tail * (n + 1) < 1 - 1e-9:
        return math.nan
    return float(np.interp(tail, np.arange(1, n + 1) / (n + 1), np.sort(values)))


def slow_shortfall(values, tail):
    """Mean of the quantile function over (0, tail), by a fine grid."""
    n = len(values)
    grid = (np.arange(200_000) + 0.5) / 200_000 * tail
    return float(np.mean(np.interp(grid, np.arange(1, n + 1) / (n + 1), np.sort(values))))


def slow_risks(returns, parameters, window, tails):
    """Risks after the last return: EWMA or GJR from the burn-in, residuals of the last `window` returns."""
    omega, alpha, gamma, beta, mu = parameters.as_array()
    variance = float(np.mean((np.array(returns[:BURN_IN]) - mu) ** 2))
    residuals = []
    for value in returns:
        e = value - mu
        residuals.append(e / math.sqrt(variance))
        variance = omega + (alpha + gamma * (e < 0)) * e * e + beta * variance
    sigma, recent = math.sqrt(variance), residuals[-window:]
    var = [1.0 - math.exp(mu + sigma * slow_quantile(recent, tail)) for tail in tails[:-1]]
    return sigma, var, 1.0 - math.exp(mu + sigma * slow_shortfall(recent, tails[-1]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=30, max_size=200), st.floats(0.04, 0.3))
def test_quantile_and_shortfall_equal_their_definitions(values, tail):
    ordered = np.sort(np.array(values))
    assert tail_quantile(ordered, tail) == pytest.approx(slow_quantile(ordered, tail), abs=1e-9)
    assert tail_shortfall(ordered, tail) == pytest.approx(slow_shortfall(ordered, tail), abs=2e-4)


def test_a_quantile_the_sample_cannot_show_is_missing():
    assert math.isnan(tail_quantile(np.arange(98.0), 0.01))
    assert tail_quantile(np.arange(99.0), 0.01) == 0.0


@pytest.mark.parametrize("parameters", [ewma(0.94), GarchParameters(1e-6, 0.03, 0.1, 0.9, 3e-4)])
def test_a_stream_of_two_symbols_equals_the_loop_over_each_history(parameters):
    rng = np.random.default_rng(5)
    fhs = FilteredHistoricalSimulation(120, (0.95, 0.975, 0.99), 0.975, parameters, offset=3)
    state = fhs.initial_rows(2)
    rows = rng.integers(0, 2, 700)
    returns = 0.01 * rng.standard_t(4, 700)
    returns[rng.random(700) < 0.1] = 0.0  # equal residuals must not confuse the order
    history: list[list[float]] = [[], []]
    for at in range(0, 700, 50):
        part = slice(at, at + 50)
        got = fhs.update(state, rows[part], returns[part], np.arange(700.0)[part])
        for row, value in zip(rows[part], returns[part], strict=True):
            history[row].append(float(value))
        for row in (0, 1):
            k = np.flatnonzero(rows[part] == row)[-1]
            if len(history[row]) < BURN_IN:
                assert np.all(np.isnan(got.var[k]))
                continue
            sigma, var, es = slow_risks(history[row], parameters, 120, (0.05, 0.025, 0.01, 0.025))
            assert got.volatility[k] == pytest.approx(sigma, rel=1e-9)
            np.testing.assert_allclose(got.var[k], var, rtol=1e-7)
            if not math.isnan(got.es[k]):
                assert got.es[k] == pytest.approx(es, rel=1e-3)
    assert np.all(state[:, :3] == 0.0)


def test_the_forecast_before_a_return_never_knows_it():
    fhs = FilteredHistoricalSimulation(120)
    state = fhs.initial_rows(1)
    rng = np.random.default_rng(1)
    first = fhs.update(state, np.zeros(200, np.int64), 0.01 * rng.standard_normal(200), np.arange(200.0))
    np.testing.assert_array_equal(first.var_before[1:], first.var[:-1])
    crash = fhs.update(state, np.zeros(1, np.int64), np.array([-0.5]), np.array([200.0]))
    np.testing.assert_array_equal(crash.var_before[0], first.var[-1])
    assert crash.residual[0] == pytest.approx(-0.5 / first.volatility[-1])


def test_a_missing_return_changes_nothing():
    fhs = FilteredHistoricalSimulation(120)
    state = fhs.initial_rows(1)
    fhs.update(state, np.zeros(200, np.int64), 0.01 * np.random.default_rng(1).standard_normal(200), np.arange(200.0))
    before = state.copy()
    got = fhs.update(state, np.zeros(1, np.int64), np.array([np.nan]), np.array([200.0]))
    np.testing.assert_array_equal(state, before)
    np.testing.assert_array_equal(got.var, got.var_before)


@pytest.mark.parametrize("n", [60, 300])
def test_new_parameters_leave_the_row_as_if_they_had_always_been_there(n):
    returns = 0.01 * np.random.default_rng(2).standard_normal(n)
    new = GarchParameters(2e-6, 0.05, 0.05, 0.88, 1e-4)
    fhs = FilteredHistoricalSimulation(120)
    state = fhs.initial_rows(1)
    fhs.update(state, np.zeros(n, np.int64), returns, np.arange(float(n)))
    fhs.swap(state, 0, new)
    assert fhs.parameters_of(state, 0) == new
    np.testing.assert_array_equal(fhs.returns(state, 0), returns[-120:])
    other = FilteredHistoricalSimulation(120, parameters=new)
    expected = other.initial_rows(1)
    other.update(expected, np.zeros(min(n, 120), np.int64), returns[-120:], np.arange(float(n))[-120:])
    np.testing.assert_allclose(fhs.residuals(state, 0), other.residuals(expected, 0), rtol=1e-9)
    last = fhs.update(state, np.zeros(1, np.int64), np.array([0.003]), np.array([n + 0.0]))
    expected_last = other.update(expected, np.zeros(1, np.int64), np.array([0.003]), np.array([n + 0.0]))
    np.testing.assert_allclose(last.var, expected_last.var, rtol=1e-9)


def test_portfolio_risk_equals_the_loop_over_common_bars():
    rng = np.random.default_rng(4)
    fhs = FilteredHistoricalSimulation(150, parameters=ewma(0.97))
    state = fhs.initial_rows(3)
    common = rng.standard_normal(200)
    stories: list[dict[int, float]] = []
    for row in range(3):
        traded = np.flatnonzero(rng.random(200) < (1.0, 0.7, 0.5)[row])
        returns = 0.01 * (0.8 * common[traded] + 0.6 * rng.standard_normal(len(traded)))
        fhs.update(state, np.full(len(traded), row), returns, traded.astype(float))
        kept = traded[-150:]
        stories.append(dict(zip(kept.tolist(), fhs.residuals(state, row).tolist(), strict=True)))
    sigma = fhs.update(state, np.arange(3), np.full(3, np.nan), np.zeros(3)).volatility
    offsets, rows = np.array([0, 3, 3, 4]), np.array([0, 1, 2, 0])
    exposures = np.array([1000.0, -700.0, 300.0, -50.0])
    var, es, scenarios = fhs.portfolio(state, offsets, rows, exposures)
    for account, held in ((0, [0, 1, 2]), (2, [0])):
        amounts = exposures[offsets[account] : offsets[account + 1]]
        bars = sorted(set().union(*(stories[row] for row in held)), reverse=True)[:150]
        gains = [
            sum(
                e * math.expm1(sigma[row] * stories[row][bar])
                for e, row in zip(amounts, held, strict=True)
                if bar in stories[row]
            )
            for bar in bars
        ]
        expected = [-slow_quantile(np.array(gains), tail) for tail in (0.05, 0.025, 0.01)]
        np.testing.assert_allclose(var[account], expected, rtol=1e-9)
        assert es[account] == pytest.approx(-slow_shortfall(np.array(gains), 0.025), rel=1e-3)
    assert scenarios.tolist() == [150, 0, 150]
    assert np.all(np.isnan(var[1]))


def test_a_hedged_book_has_less_risk_than_its_legs():
    rng = np.random.default_rng(6)
    fhs = FilteredHistoricalSimulation(300)
    state = fhs.initial_rows(2)
    common = 0.01 * rng.standard_normal(300)
    for row in (0, 1):
        fhs.update(state, np.full(300, row), common + 0.001 * rng.standard_normal(300), np.arange(300.0))
    var, _, _ = fhs.portfolio(
        state, np.array([0, 1, 3]), np.array([0, 0, 1]), np.array([1000.0, 1000.0, -1000.0])
    )  # fmt: skip
    assert np.all(var[1] < 0.3 * var[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 10}, "more than"),
        ({"levels": (0.4,)}, "between 0.5 and 1"),
        ({"window": 50, "levels": (0.99,)}, "widen it"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(ModelError, match=message):
        FilteredHistoricalSimulation(**arguments)

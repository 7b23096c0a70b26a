"""Volatility recursions and fits."""

from __future__ import annotations

import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.risk.volatility import GarchParameters, backcast, ewma, filter_variance, fit

TRUTH = GarchParameters(omega=2e-6, alpha=0.04, gamma=0.08, beta=0.88, mu=2e-4)


def simulate(parameters: GarchParameters, n: int, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    variance = parameters.omega / (1.0 - parameters.persistence)
    out = np.empty(n)
    for t in range(n):
        innovation = np.sqrt(variance) * rng.standard_normal()
        out[t] = parameters.mu + innovation
        news = parameters.alpha + (parameters.gamma if innovation < 0 else 0.0)
        variance = parameters.omega + news * innovation**2 + parameters.beta * variance
    return out


def test_variance_equals_the_recursion_written_out():
    returns = simulate(TRUTH, 300)
    got = filter_variance(TRUTH, returns, initial=1e-4)
    variance = 1e-4
    for t, value in enumerate(returns):
        assert got[t] == pytest.approx(variance, rel=1e-12)
        e = value - TRUTH.mu
        variance = TRUTH.omega + (TRUTH.alpha + TRUTH.gamma * (e < 0)) * e * e + TRUTH.beta * variance
    assert got[-1] == pytest.approx(variance, rel=1e-12)


def test_variance_equals_the_library_that_fits_it():
    arch = pytest.importorskip("arch")
    returns = 100.0 * simulate(TRUTH, 800)
    result = arch.arch_model(returns, mean="Constant", vol="GARCH", p=1, o=1, q=1, rescale=False).fit(disp="off")
    omega, alpha, gamma, beta = (result.params[k] for k in ("omega", "alpha[1]", "gamma[1]", "beta[1]"))
    ours = filter_variance(GarchParameters(omega, alpha, gamma, beta, result.params["mu"]), returns)
    # The library adds half the asymmetry of an unseen return to its first step only; it dies out.
    np.testing.assert_allclose(np.sqrt(ours[200:-1]), result.conditional_volatility[200:], rtol=1e-6)


def test_ewma_is_the_riskmetrics_average():
    returns = np.array([0.01, -0.02, 0.005])
    got = filter_variance(ewma(0.9), returns, initial=1e-4)
    expected = 1e-4
    for value in returns:
        expected = 0.9 * expected + 0.1 * value**2
    assert got[-1] == pytest.approx(expected)


def test_a_missing_return_leaves_the_expectation():
    got = filter_variance(TRUTH, np.array([np.nan]), initial=1e-4)
    assert got[1] == pytest.approx(TRUTH.omega + TRUTH.persistence * 1e-4)


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_fit_finds_the_parameters_at_daily_and_at_intraday_scale(scale):
    pytest.importorskip("arch")
    found = fit(scale * simulate(TRUTH, 8000), distribution="normal")
    assert found.persistence == pytest.approx(TRUTH.persistence, abs=0.02)
    assert found.alpha == pytest.approx(TRUTH.alpha, abs=0.02)
    assert found.gamma == pytest.approx(TRUTH.gamma, abs=0.03)
    assert found.mu == pytest.approx(scale * TRUTH.mu, abs=2e-4 * scale)
    assert found.omega == pytest.approx(scale**2 * TRUTH.omega, rel=0.5)


@pytest.mark.parametrize(("returns", "message"), [(np.ones(50), "wait for 100"), (np.zeros(500), "do not vary")])
def test_returns_that_say_nothing_are_refused(returns, message):
    with pytest.raises(ModelError, match=message):
        fit(returns)


def test_backcast_weighs_recent_innovations_of_the_start():
    values = np.array([0.02, 0.0])
    assert backcast(values) == pytest.approx(0.02**2 / 1.94)

"""New parameters of a symbol: asked for at a bar, used some bars later, a function of the row and of nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.risk.bar_models import BarModels, BarModelSettings
from tsrec_models.risk.bar_refits import GJR_FROM, Job, refit
from tsrec_models.risk.bars import WIDTH, Bars
from tsrec_models.risk.fhs import FilteredHistoricalSimulation
from tsrec_models.risk.volatility import GarchParameters, fit

SETTINGS = BarModelSettings(warmup=30, refit_every=300, window=320, delay=7)


def bars_of(returns: np.ndarray, row: int = 0, first: int = 0) -> Bars:
    fields = np.ones((len(returns), WIDTH))
    fields[:, 0], fields[:, -1] = first + np.arange(len(returns)), returns
    return Bars(np.full(len(returns), row), fields, 10.0)


def gjr_path(n: int, seed: int = 1, alpha: float = 0.05, gamma: float = 0.15, beta: float = 0.85) -> np.ndarray:
    rng = np.random.default_rng(seed)
    variance, out = 1e-8, np.empty(n)
    for t in range(n):
        out[t] = np.sqrt(variance) * rng.standard_normal()
        news = alpha + (gamma if out[t] < 0 else 0.0)
        variance = 1e-8 * (1 - alpha - gamma / 2 - beta) + news * out[t] ** 2 + beta * variance
    return out


def test_volatility_is_gjr_fitted_on_the_row_as_it_was_when_it_asked() -> None:
    returns = gjr_path(330)
    models = BarModels(SETTINGS)
    state = np.zeros((1, models.width))
    models.step(state, bars_of(returns[:307]))  # the first bar has no return
    before = models.risk.parameters_of(state, 0)
    assert before.omega > 0  # that of 240 returns
    models.step(state, bars_of(returns[307:308], first=307))
    asked = returns[1:301]
    expected = fit(asked[-(320 - 7) :], distribution="normal")
    assert models.risk.parameters_of(state, 0) == expected != before
    # From here on the row is that of a filter which has had these parameters over the whole window.
    other = FilteredHistoricalSimulation(320, parameters=expected)
    alone = other.initial_rows(1)
    other.update(alone, np.zeros(307, np.int64), returns[1:308], np.arange(1, 308.0))
    other.swap(alone, 0, expected)
    np.testing.assert_allclose(models.risk.residuals(state, 0), other.residuals(alone, 0), rtol=1e-9)


@pytest.mark.parametrize("size", [1, 5, 41, 1000])
def test_rows_do_not_depend_on_batches_nor_on_when_estimates_are_made(size: int) -> None:
    both = [gjr_path(520, 1), gjr_path(520, 2) * np.where(np.arange(520) > 400, 4.0, 1.0)]
    fields = np.ones((1040, WIDTH))
    fields[:, 0], fields[:, -1] = np.repeat(np.arange(520), 2), np.stack(both, axis=1).ravel()
    bars = Bars(np.tile([0, 1], 520), fields, 10.0)
    models = BarModels(SETTINGS)
    whole = np.zeros((2, models.width))
    reference = models.step(whole, bars)
    state, parts = np.zeros((2, models.width)), []
    for k in range(0, 1040, size):
        stepping = models.begin(state, Bars(bars.rows[k : k + size], fields[k : k + size], 10.0))
        early: dict[bytes, object] = {}
        while not stepping.done:
            stepping.advance()
            early |= {job.digest: refit(job) for job in stepping.asked}
            # What was asked for is what is due, but for what a batch before this one has asked.
            stepping.swap([early.get(job.digest) or refit(job) for job in stepping.due])  # type: ignore[misc]
        parts.append(stepping.outcome())
    np.testing.assert_allclose(state, whole, rtol=1e-9, atol=1e-14)
    for name in ("var", "es", "mean", "half_width", "volatility"):
        got = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(got, getattr(reference, name), rtol=1e-9, atol=1e-14, err_msg=name)


def test_what_is_told_of_the_next_bar_is_by_the_parameters_it_is_tested_with() -> None:
    returns = gjr_path(330, 3)
    models = BarModels(SETTINGS)
    outcome = models.step(np.zeros((1, models.width)), bars_of(returns))
    np.testing.assert_allclose(outcome.var_before[1:], outcome.var[:-1])
    np.testing.assert_allclose(outcome.es_before[1:], outcome.es[:-1])
    # An innovation is the return less the forecast of it; so are those after a swap.
    ready = np.flatnonzero(np.isfinite(outcome.mean[:-1]))
    np.testing.assert_allclose(
        outcome.z[ready + 1] * outcome.sigma[ready + 1], outcome.returns[ready + 1] - outcome.mean[ready], atol=1e-12
    )
    held = np.abs(outcome.returns[ready + 1] - outcome.mean[ready]) <= outcome.half_width[ready]
    np.testing.assert_array_equal(held, outcome.held[ready + 1] == 1.0)


def test_a_row_that_drifts_asks_before_its_time_and_a_calm_one_does_not() -> None:
    calm = gjr_path(2000, 4)
    wild = calm * np.where(np.arange(2000) < 1300, 1.0, np.where(np.arange(2000) % 2, 6.0, 0.2))
    asked = []
    for returns in (calm, wild):
        models = BarModels(BarModelSettings(refit_every=1000, window=500))
        stepping = models.begin(np.zeros((1, models.width)), bars_of(returns))
        while not stepping.done:
            stepping.advance()
            stepping.swap([refit(job) for job in stepping.due])
        asked.append(stepping.drifted)
    assert asked[0] == 0
    assert asked[1] >= 1


def test_a_price_that_stands_still_keeps_its_parameters() -> None:
    found = refit(Job(0, np.zeros(300), (1, 0, 1)))
    assert found.arima is None
    assert found.garch is None
    assert "stood still" in found.note


def test_few_returns_give_no_volatility_model() -> None:
    assert refit(Job(0, gjr_path(GJR_FROM - 1), (1, 0, 1))).garch is None
    assert isinstance(refit(Job(0, gjr_path(GJR_FROM + 100), (1, 0, 1))).garch, GarchParameters)


def test_a_delay_that_leaves_no_window_is_refused() -> None:
    with pytest.raises(ModelError, match="a delay of 60 bars"):
        BarModelSettings(delay=60)

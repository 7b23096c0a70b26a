"""Demand of many items: each series on its own, intervals that hold, series that never vary, too little past."""

from __future__ import annotations

import numpy as np
import pytest

from tsrec_models.arima.demand import DemandJob, forecast_demand
from tsrec_models.base import ModelError


def counts(times: int, n: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = rng.lognormal(1.5, 0.8, n) * np.exp(0.4 * np.sin(np.arange(times)[:, None] / 25.0))
    return rng.poisson(level).astype(float)


def test_a_series_is_forecast_the_same_alone_and_among_others() -> None:
    table = counts(100, 6)
    table[:30, 2] = np.nan
    together = forecast_demand(table)
    for i in range(6):
        begun = int(np.flatnonzero(np.isfinite(table[:, i]))[0])
        alone = forecast_demand(table[begun:, [i]])
        assert together.mean[i] == pytest.approx(alone.mean[0], rel=1e-6)
    assert np.all(together.lower <= together.mean)
    assert np.all(together.mean <= together.upper)


def test_intervals_hold_the_next_count_as_often_as_they_say_and_the_mean_beats_the_last_count() -> None:
    table = counts(140, 60, 2)
    held, errors, naive = [], [], []
    for t in range(100, 140):
        found = forecast_demand(table[t - 80 : t], level=0.8)
        held.append((found.lower <= table[t]) & (table[t] <= found.upper))
        errors.append(np.abs(found.mean - table[t]))
        naive.append(np.abs(table[t - 1] - table[t]))
    assert np.mean(held) == pytest.approx(0.8, abs=0.04)
    assert np.mean(errors) < 0.9 * np.mean(naive)


def test_an_item_that_never_varies_goes_on_as_it_was() -> None:
    found = forecast_demand(np.tile([3.0, 0.0], (40, 1)))
    np.testing.assert_allclose(found.mean, [3.0, 0.0], atol=0.05)
    assert np.all(np.isfinite(found.lower))


def test_too_little_past_is_refused_and_nothing_is_nothing() -> None:
    with pytest.raises(ModelError, match="at least 20"):
        forecast_demand(counts(12, 2))
    assert len(forecast_demand(np.empty((40, 0))).mean) == 0


def test_a_job_is_named_by_what_it_holds() -> None:
    table = counts(40, 3)
    assert DemandJob(table, (0, 1, 1), 0.9).digest == DemandJob(table.copy(), (0, 1, 1), 0.9).digest
    assert DemandJob(table, (0, 1, 1), 0.9).digest != DemandJob(table, (0, 1, 1), 0.8).digest
    np.testing.assert_array_equal(DemandJob(table, (0, 1, 1), 0.9).solve().mean, forecast_demand(table).mean)

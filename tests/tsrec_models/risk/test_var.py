"""Market risk as the stream uses it: trades in, risks out, state as rows."""

from __future__ import annotations

import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.risk.var import MarketRisk


def trades(n, symbols=4, seed=1):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, symbols, n)
    prices = 100.0 * np.exp(np.cumsum(0.001 * rng.standard_normal(n)))
    sides = rng.choice(np.array([-1, 0, 1], np.int8), n)
    return rows, prices, rng.exponential(1.0, n), sides, np.cumsum(rng.exponential(1.0, n))


def run(risk, state, columns, batch):
    return [
        risk.update(state, *(column[at : at + batch] for column in columns)) for at in range(0, len(columns[0]), batch)
    ]


def test_batching_does_not_change_a_risk():
    columns = trades(6000)
    risk = MarketRisk(bar_s=10.0, lateness_s=3.0, window=150)
    one, many = risk.initial_rows(4), risk.initial_rows(4)
    whole = run(risk, one, columns, 6000)[0]
    parts = run(risk, many, columns, 97)
    np.testing.assert_array_equal(one, many)
    np.testing.assert_array_equal(whole.forecast.var, np.concatenate([part.forecast.var for part in parts]))
    np.testing.assert_array_equal(whole.bars.close, np.concatenate([part.bars.close for part in parts]))


def test_state_saved_and_restored_goes_on_as_if_nothing_had_happened():
    columns = trades(4000)
    risk = MarketRisk(bar_s=10.0, window=150)
    state = risk.initial_rows(4)
    run(risk, state, [column[:2000] for column in columns], 500)
    other = risk.initial_rows(6)
    risk.from_rows(other, [5, 4, 3, 2], risk.to_rows(state, [0, 1, 2, 3]))
    rest = [column[2000:] for column in columns]
    moved = [5 - rest[0], *rest[1:]]
    one, two = run(risk, state, rest, 500), run(risk, other, moved, 500)
    np.testing.assert_array_equal(one[-1].forecast.var, two[-1].forecast.var)
    np.testing.assert_array_equal(state, other[[5, 4, 3, 2]])


def test_hits_are_returns_beyond_the_forecast_made_before_them():
    risk = MarketRisk(bar_s=10.0, window=150)
    state = risk.initial_rows(4)
    out = run(risk, state, trades(20_000), 1000)
    checked = 0
    for part in out:
        expected = np.expm1(part.bars.log_return)[:, None] < -part.forecast.var_before
        np.testing.assert_array_equal(part.hits, expected & ~np.isnan(part.forecast.var_before[:, -1:]))
        checked += int(part.hits.sum())
    assert checked > 100
    verdict = risk.backtest.verdict(state, 0)
    assert np.all(verdict.kupiec_p > 0.01)
    assert not verdict.failing()


def test_quiet_symbols_are_closed_by_time():
    risk = MarketRisk(bar_s=60.0)
    state = risk.initial_rows(2)
    risk.update(
        state, np.array([0, 1]), np.ones(2), np.ones(2), np.zeros(2, np.int8), np.array([1.0, 70.0])
    )  # fmt: skip
    out = risk.advance(state, np.arange(2), 60.0)
    assert out.bars.rows.tolist() == [0]
    assert len(out.fate) == 0


def test_a_table_of_other_settings_is_named():
    state = MarketRisk(window=400).initial_rows(1)
    with pytest.raises(ModelError, match="rebuilt"):
        MarketRisk(window=500).advance(state, np.arange(1), 0.0)

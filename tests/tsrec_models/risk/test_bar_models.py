"""Models of a closed bar: the same however bars come in batches, equal to their parts stepped one by one."""

from __future__ import annotations

import numpy as np
import pytest

from tsrec_models.arima import ArimaBank, Order, estimate
from tsrec_models.base import ModelError
from tsrec_models.risk.bar_models import BarModels, BarModelSettings, BarOutcome
from tsrec_models.risk.bars import WIDTH, Bars
from tsrec_models.risk.fhs import FilteredHistoricalSimulation

SETTINGS = BarModelSettings(warmup=30, refit_every=100, window=120)


def _bars(rows: np.ndarray, numbers: np.ndarray, returns: np.ndarray) -> Bars:
    fields = np.ones((len(rows), WIDTH))
    fields[:, 0], fields[:, -1] = numbers, returns
    return Bars(rows.astype(np.int64), fields, 10.0)


def _stream(seed: int, n: int = 420) -> Bars:
    """Three symbols, the third with gaps and now and then no trade."""
    rng = np.random.default_rng(seed)
    rows, numbers, returns = [], [], []
    for t in range(n):
        for row in range(3):
            if row == 2 and (t % 7 == 0 or 100 < t < 130):
                continue
            rows.append(row)
            numbers.append(t)
            returns.append(np.nan if t == 0 else rng.standard_t(4) * 1e-4)
    return _bars(np.array(rows), np.array(numbers, float), np.array(returns))


def _take(bars: Bars, part: slice) -> Bars:
    return Bars(bars.rows[part], bars.fields[part], bars.width_s)


def _run(bars: Bars, size: int) -> tuple[list[BarOutcome], np.ndarray]:
    models = BarModels(SETTINGS)
    state = np.zeros((3, models.width))
    return [models.step(state, _take(bars, slice(k, k + size))) for k in range(0, len(bars), size)], state


def _joined(outcomes: list[BarOutcome], name: str) -> np.ndarray:
    return np.concatenate([getattr(outcome, name) for outcome in outcomes])


@pytest.mark.parametrize("size", [17, 1000])
def test_outcomes_do_not_depend_on_how_bars_are_batched(size: int) -> None:
    bars = _stream(1)
    one, state_one = _run(bars, 1)
    many, state_many = _run(bars, size)
    for name in ("returns", "z", "sigma", "held", "mean", "half_width", "var", "es", "volatility", "evidence"):
        assert np.isfinite(_joined(one, name)).mean() > 0.3, name
        np.testing.assert_allclose(_joined(many, name), _joined(one, name), rtol=1e-9, atol=1e-14, err_msg=name)
    np.testing.assert_allclose(state_many, state_one, rtol=1e-9, atol=1e-14)


def test_a_bar_that_was_taken_changes_nothing_and_is_left_out() -> None:
    bars = _stream(2, 80)
    models = BarModels(SETTINGS)
    state = np.zeros((3, models.width))
    models.step(state, bars)
    before = state.copy()
    again = models.step(state, _take(bars, slice(len(bars) - 40, None)))
    assert len(again) == 0
    np.testing.assert_array_equal(state, before)


def test_nothing_is_forecast_before_the_warm_up_and_everything_after_it() -> None:
    outcomes, _ = _run(_stream(3), 1000)
    rows, mean = _joined(outcomes, "rows"), _joined(outcomes, "mean")
    own = mean[rows == 0]
    ready = 1 + SETTINGS.warmup + SETTINGS.delay  # the first bar has no return
    assert np.isnan(own[: ready - 1]).all()
    assert np.isfinite(own[ready - 1 :]).all()


def test_forecasts_are_those_of_the_filter_with_parameters_from_the_past_alone() -> None:
    rng = np.random.default_rng(4)
    returns = rng.normal(0, 1e-4, 90)
    outcomes, _ = _run(_bars(np.zeros(90), np.arange(90.0), returns), 1000)
    mean = _joined(outcomes, "mean")
    past = returns[1:]  # the first bar has none
    for end in (41, 58, 69, 71, 89):  # asked for after 30 and 60 returns, in force ten returns later
        estimates = estimate([past[: 30 if end < 71 else 60]], Order(1, 0, 1))
        bank = ArimaBank(1, estimates.pack(), estimates.layout())
        bank.filter(past[: end - 1, None])
        assert mean[end - 1] == pytest.approx(bank.forecast(1).mean[0, 0], rel=1e-6, abs=1e-12)


def test_tail_risk_is_that_of_filtered_historical_simulation() -> None:
    bars = _stream(5)
    outcomes, _ = _run(bars, 50)
    risk = FilteredHistoricalSimulation(120, (0.95, 0.975, 0.99), 0.975)
    own = bars.rows == 1
    state = risk.initial_rows(1)
    plain = risk.update(state, np.zeros(own.sum(), np.int64), bars.log_return[own], bars.number[own])
    mine = _joined(outcomes, "rows") == 1
    np.testing.assert_allclose(_joined(outcomes, "var")[mine], plain.var)
    np.testing.assert_allclose(_joined(outcomes, "es_before")[mine], plain.es_before)


def test_a_return_over_a_long_gap_is_no_step_of_the_model() -> None:
    outcomes, _ = _run(_stream(6), 1000)
    rows, returns = _joined(outcomes, "rows"), _joined(outcomes, "returns")
    # The first bar, and the first after thirty bars without a trade.
    assert np.count_nonzero(np.isnan(returns[rows == 2])) == 2


def test_a_price_that_stands_still_is_never_surprising() -> None:
    outcomes, _ = _run(_bars(np.zeros(70), np.arange(70.0), np.zeros(70)), 1000)
    assert np.isnan(_joined(outcomes, "z")).all()


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ModelError, match="warmup"):
        BarModelSettings(warmup=5)
    with pytest.raises(ModelError, match="differences already"):
        BarModelSettings(order=(1, 1, 1))


def test_a_market_that_turns_wilder_than_the_window_knows_is_evidence_against_the_risk_and_one_jump_is_not() -> None:
    rng = np.random.default_rng(8)
    calm = rng.normal(0, 1e-4, 700)
    jumped = calm.copy()
    jumped[400] = -0.02
    # Every fourth return is a larger loss than the one before, and more so than volatility follows.
    wild = calm.copy()
    wild[400:700:4] = -np.geomspace(5e-4, 0.5, 75)
    for returns, is_failing in ((calm, False), (jumped, False), (wild, True)):
        outcomes, _ = _run(_bars(np.zeros(700), np.arange(700.0), returns), 1000)
        assert (_joined(outcomes, "evidence").max() >= 10_000) == is_failing

"""ARIMAX of bars: what is known of a bar helps to forecast the next, however bars come in batches."""

from __future__ import annotations

import numpy as np
import pytest

from tsrec_models.arima import ArimaBank, Order, estimate
from tsrec_models.base import ModelError
from tsrec_models.risk.bar_models import BarModels, BarModelSettings, BarOutcome
from tsrec_models.risk.bar_refits import Job, refit
from tsrec_models.risk.bars import WIDTH, Bars

BOTH = ("imbalance", "volume")
FIELDS = {"number": 0, "volume": 7, "bought": 9, "sold": 10, "return": WIDTH - 1}


def settings(*regressors: str) -> BarModelSettings:
    return BarModelSettings(warmup=30, refit_every=100, window=120, regressors=regressors)


def market(seed: int, n: int = 420, symbols: int = 3, effect: float = 1e-4, one_sided: bool = False) -> Bars:
    """Returns that follow the imbalance of the bar before; the last symbol has gaps."""
    rng = np.random.default_rng(seed)
    rows, lines = [], []
    imbalance = np.zeros(symbols)
    for t in range(n):
        for row in range(symbols):
            move = effect * imbalance[row] + 1e-4 * rng.standard_normal()
            volume = rng.lognormal(3, 0.5)
            imbalance[row] = rng.uniform(-1, 1)
            if symbols > 1 and row == symbols - 1 and (t % 7 == 0 or 100 < t < 130):
                continue
            line = np.ones(WIDTH)
            bought = 0.0 if one_sided else 0.5 * volume * (1.0 + imbalance[row])
            line[[FIELDS["number"], FIELDS["volume"], FIELDS["return"]]] = t, volume, np.nan if t == 0 else move
            line[[FIELDS["bought"], FIELDS["sold"]]] = bought, 0.0 if one_sided else volume - bought
            rows.append(row)
            lines.append(line)
    return Bars(np.array(rows), np.array(lines), 10.0)


def run(bars: Bars, size: int, *regressors: str) -> tuple[list[BarOutcome], np.ndarray]:
    models = BarModels(settings(*regressors))
    state = np.zeros((int(bars.rows.max()) + 1, models.width))
    parts = [slice(k, k + size) for k in range(0, len(bars), size)]
    return [models.step(state, Bars(bars.rows[part], bars.fields[part], 10.0)) for part in parts], state


def joined(outcomes: list[BarOutcome], name: str) -> np.ndarray:
    return np.concatenate([getattr(outcome, name) for outcome in outcomes])


@pytest.mark.parametrize("size", [17, 2000])
def test_outcomes_do_not_depend_on_how_bars_are_batched(size: int) -> None:
    bars = market(1)
    one, state_one = run(bars, 1, *BOTH)
    many, state_many = run(bars, size, *BOTH)
    for name in ("z", "sigma", "held", "mean", "half_width"):
        assert np.isfinite(joined(one, name)).mean() > 0.3, name
        np.testing.assert_allclose(joined(many, name), joined(one, name), rtol=1e-9, atol=1e-14, err_msg=name)
    np.testing.assert_allclose(state_many, state_one, rtol=1e-9, atol=1e-14)


def test_forecasts_are_those_of_arimax_with_parameters_from_the_past_alone() -> None:
    bars = market(2, 90, symbols=1)
    mean = joined(run(bars, 1000, *BOTH)[0], "mean")
    volume, imbalance = bars.volume, bars.imbalance
    known = np.stack([imbalance, np.diff(np.log(volume), prepend=np.log(volume[0]))], axis=1)
    past, before = bars.log_return[1:], known[:-1]
    for end in (41, 58, 69, 71, 89):  # asked for after 30 and 60 returns, in force ten returns later
        n = 30 if end < 71 else 60
        estimates = estimate([past[:n]], Order(1, 0, 1), x=[before[:n]])
        bank = ArimaBank(1, estimates.pack(), estimates.layout())
        bank.filter(past[: end - 1, None], x=before[: end - 1, None])
        expected = bank.forecast(1, x=known[end - 1][None, None]).mean[0, 0]
        assert mean[end - 1] == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_a_market_that_follows_its_imbalance_is_forecast_better_with_it() -> None:
    bars = market(3, 600, symbols=1, effect=2e-4)
    errors = {}
    for name, regressors in (("arima", ()), ("arimax", ("imbalance",))):
        mean = joined(run(bars, 1000, *regressors)[0], "mean")
        errors[name] = np.nanmean((bars.log_return[200:] - mean[199:-1]) ** 2)
    assert errors["arimax"] < 0.5 * errors["arima"]  # of a variance of 2.3e-8, 1e-8 is noise


def test_trades_without_sides_leave_the_forecasts_as_they_are_without_regressors() -> None:
    bars = market(4, 300, one_sided=True)
    plain, with_it = run(bars, 50)[0], run(bars, 50, "imbalance")[0]
    # The intervals begin wider, since a coefficient might have been fitted.
    for name in ("mean", "z", "var"):
        np.testing.assert_allclose(joined(with_it, name), joined(plain, name), rtol=1e-9, atol=1e-15)


def test_a_regressor_that_has_not_moved_has_no_coefficient_and_the_other_its_own() -> None:
    rng = np.random.default_rng(5)
    moving = rng.uniform(-1, 1, 150)
    returns = 3e-4 * moving + 1e-4 * rng.standard_normal(150)
    found = refit(Job(0, returns, (1, 0, 1), np.stack([np.zeros(150), moving], axis=1)))
    assert found.arima is not None
    still, moved = found.arima[-2:]
    assert still == 0.0
    assert moved == pytest.approx(3e-4, rel=0.15)


def test_regressors_that_there_are_not_are_refused() -> None:
    with pytest.raises(ModelError, match="spread: there are imbalance, volume"):
        BarModels(settings("spread"))
    with pytest.raises(ModelError, match="name each once"):
        BarModels(settings("volume", "volume"))

"""Parameters from processes of their own: the same ones, also where a process or the worker dies in between."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from stream_app.agents.refits import Refits
from stream_app.inference import Inference
from stream_app.metrics import Metrics
from tests.stream_app.agents.desk import Desk
from tests.stream_app.agents.test_market_risk import calm
from tsrec_models.risk.bar_refits import Job, refit

MARKET = {"bar_s": 1.0, "warmup_bars": 20, "refit_bars": 220, "window_bars": 260}


def job(seed: int, n: int = 250) -> Job:
    return Job(0, np.random.default_rng(seed).standard_t(5, n) * 1e-4, (1, 0, 1))


async def test_a_pool_finds_what_this_process_finds_and_one_that_dies_is_replaced() -> None:
    inference, metrics = Inference(), Metrics()
    refits = Refits(1, inference, metrics)
    try:
        refits.begin(job(1))
        found = await refits.result(job(1))
        expected = refit(job(1))
        np.testing.assert_allclose(found.arima, expected.arima, rtol=1e-12)  # type: ignore[arg-type]
        assert found.garch == expected.garch is not None
        (process,) = refits._pool._processes.values()  # type: ignore[union-attr]
        os.kill(process.pid, signal.SIGKILL)
        refits.begin(job(2))
        assert (await refits.result(job(2))).garch == refit(job(2)).garch
        refits.count(found)
        assert metrics.refits.labels("market", "new")._value.get() == 1
    finally:
        refits.close()
        inference.close()


@pytest.mark.parametrize("seconds_before_crash", [218, 222, 226])
async def test_a_crash_before_while_and_after_an_estimate_is_under_way_changes_nothing(
    seconds_before_crash: int,
) -> None:
    trades = calm(symbols=1, seconds=250, sigma=1e-4)
    whole = Desk(market=MARKET)
    for k in range(0, len(trades), 20):
        await whole.send("trades", trades[k : k + 20])
    desk = Desk(market=MARKET)
    stop = 20 * (seconds_before_crash * 5 // 20)
    for k in range(0, stop, 20):
        await desk.send("trades", trades[k : k + 20])
    desk.checkpoint()
    await desk.crash()
    for k in range(stop, len(trades), 20):
        await desk.send("trades", trades[k : k + 20])
    assert len(desk.sent["forecasts"]) > 200
    assert desk.sent["forecasts"] == whole.sent["forecasts"]
    models = desk.desk.market.bar_models
    parameters = models.risk.parameters_of(desk.desk.market.models.shard(0).column("models"), 0)
    assert parameters.omega > 0  # GJR, from the estimate asked for after 220 returns
    assert desk.metrics.interval_coverage.labels("symbol")._value.get() == pytest.approx(0.9, abs=0.08)
    whole.close()
    desk.close()


async def test_a_symbol_that_fails_its_backtests_is_counted_for_the_dashboard() -> None:
    desk = Desk(market={**MARKET, "warmup_bars": 40, "refit_bars": 2000, "window_bars": 110})
    trades = calm(symbols=1, seconds=620, sigma=1e-5)
    await desk.send("trades", trades)
    desk.checkpoint()
    gauge = desk.metrics.backtest_failed
    assert desk.metrics.backtested._value.get() == 1
    verdict = desk.desk.market.bar_models.verdict(desk.desk.market.models.shard(0).column("models"), 0)
    assert gauge.labels("kupiec")._value.get() == float((verdict.kupiec_p < 0.05).any())
    tested = desk.metrics.var_tests.labels("0.99")._value.get()
    exceeded = desk.metrics.var_exceedances.labels("0.99")._value.get()
    assert (tested, exceeded) == (verdict.days, verdict.hits[-1])
    desk.close()

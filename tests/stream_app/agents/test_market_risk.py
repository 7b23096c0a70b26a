"""Market risk in the stream: forecasts by closed bar, alerts worth reading, the same after a crash."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.stream_app.agents.desk import Desk
from topics.events import Trade

START = 1_700_000_000.0
MARKET = {"bar_s": 2.0, "warmup_bars": 20, "refit_bars": 60, "window_bars": 110}


def calm(symbols: int = 2, seconds: int = 160, seed: int = 1, sigma: float = 2e-5) -> list[Trade]:
    """Five trades a second and symbol, prices that wander by a fraction of a basis point."""
    rng = np.random.default_rng(seed)
    ts = START + np.sort(rng.uniform(0, seconds, 5 * seconds * symbols))
    which = rng.integers(0, symbols, len(ts))
    price = 100.0 * np.exp(np.cumsum(rng.normal(0, sigma, (len(ts), symbols)), axis=0))
    sizes = rng.lognormal(0, 1, len(ts)).round(3) + 0.001
    return [
        Trade(f"SYM-{k}", float(price[i, k]), float(sizes[i]), float(ts[i]), None, "buy" if sizes[i] > 1 else "sell")
        for i, k in enumerate(which.tolist())
    ]


def jump(trades: list[Trade], at_s: float, factor: float) -> list[Trade]:
    """The same, with the price of SYM-0 another one from `at_s` on."""
    return [
        Trade(t.symbol, t.price * factor, t.quantity, t.ts, None, t.side)
        if t.symbol == "SYM-0" and t.ts >= START + at_s
        else t
        for t in trades
    ]


async def run(trades: list[Trade], size: int) -> Desk:
    desk = Desk(market=MARKET)
    for k in range(0, len(trades), size):
        await desk.send("trades", trades[k : k + size])
    return desk


@pytest.mark.parametrize("size", [37, 4000])
async def test_what_is_sent_does_not_depend_on_how_trades_are_batched(size: int) -> None:
    trades = jump(calm(), 120.0, 1.01)
    expected, got = await run(trades, 256), await run(trades, size)
    assert len(expected.sent["forecasts"]) > 80
    key = [(f.subject, f.ts) for f in expected.sent["forecasts"]]
    assert sorted(key) == sorted((f.subject, f.ts) for f in got.sent["forecasts"])
    by_key = {(f.subject, f.ts): f for f in got.sent["forecasts"]}
    for forecast in expected.sent["forecasts"]:
        other = by_key[forecast.subject, forecast.ts]
        assert other.mean == pytest.approx(forecast.mean, rel=1e-9)
        assert other.source == forecast.source
    assert [(a.alert_id, a.status) for a in got.alerts("firing")] == [
        (a.alert_id, a.status) for a in expected.alerts("firing")
    ]


async def test_a_trade_of_a_clock_ahead_closes_no_bar_before_its_time() -> None:
    trades = calm()
    ahead = Trade("SYM-9", 50.0, 1.0, trades[400].ts + 50.0, None, "buy")
    sent = {}
    for name, line in (("sound", trades), ("with one ahead", [*trades[:400], ahead, *trades[400:]])):
        desk = Desk(market=MARKET)
        for k in range(0, len(line), 10):
            part = line[k : k + 10]
            written = max(trade.ts for trade in part if trade is not ahead) + 0.002
            await desk.send("trades", part, stamped_s=written)
        sent[name] = {(f.subject, f.ts): f for f in desk.sent["forecasts"] if f.subject != "SYM-9"}
        desk.close()
    assert len(sent["sound"]) > 80
    assert sent["with one ahead"].keys() == sent["sound"].keys()
    for key, forecast in sent["sound"].items():
        assert sent["with one ahead"][key].value == forecast.value
        assert sent["with one ahead"][key].mean == pytest.approx(forecast.mean, rel=1e-9)


async def test_a_forecast_names_price_interval_and_tail_risk_of_the_next_bar() -> None:
    desk = await run(calm(seconds=260), 512)
    last = desk.sent["forecasts"][-1]
    assert last.lower < last.mean < last.upper
    assert last.mean == pytest.approx(100.0, rel=0.01)
    assert (last.horizon, last.level, last.step_s, last.model) == (1, 0.9, 2.0, "arima(1,0,1)")
    assert 0 < last.var_95 < last.var_99
    assert last.es_975 > last.var_95
    assert last.volatility > 0
    assert last.source.startswith("trades:0:")


async def test_intervals_hold_the_next_price_about_as_often_as_they_say() -> None:
    desk = await run(calm(seconds=600, sigma=2e-4), 512)
    forecasts = [f for f in desk.sent["forecasts"] if f.subject == "SYM-0"]
    following = {f.ts: f for f in forecasts}
    bars = desk.desk.market.models.get("SYM-0")
    assert bars is not None
    held = desk.desk.market.bar_models.band.coverage(desk.desk.market.models.shard(0).column("models"), 0)
    assert len(following) == len(forecasts)
    assert held[0] == pytest.approx(0.9, abs=0.04)
    inside = [before.lower <= after.value <= before.upper for before, after in itertools.pairwise(forecasts)]
    assert len(inside) > 200
    assert sum(inside) / len(inside) == pytest.approx(0.9, abs=0.04)


async def test_a_calm_market_alarms_nobody() -> None:
    desk = await run(calm(symbols=3, seconds=600), 512)
    assert desk.alerts(None) == []


async def test_a_jump_is_one_alert_that_ends_not_one_a_detector() -> None:
    desk = await run(jump(calm(seconds=900), 120.0, 0.98), 512)
    assert [(a.kind, a.subject, a.status) for a in desk.alerts(None)] == [
        ("price_spike", "SYM-0", "firing"), ("price_spike", "SYM-0", "resolved"),
    ]  # fmt: skip
    alert = desk.alerts()[0]
    assert alert.source.startswith("trades:0:")
    trades = alert.evidence["trades"]
    assert trades[-1]["price"] / trades[0]["price"] == pytest.approx(0.98, rel=1e-3)
    assert desk.metrics.alerts.labels("price_spike", alert.severity, "firing")._value.get() == 1


async def test_a_move_too_slow_for_a_spike_breaks_the_forecast() -> None:
    desk = Desk(market=MARKET, surveillance={"spike_move_bps": 500.0})
    await desk.send("trades", jump(calm(), 121.0, 1.004))
    (alert,) = desk.alerts()
    assert (alert.kind, alert.subject) == ("forecast_break", "SYM-0")
    assert alert.value > alert.threshold == desk.desk.market.signals.sigmas
    assert alert.evidence["close"] / alert.evidence["open"] > 1.003
    assert alert.evidence["width_s"] == 2.0


async def test_during_the_warm_up_nothing_of_a_bar_is_alarmed() -> None:
    desk = Desk(market=MARKET, surveillance={"spike_move_bps": 500.0})
    await desk.send("trades", jump(calm(), 20.0, 1.004))
    assert desk.alerts(None) == []


async def test_replayed_trades_change_nothing_and_are_not_answered_again() -> None:
    trades = jump(calm(), 120.0, 1.01)
    desk = await run(trades, 512)
    sent = {topic: len(records) for topic, records in desk.sent.items()}
    before = desk.state()
    desk.offsets["trades", 0] = 0
    await desk.send("trades", trades[:1000])
    assert {topic: len(records) for topic, records in desk.sent.items()} == sent
    assert desk.state() == before


async def test_after_a_crash_the_rest_is_as_it_would_have_been() -> None:
    trades = jump(calm(), 120.0, 1.01)
    whole = await run(trades, 256)
    desk = Desk(market=MARKET)
    half = 3 * 256
    for k in range(0, half, 256):
        await desk.send("trades", trades[k : k + 256])
    desk.checkpoint()
    await desk.send("trades", trades[half : half + 256])  # lost with the worker
    for topic in ("forecasts", "risk-alerts"):
        desk.sent[topic] = [r for r in desk.sent[topic] if int(r.source.rsplit(":", 1)[1]) < half]
    await desk.crash()
    desk.offsets["trades", 0] = half
    for k in range(half, len(trades), 256):
        await desk.send("trades", trades[k : k + 256])
    for topic in ("forecasts", "risk-alerts"):
        assert desk.sent[topic] == whole.sent[topic], topic


async def test_a_quiet_symbol_is_closed_by_the_time_of_the_others() -> None:
    trades = [t for t in calm() if t.symbol == "SYM-1" or t.ts < START + 100.0]
    desk = await run(trades, 64)
    last = max(f.ts for f in desk.sent["forecasts"] if f.subject == "SYM-0")
    assert last == START + 100.0


async def test_with_regressors_forecasts_of_the_stream_follow_the_order_imbalance() -> None:
    rng = np.random.default_rng(9)
    trades, price, imbalance = [], 100.0, 0.0
    for second in range(160):
        price *= float(np.exp(4e-4 * imbalance + 5e-5 * rng.standard_normal()))
        bought = rng.uniform(0, 10)
        imbalance = (bought - (10 - bought)) / 10
        start = 1_700_000_000.0 + second
        trades += [
            Trade("SYM-1", price, bought, start + 0.2, side="buy"),
            Trade("SYM-1", price, 10 - bought, start + 0.6, side="sell"),
        ]
    means = {}
    for name, regressors in (("arima(1,0,1)", []), ("arimax(1,0,1)", ["imbalance"])):
        desk = Desk(market={"bar_s": 1.0, "regressors": regressors})
        for k in range(0, len(trades), 50):
            await desk.send("trades", trades[k : k + 50])
        forecasts = desk.sent["forecasts"]
        assert {forecast.model for forecast in forecasts} == {name}
        means[name] = [abs(np.log(b.value / a.mean)) for a, b in itertools.pairwise(forecasts)]
        desk.close()
    assert np.mean(means["arimax(1,0,1)"]) < 0.5 * np.mean(means["arima(1,0,1)"])

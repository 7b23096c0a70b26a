"""Volume and number of trades that are beyond a symbol's own past, and volatility that changes: one alert, and calm."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from tests.stream_app.agents.desk import Desk
from topics.events import Trade

START = 1_700_006_400.0
MARKET = {"bar_s": 1.0, "warmup_bars": 20, "refit_bars": 400, "window_bars": 300, "alarms_per_day": 500.0}


def market(
    seconds: int, seed: int = 1, symbols: int = 2, sigma: Callable[[float], float] = lambda t: 2e-5
) -> list[Trade]:
    """Some eight trades a second and symbol, of log-normal sizes; sigma: of each trade's return, by time."""
    rng = np.random.default_rng(seed)
    ts = np.sort(rng.uniform(0, seconds, 8 * seconds * symbols))
    which = rng.integers(0, symbols, len(ts))
    steps = rng.standard_normal(len(ts)) * np.array([sigma(t) for t in ts.tolist()])
    prices = [100.0 * np.exp(np.cumsum(np.where(which == k, steps, 0.0))) for k in range(symbols)]
    return [
        Trade(f"SYM-{k}", float(prices[k][i]), float(rng.lognormal(0, 0.5)), START + float(ts[i]))
        for i, k in enumerate(which.tolist())
    ]


def in_burst(trade: Trade) -> bool:
    return 600 <= trade.ts - START < 602


async def alerts_of(trades: list[Trade], size: int = 500, **more: float) -> list[tuple[str, str, str]]:
    desk = Desk(market={**MARKET, **more}, surveillance={"large_per_day": 1e-3})
    for k in range(0, len(trades), size):
        await desk.send("trades", trades[k : k + size])
    found = [(alert.kind, alert.subject, alert.severity) for alert in desk.alerts()]
    desk.close()
    return found


async def test_calm_markets_are_quiet() -> None:
    found = []
    for seed in range(3):
        found += await alerts_of(market(600, seed))
    assert found == []


async def test_a_burst_of_trades_is_one_alert_of_its_rate() -> None:
    trades = market(700, 5)
    at = START + 600.3
    price = next(t.price for t in reversed(trades) if t.symbol == "SYM-0" and t.ts < at)
    burst = [Trade("SYM-0", price, 0.01, at + 0.001 * k) for k in range(400)]
    assert await alerts_of(sorted(trades + burst, key=lambda t: t.ts)) == [("rate_anomaly", "SYM-0", "info")]


async def test_sixty_times_the_volume_is_one_alert_that_says_what_is_usual_and_batches_do_not_matter() -> None:
    trades = [
        msgspec.structs.replace(t, quantity=t.quantity * (60.0 if t.symbol == "SYM-1" and in_burst(t) else 1.0))
        for t in market(700, 6)
    ]
    desks = []
    for size in (97, 3000):
        desk = Desk(market=MARKET, surveillance={"large_per_day": 1e-3})
        for k in range(0, len(trades), size):
            await desk.send("trades", trades[k : k + size])
        desks.append(desk)
    (alert,), (other,) = (desk.alerts() for desk in desks)
    assert (alert.kind, alert.subject, alert.severity) == ("volume_anomaly", "SYM-1", "info")
    assert other.alert_id == alert.alert_id
    assert alert.evidence["value"] > 30 * alert.evidence["usual"]
    assert alert.evidence["p"] <= desks[0].desk.market.anomalies.rate
    assert alert.evidence["start"] == START + 600.0
    for desk in desks:
        desk.close()


async def test_little_volume_is_nobody_s_business() -> None:
    trades = [
        msgspec.structs.replace(t, quantity=t.quantity * 1e-4) if t.ts - START >= 600 else t for t in market(700, 7)
    ]
    assert await alerts_of(trades) == []


async def test_a_market_that_turns_wilder_is_told_once_though_no_bar_alone_is_worth_an_alert() -> None:
    trades = market(900, 8, symbols=1, sigma=lambda t: 2e-5 if t < 600 else 1.2e-4)
    found = await alerts_of(trades, min_move_bps=100.0, backtest_alarm=1e9)
    assert [kind for kind, _, _ in found] == ["change_point"]


async def test_detectors_go_on_after_a_crash_as_if_there_had_been_none() -> None:
    trades = market(700, 6)
    trades = [
        msgspec.structs.replace(t, quantity=t.quantity * 60.0) if 600 <= t.ts - START < 602 else t for t in trades
    ]
    whole, desk = (Desk(market=MARKET, surveillance={"large_per_day": 1e-3}) for _ in range(2))
    half = len(trades) // 2
    await whole.send("trades", trades)
    await desk.send("trades", trades[:half])
    desk.checkpoint()
    await desk.crash()
    await desk.send("trades", trades[half:])
    assert [a.alert_id for a in desk.alerts()] == [a.alert_id for a in whole.alerts()]
    assert {a.kind for a in whole.alerts()} == {"volume_anomaly"}
    whole.close()
    desk.close()

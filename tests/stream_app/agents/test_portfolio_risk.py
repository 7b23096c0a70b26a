"""Portfolio risk: accounts and their symbols meet, wherever each lives; joint scenarios, crashes, limits."""

from __future__ import annotations

import numpy as np
import pytest

from stream_app.transport.partitioning import partitions_of
from tests.stream_app.agents.desk import Desk
from topics.events import Trade
from topics.spans import Spans
from tsrec_models.risk.fhs import FilteredHistoricalSimulation

START = 1_700_000_000.0
MARKET = {"bar_s": 1.0, "warmup_bars": 20, "refit_bars": 150, "window_bars": 120}


def market(seconds: int, seed: int = 1, rho: float = 0.8) -> list[list[Trade]]:
    """A trade a second in each of two symbols that move together: lists by symbol, as they come to its partition."""
    rng = np.random.default_rng(seed)
    common, own = rng.standard_t(5, seconds), rng.standard_t(5, (seconds, 2))
    clustered = 2e-4 * np.where(np.arange(seconds) % 90 < 30, 2.5, 1.0)[:, None]
    returns = clustered * (rho * common[:, None] + np.sqrt(1 - rho**2) * own)
    price = 100.0 * np.exp(np.cumsum(returns, axis=0))
    return [[Trade(f"SYM-{k}", float(price[t, k]), 1.0, START + t + 0.5) for t in range(seconds)] for k in range(2)]


def owned(trade: Trade, account: str, side: str, quantity: float) -> Trade:
    return Trade(trade.symbol, trade.price, quantity, trade.ts, account, side)  # type: ignore[arg-type]


def with_books(quotes: list[list[Trade]]) -> list[list[Trade]]:
    """After a minute three accounts take positions: long both, long one and short the other, and one alone."""
    one, two = ([*part] for part in quotes)
    one[60:60] = [
        owned(one[60], "both", "buy", 50.0), owned(one[60], "hedged", "buy", 50.0),
        owned(one[60], "single", "buy", 50.0),
    ]  # fmt: skip
    two[60:60] = [owned(two[60], "both", "buy", 50.0), owned(two[60], "hedged", "sell", 50.0)]
    return [one, two]


async def deliver(
    desk: Desk, quotes: list[list[Trade]], begin: int = 0, end: int | None = None, step: int = 10
) -> None:
    """Ten seconds of both symbols in turn, each in a partition of its own."""
    last = max(len(part) for part in quotes) if end is None else end
    for k in range(begin, last, step):
        for partition, part in enumerate(quotes):
            if batch := part[k : min(k + step, last)]:
                await desk.send("trades", batch, partition)


async def test_books_go_through_the_past_bars_of_their_symbols_together() -> None:
    quotes = with_books(market(400))
    desk = Desk(market=MARKET)
    await deliver(desk, quotes)
    latest = {record.account_id: record for record in desk.sent["account-risk"]}
    assert set(latest) == {"both", "hedged", "single"}
    both, hedged, single = latest["both"], latest["hedged"], latest["single"]
    assert (both.positions, hedged.positions, single.positions) == (2, 2, 1)
    assert both.covered == hedged.covered == 1.0
    assert both.scenarios == 120
    assert hedged.var_99 < single.var_99 < both.var_99  # what moves together hedges, and adds up
    assert both.var_95 < both.var_99
    assert hedged.net == pytest.approx(0.0, abs=0.02 * hedged.exposure)
    # The market side's own rows, wherever they live, give the same figures.
    risk = desk.desk.market.bar_models.risk
    rows = [desk.desk.market.models.shard(p).column("models")[0] for p in range(2)]
    state = np.stack(rows)
    close = [
        float(np.asarray(desk.desk.portfolios.scenarios.get(f"SYM-{k}")["close"]))  # type: ignore[union-attr, index]
        for k in range(2)
    ]
    var, es, _ = risk.portfolio(
        state, np.array([0, 2, 4, 5]), np.array([0, 1, 0, 1, 0]),
        50.0 * np.array([close[0], close[1], close[0], -close[1], close[0]]),
    )  # fmt: skip
    for record, expected, shortfall in zip((both, hedged, single), var, es, strict=True):
        assert [record.var_95, record.var_99] == pytest.approx([expected[0], expected[-1]], rel=0.03)
        assert record.es_975 == pytest.approx(shortfall, rel=0.03)
    desk.close()


async def test_each_partition_of_accounts_steps_the_volatility_it_was_told_of() -> None:
    quotes = with_books(market(400))
    desk = Desk(market={**MARKET, "window_bars": 300, "refit_bars": 250})
    await deliver(desk, quotes)
    portfolios = desk.desk.portfolios
    assert portfolios is not None
    simulation: FilteredHistoricalSimulation = portfolios.simulation
    own = desk.desk.market.models.shard(0).column("models")
    parameters = desk.desk.market.bar_models.risk.parameters_of(own, 0)
    assert parameters.omega > 0  # GJR by then, not the EWMA that the partitions began with
    for partition in range(4):
        shard = portfolios.scenarios.shard(partition)
        row = shard.find(Spans.of([b"SYM-0"]))
        state = shard.column("state")
        assert simulation.parameters_of(state, int(row[0])) == parameters
        expected = desk.desk.market.bar_models.risk.volatility(own, np.array([0]))
        np.testing.assert_allclose(simulation.volatility(state, row), expected, rtol=0.02)
    desk.close()


async def test_a_market_that_no_account_trades_is_told_to_nobody() -> None:
    desk = Desk(market=MARKET)
    await deliver(desk, market(100))
    assert not any(topic == "symbol-bars" for topic, _ in desk.offsets)
    desk.close()


async def test_bars_told_twice_count_once_and_a_crash_changes_nothing() -> None:
    quotes = with_books(market(300))
    whole, desk = Desk(market=MARKET), Desk(market=MARKET)
    await deliver(whole, quotes)
    await deliver(desk, quotes, end=150)
    desk.checkpoint()
    at = dict(desk.offsets)
    kept = len(desk.sent["account-risk"])
    await deliver(desk, quotes, 150, 200)
    lost = desk.sent["account-risk"][kept:]
    desk.sent["account-risk"] = desk.sent["account-risk"][:kept]
    await desk.crash()
    # The trades come again; what had been told of them stays in the topic, and comes a second time.
    for (topic, partition), offset in at.items():
        if topic == "trades":
            desk.offsets[topic, partition] = offset
    await deliver(desk, quotes, 150)
    assert [record.account_id for record in desk.sent["account-risk"][kept : kept + len(lost)]] == [
        record.account_id for record in lost
    ]
    values = [(r.account_id, r.ts, r.exposure, r.var_99, r.scenarios) for r in desk.sent["account-risk"]]
    assert values == [(r.account_id, r.ts, r.exposure, r.var_99, r.scenarios) for r in whole.sent["account-risk"]]
    whole.close()
    desk.close()


async def test_an_account_beyond_its_limit_is_one_alert_that_names_its_positions() -> None:
    quotes = with_books(market(400))
    desk = Desk(market=MARKET)
    await deliver(desk, quotes)
    worst: dict[str, float] = {}
    for record in desk.sent["account-risk"]:
        worst[record.account_id] = max(worst.get(record.account_id, 0.0), record.var_99 or 0.0)
    limit = (worst["both"] + worst["single"]) / 2
    desk.close()
    desk = Desk(market=MARKET, portfolio={"var_limit": limit})
    await deliver(desk, quotes)
    alerts = [alert for alert in desk.alerts() if alert.kind == "var_limit"]
    assert {alert.subject for alert in alerts} == {"both"}
    assert len({alert.alert_id for alert in alerts}) <= 3  # the market turns wild three times
    assert {p["symbol"] for p in alerts[0].evidence["positions"]} == {"SYM-0", "SYM-1"}
    assert alerts[0].source.startswith("symbol-bars:")
    desk.close()


async def test_only_the_largest_accounts_are_looked_at() -> None:
    desk = Desk(market=MARKET, portfolio={"accounts": 1})
    await deliver(desk, with_books(market(200)))
    keys = [b"both", b"hedged", b"single"]
    places = partitions_of(Spans.of(keys), 4).tolist()
    alone = {name.decode() for name, p in zip(keys, places, strict=True) if places.count(p) == 1}
    seen = {record.account_id for record in desk.sent["account-risk"]}
    assert alone <= seen
    assert len(seen) == len(set(places))
    desk.close()

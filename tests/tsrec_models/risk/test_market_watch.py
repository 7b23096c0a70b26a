"""The watch over markets alone says what surveillance says of trades without accounts."""

from __future__ import annotations

import numpy as np
import pytest

from tsrec_models.risk.market_watch import MARKET, MARKET_WIDTH, MarketWatch
from tsrec_models.risk.surveillance import Settings, Surveillance, Trades


def _trades(seed: int, n: int = 6000, symbols: int = 3) -> Trades:
    """Random walks with jumps, and sizes with a heavy tail."""
    rng = np.random.default_rng(seed)
    ts = np.sort(rng.uniform(0.0, 900.0, n))
    symbol = rng.integers(0, symbols, n)
    price = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 2e-5, n)))
    price[n // 2 :] *= 1.02
    quantity = rng.pareto(1.5, n) + 0.01
    side = rng.choice(np.array([-1, 1], np.int8), n)
    return Trades(np.full(n, -1), symbol, side, price, quantity, ts, np.arange(n))


@pytest.mark.parametrize("size", [1, 97, 6000])
def test_signals_equal_those_of_surveillance_however_the_stream_is_cut(size: int) -> None:
    settings = Settings(large_warmup=200, large_per_day=2000.0)
    trades = _trades(1)
    expected = Surveillance(settings).update(trades).signals(str, str)
    watch, state, got = MarketWatch(settings), np.zeros((3, MARKET_WIDTH)), []
    for k in range(0, len(trades.ts), size):
        part = slice(k, k + size)
        batch = watch.update(
            state, trades.symbol[part], trades.side[part], trades.price[part], trades.quantity[part], trades.ts[part],
            trades.source[part],
        )  # fmt: skip
        got += batch.signals(str, str)
    assert {s.kind for s in expected} >= {"price_spike", "large_trade"}
    assert got == expected


def test_a_row_may_lie_within_a_wider_table() -> None:
    trades = _trades(2, n=2000, symbols=1)
    rest = (trades.symbol, trades.side, trades.price, trades.quantity, trades.ts, trades.source)
    alone, wide = np.zeros((1, MARKET_WIDTH)), np.full((4, MARKET_WIDTH + 6), 7.0)
    within = wide[:, 3 : 3 + MARKET_WIDTH]
    within[2] = 0.0
    expected = MarketWatch().update(alone, *rest)
    got = MarketWatch().update(within, trades.symbol + 2, *rest[1:])
    assert len(got) == len(expected)
    np.testing.assert_array_equal(within[2], alone[0])
    assert (wide[[0, 1, 3]] == 7.0).all()
    assert (wide[2, :3] == 7.0).all()


def test_a_trade_of_nothing_is_a_price_and_no_order() -> None:
    state = np.zeros((1, MARKET_WIDTH))
    one = np.zeros(1, np.int64)
    MarketWatch().update(state, one, np.ones(1, np.int8), np.array([5.0]), np.zeros(1), np.array([1.0]), one)
    watch_row = state.view(MARKET)[0, 0]
    assert watch_row["price"] == 5.0
    assert watch_row["order_ts"] == -np.inf

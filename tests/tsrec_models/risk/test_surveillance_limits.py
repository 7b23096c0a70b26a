"""Surveillance of positions and of the market: the ledger, its limits, spikes, turns and large orders."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tsrec_models.risk.random_tape import LOW, found, random_rows, trades
from tsrec_models.risk.alerts_book import AlertBook
from tsrec_models.risk.alerts_cap import RateCap
from tsrec_models.risk.surveillance import Settings, Surveillance, Trades
from tsrec_models.risk.surveillance_state import TAIL_BINS
from tsrec_models.risk.surveillance_symbols import _tail_bin

# --- positions ---------------------------------------------------------------------------------------------------


def slow_books(rows: list[tuple]) -> dict[int, tuple[float, float]]:
    """Realised and unrealised profit by account, with exact average cost and latest prices."""
    held: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    realised: dict[int, float] = defaultdict(float)
    price: dict[int, float] = {}
    for a, s, side, p, q, _ts in rows:
        price[s] = p
        if a < 0 or side == 0:
            continue
        book, left = held[a, s], q
        if book[0] * side < 0:
            closed = min(abs(book[0]), q)
            realised[a] += closed * (p - book[1]) * (1 if book[0] > 0 else -1)
            book[0] += side * closed
            left -= closed
        if left > 0:
            book[1] = (book[1] * abs(book[0]) + p * left) / (abs(book[0]) + left)
            book[0] += side * left
    unrealised: dict[int, float] = defaultdict(float)
    for (a, s), (q, cost) in held.items():
        unrealised[a] += q * (price[s] - cost)
    return {a: (realised[a], unrealised[a]) for a in {a for a, _ in held}}


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_profit_and_loss_equal_a_plain_ledger(seed: int) -> None:
    rows = [(a, s, side, p, q, 1e6 + k) for k, (a, s, side, p, q, _) in enumerate(random_rows(seed, 300))]
    watch = Surveillance(LOW)
    watch.update(trades(rows))
    watch.update(trades([(-1, 9, 1, 1.0, 1.0, 1e6 + 1000)]))  # a sweep marks all
    for a, (realised, unrealised) in slow_books(rows).items():
        row = watch.accounts[a]
        assert (row["realised"], row["unrealised"]) == pytest.approx((realised, unrealised), rel=1e-9, abs=1e-6)


def test_a_loss_is_seen_when_the_market_moves_and_the_account_does_not() -> None:
    rows = [(0, 0, 1, 100.0, 5000.0, 1e6)]
    rows += [(-1, 0, -1, 100.0 - k / 10, 1.0, 1e6 + 10 * k) for k in range(1, 300)]
    batch = Surveillance(Settings(spike_move_bps=1e4)).update(trades(rows))
    at, is_raise, value = found(batch, "loss_limit")[0]
    assert (is_raise, value) == (1, pytest.approx(100_000.0))
    assert rows[at][3] == pytest.approx(80.0)
    assert found(batch, "drawdown") == []  # one fall, one alert


def test_a_drawdown_from_a_profit_is_no_loss() -> None:
    path = [100 + k for k in range(50)] + [150 - k for k in range(30)]
    rows = [(0, 0, 1, 100.0, 5000.0, 1e6)] + [(-1, 0, 1, float(p), 1.0, 1e6 + 60 * k) for k, p in enumerate(path, 1)]
    batch = Surveillance().update(trades(rows))
    (first, *_) = found(batch, "drawdown")
    assert first[1:] == (1, pytest.approx(100_000.0))
    assert found(batch, "loss_limit") == []


def test_flat_positions_give_their_room_back() -> None:
    watch = Surveillance()
    for start in range(0, 40_000, 2000):
        rows = [(start // 2 + k // 2, 0, 1 - 2 * (k % 2), 100.0, 1.0, 1e6 + start + k) for k in range(2000)]
        watch.update(trades(rows))
    assert watch._meta[1] < 6000


def test_concentration_needs_an_exposure_worth_it() -> None:
    rows = [(0, 0, 1, 100.0, 900.0, 1e6), (0, 1, 1, 100.0, 50.0, 1e6 + 2), (-1, 0, 1, 100.0, 1.0, 1e6 + 4)]
    assert found(Surveillance(Settings(concentration_exposure=1e6)).update(trades(rows)), "concentration") == []
    hits = found(Surveillance(Settings(concentration_exposure=5e4)).update(trades(rows)), "concentration")
    assert hits[-1][1] == 1


# --- the market --------------------------------------------------------------------------------------------------


def walk(seed: int, n: int, sigma: float, step: float = 1.0) -> list[tuple]:
    rng = np.random.default_rng(seed)
    price = 100 * np.exp(np.cumsum(rng.normal(0, sigma, n)))
    return [(-1, 0, 1, float(p), 1.0, 1e6 + k * step) for k, p in enumerate(price)]


def test_an_ordinary_walk_has_no_spikes_and_a_jump_is_one() -> None:
    rows = walk(1, 5000, 2e-4)
    watch = Surveillance()
    assert len(watch.update(trades(rows))) == 0
    jump = [(-1, 0, 1, rows[-1][3] * 1.02, 1.0, rows[-1][5] + 1 + k) for k in range(60)]
    batch = watch.update(trades(jump))
    assert [(at, r) for at, r, _ in found(batch, "price_spike")] == [(0, 1), (10, 0)]
    assert found(batch, "price_spike")[0][2] == pytest.approx(1e4 * math.log(1.02), rel=0.1)
    assert found(batch, "price_acceleration") == []  # one move, one alert


def test_what_is_a_spike_depends_on_what_is_usual_there() -> None:
    wild = walk(1, 5000, 5e-3)
    watch = Surveillance()
    watch.update(trades(wild))
    jump = [(-1, 0, 1, wild[-1][3] * 1.02, 1.0, wild[-1][5] + 1)]
    assert len(watch.update(trades(jump))) == 0


def test_a_rare_trade_after_a_long_silence_is_measured_by_the_time_that_passed() -> None:
    rows = walk(2, 3000, 2e-4)
    watch = Surveillance()
    watch.update(trades(rows))
    drift = 3 * 2e-4 * math.sqrt(36_000)  # three sigmas of ten hours: 11 %
    later = [(-1, 0, 1, rows[-1][3] * math.exp(drift), 1.0, rows[-1][5] + 36_000)]
    assert len(watch.update(trades(later))) == 0


def test_a_turn_within_the_window_is_acceleration() -> None:
    rows = walk(1, 3000, 1e-4)
    last, ts = rows[-1][3], rows[-1][5]
    there = [(-1, 0, 1, last * (1 + 0.0005 * k), 1.0, ts + k) for k in range(1, 5)]
    back = [(-1, 0, 1, last * (1 + 0.0020 - 0.0004 * k), 1.0, ts + 4 + k) for k in range(1, 6)]
    watch = Surveillance()
    watch.update(trades(rows))
    batch = watch.update(trades(there + back))
    assert [r for _, r, _ in found(batch, "price_acceleration")][:1] == [1]
    assert found(batch, "price_spike") == []


def test_late_trades_do_not_move_the_price_back() -> None:
    rows = walk(1, 2000, 1e-4)
    late = [(-1, 0, 1, rows[-1][3] * 1.5, 1.0, rows[-1][5] - 30)]
    assert len(Surveillance().update(trades(rows + late))) == 0


def test_large_orders_come_about_as_often_as_the_budget_says() -> None:
    rng = np.random.default_rng(0)
    n = 300_000
    size = 100 * (1 - rng.random(n)) ** (-1 / 1.3)  # a power law, as sizes of orders are
    ts = 1e6 + np.arange(n) * 86_400 / 30_000
    side = np.resize([1, -1], n).astype(np.int8)
    columns = Trades(np.full(n, -1), np.zeros(n, int), side, np.ones(n), size, ts, np.arange(n))
    batch = Surveillance(Settings(large_per_day=20)).update(columns)
    after = [at for at, _, _ in found(batch, "large_trade") if at > 30_000]
    assert 10 <= len(after) / 9 <= 40


def test_an_order_counts_by_the_sum_of_its_fills() -> None:
    rng = np.random.default_rng(1)
    rows = [(-1, 0, 1 - 2 * (k % 2), 1.0, float(rng.lognormal()), 1e6 + k) for k in range(5000)]
    fills = [(-1, 0, 1, 1.0, 30.0, 1e6 + 6000) for _ in range(40)]
    watch = Surveillance()
    watch.update(trades(rows))
    values = [v for _, _, v in found(watch.update(trades(fills)), "large_trade")]
    assert values
    assert all(b >= 2 * a for a, b in itertools.pairwise(values))


def test_an_order_that_is_over_is_told_of_in_whole_by_the_next_trade() -> None:
    rng = np.random.default_rng(1)
    rows = [(-1, 0, 1 - 2 * (k % 2), 1.0, float(rng.lognormal()), 1e6 + k) for k in range(5000)]
    rows += [(-1, 0, -1, 1.0, 30.0, 1e6 + 6000) for _ in range(40)]
    rows += [(-1, 0, 1, 1.0, 1.0, 1e6 + 6001), (-1, 0, 1, 1.0, 1.0, 1e6 + 6002)]
    watch = Surveillance()
    told = [one for one in watch.update(trades(rows)).signals(str, str) if one.ts >= 1e6 + 6000]
    assert {one.kind for one in told} == {"large_trade"}
    assert [one.value for one in told if one.value >= 1200.0] == [1200.0]
    whole = told[-1]
    assert (whole.value, whole.ts) == (1200.0, 1e6 + 6000)
    assert "a sell order worth 1,200" in whole.message
    book = AlertBook(watch.settings.rules(), RateCap(per_kind=10, total=10))
    for signal in told:
        book.observe(signal)
    (resolved,) = book.advance(1e6 + 7000, "trades:0:9999")
    assert (resolved.status, resolved.value) == ("resolved", 1200.0)
    assert "1,200" in resolved.message


@pytest.mark.parametrize("amount", [math.inf, 1e308, 1.0, 1e-300])
def test_the_bin_of_an_order_is_one_of_the_tail(amount: float) -> None:
    assert 0 <= _tail_bin(amount) < TAIL_BINS

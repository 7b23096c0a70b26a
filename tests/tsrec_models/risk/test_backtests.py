"""Backtests against published examples, written-out loops and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.risk.backtests import (
    backtest,
    christoffersen_p,
    conditional_coverage_p,
    fz0_loss,
    kupiec_p,
    traffic_lights,
    transitions,
    z2_statistic,
)
from tsrec_models.risk.backtests_running import RunningBacktest


def test_kupiec_non_rejection_regions_of_the_1995_paper():
    """Table of Kupiec (1995): failures N with which the model is kept at 95 % confidence."""
    for tail, days, low, high in [
        (0.01, 255, 1, 6),
        (0.01, 510, 2, 10),
        (0.05, 255, 7, 20),
        (0.05, 1000, 38, 64),
        (0.025, 1000, 16, 35),
    ]:
        kept = [hits for hits in range(days // 4) if kupiec_p(hits, days, tail) > 0.05]
        assert (kept[0], kept[-1]) == (low, high), (tail, days)


def test_christoffersen_by_hand():
    """Counts 930, 30, 25, 15: pi01 = 30/960, pi11 = 15/40, pi = 45/1000."""
    apart = 930 * math.log(930 / 960) + 30 * math.log(30 / 960) + 25 * math.log(25 / 40) + 15 * math.log(15 / 40)
    together = 955 * math.log(0.955) + 45 * math.log(0.045)
    ratio = 2 * (apart - together)
    assert christoffersen_p(930, 30, 25, 15) == pytest.approx(math.erfc(math.sqrt(ratio / 2)), rel=1e-9)
    coverage = 2 * (45 * math.log(45 / 1001) + 956 * math.log(956 / 1001) - 45 * math.log(0.05) - 956 * math.log(0.95))
    # The chi-square of two degrees of freedom has survival exp(-x / 2).
    got = conditional_coverage_p(45, 1001, 0.05, (930, 30, 25, 15))
    assert got == pytest.approx(math.exp(-(ratio + coverage) / 2), rel=1e-9)


def test_transitions_are_counted_pair_by_pair():
    hits = np.array([0, 1, 1, 0, 0, 1, 0, 1, 1, 1], bool)
    pairs = list(itertools.pairwise(hits))
    expected = tuple(pairs.count(pair) for pair in [(False, False), (False, True), (True, False), (True, True)])
    assert transitions(hits) == expected


def test_z2_and_fz0_by_hand():
    returns = np.array([0.01, -0.03, -0.01, -0.06])
    var, es = np.full(4, 0.02), np.full(4, 0.04)
    # Two hits of 3 % and 6 %: 1 - (0.03 + 0.06) / (4 * 0.25 * 0.04)
    assert z2_statistic(returns, var, es, 0.25) == pytest.approx(1 - 0.09 / 0.04)
    expected = [
        2 / 4 + math.log(4) - 1,
        (3 - 2) / (0.25 * 4) + 2 / 4 + math.log(4) - 1,
        2 / 4 + math.log(4) - 1,
        (6 - 2) / (0.25 * 4) + 2 / 4 + math.log(4) - 1,
    ]
    np.testing.assert_allclose(fz0_loss(returns, var, es, 0.25), expected)


def test_fz0_is_smallest_at_the_true_quantile_and_shortfall():
    draws = np.random.default_rng(0).standard_normal(400_000)
    loss = {
        (v, e): fz0_loss(draws, np.full(len(draws), v), np.full(len(draws), e), 0.025).mean()
        for v in (1.7, 1.96, 2.2)
        for e in (2.25, 2.338, 2.45)
    }
    assert min(loss, key=loss.__getitem__) == (1.96, 2.338)


def test_traffic_lights_change_at_five_and_ten_hits():
    hits = np.zeros(260, bool)
    hits[:4] = True
    assert traffic_lights(hits) == (11, 0, 0)
    hits[255] = True
    assert traffic_lights(hits) == (11, 0, 0)  # day 255 sees 4 - 4 gone + 1
    hits[4:10] = True  # ten in the first 250 days, then they leave one by one
    assert traffic_lights(hits) == (4, 6, 1)
    assert sum(traffic_lights(np.zeros(249, bool))) == 0


def test_a_missing_forecast_is_an_error():
    with pytest.raises(ModelError, match="missing or not positive"):
        backtest(np.zeros(3), np.array([0.1, np.nan, 0.1]), np.full(3, 0.2), 0.95)


def forecasts(n, seed=1, hit=1.0):
    rng = np.random.default_rng(seed)
    returns = 0.01 * rng.standard_t(5, n)
    base = 0.01 * np.exp(0.2 * rng.standard_normal(n))
    var = hit * base[:, None] * np.array([2.0, 2.6, 3.4])
    return returns, var, hit * base * 3.5


@pytest.mark.parametrize("n", [1, 40, 249, 250, 251, 999, 1700])
def test_the_running_backtest_equals_the_batch_over_its_window(n):
    returns, var, es = forecasts(n, hit=0.6)
    running = RunningBacktest(window=300, offset=1)
    state = running.initial_rows(2)
    for at in range(0, n, 77):
        part = slice(at, at + 77)
        running.update(state, np.ones(len(returns[part]), np.int64), returns[part], var[part], es[part])
    got = running.verdict(state, 1)
    simple = np.expm1(returns)
    assert got.days == n
    recent = slice(max(n - 300, 0), n)
    for j, level in enumerate((0.95, 0.975, 0.99)):
        expected = backtest(simple[recent], var[recent, j], es[recent], level)
        assert (got.hits[j], got.expected[j]) == (expected.hits, pytest.approx(expected.expected))
        assert got.kupiec_p[j] == pytest.approx(expected.kupiec_p)
        assert got.independence_p[j] == pytest.approx(expected.independence_p)
        assert got.conditional_coverage_p[j] == pytest.approx(expected.conditional_coverage_p)
    whole = backtest(simple, var[:, 1], es, 0.975)
    assert (got.es_z2, got.fz0) == (pytest.approx(whole.es_z2), pytest.approx(whole.fz0))
    last = int(np.sum(simple[-250:] < -var[-250:, 2])) if n >= 250 else 0
    assert got.basel == ("red" if last >= 10 else "yellow" if last >= 5 else "green")
    assert np.all(state[0] == 0.0)


def test_evidence_equals_its_recursion_written_out():
    returns, var, es = forecasts(500, hit=0.7)
    running = RunningBacktest()
    state = running.initial_rows(1)
    running.update(state, np.zeros(500, np.int64), returns, var, es)
    expected = []
    for j, tail in enumerate((0.05, 0.025, 0.01)):
        books = [0.0, 0.0, 0.0]
        for value, risk in zip(np.expm1(returns), var[:, j], strict=True):
            e = (value < -risk) / tail
            for k, bet in enumerate((0.5, 1.0, 3.0)):
                stake = bet * tail / (1 - tail)
                books[k] = (books[k] + 1) * (1 - stake + stake * e)
        expected.append(np.mean(books))
    books = [0.0, 0.0, 0.0]
    for value, risk, shortfall in zip(np.expm1(returns), var[:, 1], es, strict=True):
        e = max(-value - risk, 0) / (0.025 * (shortfall - risk))
        for k, bet in enumerate((0.5, 1.0, 3.0)):
            stake = bet * 0.025 / 0.975
            books[k] = (books[k] + 1) * (1 - stake + stake * e)
    expected.append(np.mean(books))
    np.testing.assert_allclose(running.evidence(state, np.array([0]))[0], expected, rtol=1e-9)


def test_evidence_keeps_its_promise_on_right_risks_and_finds_wrong_ones():
    """300 symbols of 3,000 returns: mean time to an alarm at 400 is at least 400; small ones are found."""
    rng = np.random.default_rng(9)
    symbols, days, alarm = 300, 3000, 400.0
    running = RunningBacktest()
    state, wrong = running.initial_rows(symbols), running.initial_rows(symbols)
    var = np.tile(-np.array([-1.6448536, -1.959964, -2.3263479]) * 0.01, (symbols, 1))
    es = np.full(symbols, 0.01 * 2.3378)
    rows, alarmed, found = np.arange(symbols), np.full(symbols, days), np.full(symbols, days)
    for day in range(days):
        returns = np.log1p(0.01 * rng.standard_normal(symbols))
        for table, scale, when in ((state, 1.0, alarmed), (wrong, 0.7, found)):
            running.update(table, rows, returns, scale * var, scale * es)
            over = running.evidence(table, rows).mean(axis=1) >= alarm
            when[over & (when == days)] = day
    assert np.mean(alarmed) > alarm  # though those still quiet at the end count as alarmed there
    assert np.median(found) < 250


def test_failing_is_the_evidence_against_the_alarm():
    returns, var, es = forecasts(2000, hit=0.3)
    running = RunningBacktest()
    state = running.initial_rows(1)
    running.update(state, np.zeros(2000, np.int64), returns, var, es)
    verdict = running.verdict(state, 0)
    assert verdict.failing()
    assert not verdict.failing(alarm=np.inf)


@pytest.mark.parametrize(
    "arguments", [{"levels": (0.99, 0.975, 0.95)}, {"es_level": 0.98}, {"window": 100}, {"levels": (0.9, 0.99)}]
)
def test_impossible_settings_are_refused(arguments):
    with pytest.raises(ModelError):
        RunningBacktest(**arguments)


def test_the_tests_of_many_symbols_at_once_are_those_of_each():
    running = RunningBacktest(window=300)
    state = running.initial_rows(5)
    rng = np.random.default_rng(5)
    for row, (n, scale) in enumerate([(0, 1.0), (1, 1.0), (120, 1.0), (400, 1.0), (700, 1.6)]):
        returns = rng.standard_normal(n) * 0.01 * scale
        var = np.tile([0.01645, 0.0196, 0.02326], (n, 1))
        running.update(state, np.full(n, row), returns, var, np.full(n, 0.0234))
    verdicts = running.verdicts(state, np.arange(5))
    for row in range(5):
        one = running.verdict(state, row)
        np.testing.assert_allclose(verdicts.kupiec_p[row], one.kupiec_p, rtol=1e-9)
        np.testing.assert_allclose(verdicts.conditional_coverage_p[row], one.conditional_coverage_p, rtol=1e-9)
        np.testing.assert_allclose(verdicts.es_z2[row], one.es_z2, rtol=1e-12)
        assert bool(verdicts.is_red[row]) == (one.basel == "red")
    assert verdicts.is_red.tolist() == [False, False, False, False, True]

"""Thresholds from a target number of alerts a day: kept on later data, refused on their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tsrec_models.risk.alerts import AlertError, Rule, Signal
from tsrec_models.risk.alerts_book import AlertBook
from tsrec_models.risk.alerts_budget import DAY_S, RollingBudget, block_maxima, threshold_for_budget
from tsrec_models.risk.alerts_cap import RateCap

UNCAPPED = RateCap(per_kind=10**6, total=10**6, critical=10**6)


def heavy_tailed(seed: int, days: int, per_day: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0, days * DAY_S, days * per_day)), rng.standard_t(4, days * per_day)


@pytest.mark.parametrize(("per_day", "method"), [(20.0, "quantile"), (0.2, "pareto")])
def test_the_budget_is_kept_on_the_days_after(per_day: float, method: str) -> None:
    ratios = []
    for seed in range(6):
        ts, values = heavy_tailed(seed, 30)
        fit = threshold_for_budget(ts, values, per_day, cooldown_s=300.0)
        assert fit.method == method
        later_ts, later = heavy_tailed(seed + 100, 60)
        ratios.append(np.sum(block_maxima(later_ts, later, np.zeros(len(later), int), 300.0) >= fit.threshold) / 60)
    assert 0.6 * per_day <= np.mean(ratios) <= 1.5 * per_day


def test_the_book_publishes_about_as_many_alerts_as_the_budget_said() -> None:
    ts, values = heavy_tailed(1, 10)
    fit = threshold_for_budget(ts, values, 20.0, cooldown_s=300.0)
    later_ts, later = heavy_tailed(2, 10)
    book = AlertBook([Rule("score", fit.threshold, quiet_s=0.0, cooldown_s=300.0)], UNCAPPED)
    fired = 0
    for offset, (when, value) in enumerate(zip(later_ts + 10 * DAY_S, later, strict=True)):
        fit.check_usable(when)
        book.advance(when, f"x:0:{offset}")
        out = book.observe(Signal("score", "s", value, when, f"x:0:{offset}"))
        fired += sum(a.status == "firing" for a in out)
    assert 12 <= fired / 10 <= 28


def test_a_burst_in_one_block_counts_once() -> None:
    ts = np.array([1.0, 2.0, 3.0, 400.0])
    assert block_maxima(ts, np.array([5.0, 9.0, 7.0, 1.0]), np.zeros(4, int), 300.0).tolist() == [9.0, 1.0]


def test_block_maxima_equal_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    ts, values, subjects = rng.uniform(0, 5000, 500), rng.normal(size=500), rng.integers(0, 7, 500)
    slow: dict[tuple[int, int], float] = {}
    for t, v, s in zip(ts, values, subjects, strict=True):
        key = (int(s), int(t // 300))
        slow[key] = max(v, slow.get(key, -np.inf))
    assert sorted(block_maxima(ts, values, subjects, 300.0)) == sorted(slow.values())


def test_ties_do_not_break_the_budget() -> None:
    ts = np.arange(2000) * 400.0
    values = np.where(np.arange(2000) % 3 == 0, 5.0, 1.0)
    fit = threshold_for_budget(ts, values, 20.0, cooldown_s=300.0)
    assert np.sum(values >= fit.threshold) / (ts[-1] / DAY_S) <= 20.0


def test_a_threshold_is_refused_on_the_data_it_was_set_on() -> None:
    ts, values = heavy_tailed(0, 10)
    fit = threshold_for_budget(ts, values, 20.0)
    with pytest.raises(AlertError, match="score only what came after"):
        fit.check_usable(float(ts[-1]))


@pytest.mark.parametrize(("ts", "per_day"), [([], 1.0), ([1.0], 1.0), ([1.0, 2.0], 0.0)])
def test_no_past_or_no_budget_is_an_error(ts: list[float], per_day: float) -> None:
    with pytest.raises(AlertError):
        threshold_for_budget(np.array(ts), np.ones(len(ts)), per_day)


def test_a_rolling_budget_never_sees_the_day_it_is_used_on() -> None:
    quiet = RollingBudget(per_day=5.0, fallback=99.0, min_days=2)
    loud = RollingBudget(per_day=5.0, fallback=99.0, min_days=2)
    ts, values = heavy_tailed(3, 6)
    for when, value in zip(ts, values, strict=True):
        on_last_day = when >= 5 * DAY_S
        assert quiet.threshold_at(when) == loud.threshold_at(when)
        quiet.add(when, value)
        loud.add(when, value * 1000 if on_last_day else value)
    assert quiet.threshold_at(6 * DAY_S) != loud.threshold_at(6 * DAY_S)


def test_a_rolling_budget_uses_its_fallback_until_it_has_days_enough() -> None:
    budget = RollingBudget(per_day=5.0, fallback=99.0, min_days=3)
    ts, values = heavy_tailed(3, 4)
    seen = {}
    for when, value in zip(ts, values, strict=True):
        seen[int(when // DAY_S)] = budget.threshold_at(when)
        budget.add(when, value)
    assert [seen[d] == 99.0 for d in range(4)] == [True, True, True, False]


def test_a_rolling_budget_goes_on_from_its_rows_and_keeps_the_highest_of_a_day() -> None:
    whole = RollingBudget(per_day=5.0, fallback=99.0, min_days=2, keep=40)
    all_kept = RollingBudget(per_day=5.0, fallback=99.0, min_days=2)
    resumed = RollingBudget(per_day=5.0, fallback=99.0, min_days=2, keep=40)
    rows: dict[str, dict[str, Any]] = {}
    ts, values = heavy_tailed(3, 6)
    for i, (when, value) in enumerate(zip(ts, values, strict=True)):
        expected = whole.threshold_at(when)
        assert resumed.threshold_at(when) == expected
        assert all_kept.threshold_at(when) == pytest.approx(expected, rel=1e-12)
        late = when - 1.5 * DAY_S if i % 50 == 0 else when  # for a day that is over
        for budget in (whole, all_kept, resumed):
            budget.add(late, value, i % 7)
        if i % 97 == 0:
            for key, row in resumed.take_changes().items():
                if row is None:
                    rows.pop(key)
                else:
                    rows[key] = row
            resumed = RollingBudget(per_day=5.0, fallback=99.0, min_days=2, keep=40)
            resumed.restore(rows)
    assert max(len(row["values"]) for key, row in rows.items() if key != "now") == 40


def test_a_rolling_budget_that_keeps_too_little_is_refused() -> None:
    with pytest.raises(AlertError, match="keep four times more"):
        RollingBudget(per_day=20.0, fallback=1.0, keep=40)

"""Surveillance against slow, plain versions of the same rules, and what holds however the stream is cut."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from tests.tsrec_models.risk.random_tape import LOW, found, random_rows, trades
from tsrec_models.risk.alerts_book import AlertBook
from tsrec_models.risk.structuring import rarity
from tsrec_models.risk.surveillance import Settings, SignalBatch, Surveillance
from tsrec_models.risk.surveillance_settings import KINDS, SurveillanceError
from tsrec_models.risk.wash import digits


def rows_of(batch: SignalBatch) -> list[tuple]:
    return [(*(r[name].item() for name in r.dtype.names if name not in ("at", "evidence_end")),) for r in batch.table]


@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 400), max_size=6))
@settings(max_examples=25, deadline=None)
def test_signals_do_not_depend_on_how_the_stream_is_cut(seed: int, cuts: list[int]) -> None:
    rows = random_rows(seed, 400)
    whole = Surveillance(LOW).update(trades(rows))
    watch = Surveillance(LOW, n_accounts=1, n_symbols=1)
    edges = [0, *sorted(cuts), len(rows)]
    parts = [watch.update(trades(rows[a:b], a)) for a, b in itertools.pairwise(edges)]
    assert [x for part in parts for x in rows_of(part)] == rows_of(whole)
    assert np.concatenate([part.source for part in parts]).tolist() == whole.source.tolist()
    assert np.concatenate([part.evidence for part in parts]).tolist() == whole.evidence.tolist()
    assert len(whole) > 20


def test_the_random_stream_makes_signals_of_every_kind() -> None:
    kinds = set()
    for seed in range(8):
        kinds |= set(Surveillance(LOW).update(trades(random_rows(seed, 2000))).table["kind"].tolist())
    assert {KINDS[k] for k in kinds} == set(KINDS)


@given(seed=st.integers(0, 10_000), cut=st.integers(0, 400))
@settings(max_examples=15, deadline=None)
def test_state_packed_into_rows_and_put_back_goes_on_alike(seed: int, cut: int) -> None:
    rows = random_rows(seed, 400)
    first = Surveillance(LOW)
    first.update(trades(rows[:cut]))
    second = Surveillance(LOW, n_accounts=1, n_symbols=1)
    a, s = np.arange(6), np.arange(3)
    second.unpack_accounts(a, first.pack_accounts(a))
    second.unpack_symbols(s, first.pack_symbols(s))
    pairs = (np.repeat(a, 3), np.tile(s, 6))
    second.unpack_positions(*pairs, first.pack_positions(*pairs))
    second.unpack_clock(json.loads(json.dumps(first.pack_clock())))
    second._meta[0] = first._meta[0]
    rest = trades(rows[cut:], cut)
    ours, theirs = second.update(rest).table, first.update(rest).table
    assert ours[["kind", "is_raise", "row", "at"]].tolist() == theirs[["kind", "is_raise", "row", "at"]].tolist()
    np.testing.assert_allclose(ours["value"], theirs["value"], rtol=1e-9)


def test_rows_of_another_version_are_refused() -> None:
    with pytest.raises(SurveillanceError, match="replay"):
        Surveillance().unpack_accounts(np.arange(2), np.zeros((2, 7), np.uint8))


# --- velocity ----------------------------------------------------------------------------------------------------


def slow_velocity(rows: list[tuple], s: Settings) -> list[tuple[int, int, float]]:
    """The same rule with lists: buckets of a twelfth of the window, habit from the buckets that fell out."""
    width = s.velocity_window_s / 12
    decay = 2 ** (-width / s.velocity_half_life_s)
    counts: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    first: dict[int, int] = {}
    last_order: dict[int, tuple] = {}
    now: dict[int, int] = {}
    raised: dict[int, float] = {}
    out = []
    for at, (a, symbol, side, _, _, ts) in enumerate(rows):
        if a < 0:
            continue
        if last_order.get(a) == (ts, symbol, side):
            continue
        last_order[a] = (ts, symbol, side)
        bucket = math.floor(ts / width)
        first.setdefault(a, bucket)
        now[a] = max(now.get(a, bucket), bucket)
        if bucket <= now[a] - 12:
            continue
        counts[a][bucket] += 1
        count = sum(counts[a][b] for b in range(now[a] - 11, now[a] + 1))
        # Twelve empty buckets fell out before the first order's own did.
        gone = range(first[a] - 11, now[a] - 11)
        weights = {b: decay ** (now[a] - 12 - b) for b in gone}
        seen = sum(weights.values()) - 12
        usual = sum(w * counts[a].get(b, 0) for b, w in weights.items()) / max(seen, 12) * 12 if seen > 0 else 0.0
        high = max(s.velocity_limit, s.velocity_ratio * usual)
        lately = sum(counts[a][b] for b in range(now[a] - 2, now[a] + 1))
        if a not in raised and sum(weights.values()) < 24 and lately < s.velocity_limit / 2:
            continue
        if count >= high:
            if a not in raised or count >= 1.5 * raised[a]:
                raised[a] = count
                out.append((at, 1, float(count)))
        elif a in raised and count < s.clear_share * high:
            del raised[a]
            out.append((at, 0, float(count)))
    return out


@given(seed=st.integers(0, 10_000), rate=st.sampled_from([0.3, 1.0, 5.0]))
@settings(max_examples=25, deadline=None)
def test_velocity_equals_a_plain_count_of_each_window(seed: int, rate: float) -> None:
    rows = random_rows(seed, 500, n_accounts=3, rate=rate)
    s = Settings(velocity_limit=8, velocity_ratio=2.0, velocity_half_life_s=120.0)
    assert found(Surveillance(s).update(trades(rows)), "velocity") == slow_velocity(rows, s)


def test_a_sweep_through_many_resting_orders_is_one_order() -> None:
    rows = [(0, 0, 1, 100.0 + k / 100, 1.0, 1e6) for k in range(500)]
    assert found(Surveillance().update(trades(rows)), "velocity") == []


def test_an_account_that_is_always_fast_is_not_alerted_but_three_times_that_is() -> None:
    steady = [(0, 0, 1, 100.0, 1.0, 1e6 + k / 2) for k in range(7200)]  # 120 orders a minute for an hour
    watch = Surveillance(Settings(velocity_limit=70))
    assert found(watch.update(trades(steady)), "velocity") == []
    burst = [(0, 0, 1, 100.0, 1.0, 1e6 + 3600 + k / 10) for k in range(600)]
    assert next(r for _, r, _ in found(watch.update(trades(burst)), "velocity")) == 1


def test_a_new_account_must_burst_to_be_alerted() -> None:
    spread = [(0, 0, 1, 100.0, 1.0, 1e6 + k * 0.7) for k in range(200)]
    assert found(Surveillance().update(trades(spread)), "velocity") == []
    burst = [(0, 0, 1, 100.0, 1.0, 1e6 + k * 0.2) for k in range(200)]
    assert found(Surveillance().update(trades(burst)), "velocity")[0][:2] == (59, 1)


# --- wash trades -------------------------------------------------------------------------------------------------


def test_one_pair_of_an_odd_size_at_once_is_enough() -> None:
    batch = Surveillance().update(trades([(0, 0, 1, 100.0, 7.3142, 1e6), (0, 0, -1, 100.0, 7.3142, 1e6 + 1)]))
    (signal,) = batch.signals("acc-{}".format, "SYM-{}".format, "trades:3")
    assert (signal.kind, signal.subject, signal.source) == ("wash_trade", "acc-0", "trades:3:1")
    assert [(t["source"], t["side"], t["quantity"]) for t in signal.evidence["trades"]] == [
        ("trades:3:0", "buy", 7.3142),
        ("trades:3:1", "sell", 7.3142),
    ]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ((0, 0, 1, 100.0, 7.3142, 1e6 + 1), "the same side"),
        ((0, 0, -1, 100.0, 7.3143, 1e6 + 1), "another size"),
        ((0, 0, -1, 100.2, 7.3142, 1e6 + 1), "another price"),
        ((0, 1, -1, 100.0, 7.3142, 1e6 + 1), "another symbol"),
        ((1, 0, -1, 100.0, 7.3142, 1e6 + 1), "another account"),
        ((0, 0, -1, 100.0, 7.3142, 1e6 + 61), "too late"),
    ],
)
def test_no_wash_trade_without_all_that_makes_one(other: tuple, why: str) -> None:
    batch = Surveillance().update(trades([(0, 0, 1, 100.0, 7.3142, 1e6), other]))
    assert found(batch, "wash_trade") == [], why


def test_linked_accounts_are_one_owner() -> None:
    watch = Surveillance()
    watch.link(np.array([3, 8]))
    (signal,) = watch.update(trades([(3, 0, 1, 100.0, 7.3142, 1e6), (8, 0, -1, 100.0, 7.3142, 1e6 + 1)])).signals(
        "acc-{}".format, "SYM-{}".format
    )
    assert "linked accounts acc-3, acc-8" in signal.message


def test_pairs_of_a_size_that_everybody_trades_say_nothing() -> None:
    rng = np.random.default_rng(0)
    rows = [(int(rng.integers(200)), 0, int(rng.choice([-1, 1])), 100.0, 0.01, 1e6 + k / 10) for k in range(20_000)]
    assert found(Surveillance().update(trades(rows)), "wash_trade") == []


def test_washing_with_a_common_size_shows_by_its_regularity() -> None:
    rng = np.random.default_rng(0)
    size, side = rng.choice([0.01, 0.02, 0.05], 20_000), rng.choice([-1, 1], 20_000)
    crowd = [(int(rng.integers(1, 500)), 0, int(side[k]), 100.0, float(size[k]), 1e6 + k / 10) for k in range(20_000)]
    washer = [(0, 0, 1 - 2 * (k % 2), 100.0, 0.01, 1e6 + 1000 + k * 1.7) for k in range(120)]
    rows = sorted(crowd + washer, key=lambda r: r[5])
    batch = Surveillance().update(trades(rows))
    accounts = {rows[at][0] for at, _, _ in found(batch, "wash_trade")}
    assert accounts == {0}


def test_fills_of_one_order_are_added_before_sizes_are_compared() -> None:
    rows = [(0, 0, 1, 100.0, 3.0, 1e6), (0, 0, 1, 100.0, 4.3142, 1e6), (0, 0, -1, 100.0, 7.3142, 1e6 + 1)]
    assert len(found(Surveillance().update(trades(rows)), "wash_trade")) == 1


@pytest.mark.parametrize(
    ("size", "n"), [(0.002, 1), (500.0, 1), (1.25, 3), (0.05, 1), (7.3142, 5), (120.0, 2), (1 / 3, 5)]
)
def test_significant_digits(size: float, n: int) -> None:
    assert digits(size) == n


# --- structuring -------------------------------------------------------------------------------------------------


@given(n=st.integers(1, 16), k=st.integers(0, 16), share=st.floats(1e-4, 0.9))
def test_rarity_is_the_binomial_tail(n: int, k: int, share: float) -> None:
    k = min(k, n)
    assert rarity(k, n, share) == pytest.approx(-binom.logsf(k - 1, n, share) / math.log(10), abs=1e-9, rel=1e-9)


def amounts(account: int, values: list[float], start: float = 1e6, step: float = 600.0) -> list[tuple]:
    return [(account, 0, 1, 1.0, v, start + k * step) for k, v in enumerate(values)]


def test_four_amounts_just_below_the_limit_are_structuring() -> None:
    batch = Surveillance().update(trades(amounts(0, [9500, 9800.5, 9900, 9400])))
    signals = [s for s in batch.signals("acc-{}".format, "S{}".format) if s.kind == "structuring"]
    assert [t["amount"] for t in signals[-1].evidence["trades"]] == [9500, 9800.5, 9900, 9400]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([9500, 9800], "two are chance"),
        ([12_000, 9500, 9800, 9900], "this one does not avoid the limit"),
        ([9500, 5000, 3000, 9800, 2500, 4000, 7000, 2100, 6000, 9900], "among many of its size class"),
        ([8900, 8800, 8700, 8500, 8950], "not near enough"),
        ([10_000, 10_000, 10_000], "at the limit is reported"),
    ],
)
def test_no_structuring(values: list[float], why: str) -> None:
    assert found(Surveillance().update(trades(amounts(0, values))), "structuring") == [], why


def test_where_everybody_pays_just_below_the_limit_it_is_no_sign() -> None:
    rows = sorted((r for a in range(300) for r in amounts(a + 1, [9990.0], 1e6 + a)), key=lambda r: r[5])
    rows += amounts(0, [9990.0] * 4, 1e6 + 1000)
    assert found(Surveillance().update(trades(rows)), "structuring") == []


def test_amounts_a_day_apart_are_not_added_up() -> None:
    rows = amounts(0, [9500, 9800, 9900, 9400], step=90_000.0)
    assert found(Surveillance().update(trades(rows)), "structuring") == []


def test_fills_count_as_the_order_they_belong_to() -> None:
    fills = [(0, 0, 1, 1.0, 4750.0, 1e6 + 600 * (k // 2)) for k in range(8)]
    assert len(found(Surveillance().update(trades(fills)), "structuring")) >= 1
    over = [(0, 0, 1, 1.0, 9500.0, 1e6 + 600 * (k // 2)) for k in range(8)]
    assert found(Surveillance().update(trades(over)), "structuring") == []


# --- edges -------------------------------------------------------------------------------------------------------


def test_trades_without_account_or_side_are_fine() -> None:
    rows = [(-1, 0, 0, 100.0, 1.0, 1e6 + k) for k in range(100)]
    assert len(Surveillance().update(trades(rows))) == 0
    assert len(Surveillance().update(trades([]))) == 0


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ((0, 0, 1, -1.0, 1.0, 1e6), "positive"),
        ((0, 0, 1, 1.0, 0.0, 1e6), "positive"),
        ((0, 0, 1, float("nan"), 1.0, 1e6), "finite"),
        ((0, -1, 1, 1.0, 1.0, 1e6), "symbol"),
        ((0, 0, 1, 1.0, 1.0, 1.7e12), "milliseconds"),
    ],
)
def test_columns_that_make_no_sense_are_refused(row: tuple, why: str) -> None:
    with pytest.raises(SurveillanceError, match=why):
        Surveillance().update(trades([row]))


@pytest.mark.parametrize("bad", [{"velocity_limit": 0}, {"structuring_band": 1.5}, {"large_tail": 0.0}])
def test_settings_that_cannot_work_are_refused(bad: dict) -> None:
    with pytest.raises(SurveillanceError):
        Settings(**bad)


def test_amounts_at_the_edge_of_what_numbers_hold_are_fine() -> None:
    rows = [
        (0, 0, 1 - 2 * (k % 2), p, q, 1e6 + k)
        for k, (p, q) in enumerate([(1e-300, 1e-5), (1e150, 1e149), (1e200, 1e200)] * 40)
    ]
    watch = Surveillance()
    watch.update(trades(rows))
    assert np.isfinite(watch.accounts[0]["wash_score"])
    assert np.isfinite(watch.symbols[0]["spike_var"])
    assert np.isfinite(watch.accounts[0]["realised"] + watch.accounts[0]["unrealised"])


def test_more_signals_than_the_buffer_holds_are_all_there() -> None:
    n = 6000
    rows = [(a, 0, 1, 100.0, 100.0, 1e6) for a in range(n)] + [(-1, 0, 1, 50.0, 1.0, 1e6 + 5)]
    batch = Surveillance(Settings(loss_limit=1000.0)).update(trades(rows))
    assert sorted(batch.table["row"][batch.table["kind"] == KINDS.index("loss_limit")].tolist()) == list(range(n))


def test_every_kind_makes_an_alert_that_reads_as_a_sentence() -> None:
    watch, book = Surveillance(LOW), AlertBook(LOW.rules())
    seen = {}
    for seed in range(8):
        batch = watch.update(trades(random_rows(seed, 2000)))
        for signal in batch.signals("acc-{}".format, "SYM{}".format):
            json.dumps(signal.evidence)
            for alert in book.observe(signal):
                seen[alert.kind] = alert
    for kind in set(KINDS) & set(seen):
        assert seen[kind].message.startswith(seen[kind].subject + ": ")
        assert "nan" not in seen[kind].message
    assert len(seen) >= 9

"""Event-time bars against a plain dictionary of trades."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsrec_models.base import ModelError
from tsrec_models.risk.bars import LATE, REFUSED, TAKEN, TimeBars


def oracle(rows, prices, quantities, sides, times, width, lateness):
    """Bars as lists of trades; a bar closes when the latest time less the lateness has passed its end."""
    trades, watermark, closed, fate, out = defaultdict(list), {}, {}, [], []
    for i, row in enumerate(rows):
        number = math.floor(times[i] / width)
        if number <= closed.get(row, -(10**9)):
            fate.append(LATE)
            continue
        watermark[row] = max(watermark.get(row, -math.inf), times[i] - lateness)
        closed[row] = max(closed.get(row, -(10**9)), math.floor(watermark[row] / width) - 1)
        due = sorted(key for key in trades if key[0] == row and key[1] <= closed[row])
        out.extend([(key, trades.pop(key)) for key in due])
        trades[(row, number)].append((times[i], i, prices[i], quantities[i], sides[i]))
        fate.append(TAKEN)
    return out, fate


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(1, 50),
            st.integers(0, 5),
            st.sampled_from([-1, 0, 1]),
            st.floats(-30.0, 120.0, width=32),
        ),
        min_size=1,
        max_size=80,
    ),
    st.sampled_from([0.0, 3.0, 25.0]),
    st.integers(1, 30),
)
def test_bars_hold_exactly_the_trades_of_their_stretch_however_batched(trades, lateness, batch):
    trades = sorted(trades, key=lambda trade: trade[4] // 7)  # out of order within a few seconds
    rows = np.array([t[0] for t in trades])
    prices, quantities = np.array([float(t[1]) for t in trades]), np.array([float(t[2]) for t in trades])
    sides, times = np.array([t[3] for t in trades], np.int8), np.array([t[4] for t in trades], np.float64)
    bars = TimeBars(10.0, lateness, offset=2)
    state = bars.initial_rows(3)
    closed, fates = [], []
    for at in range(0, len(trades), batch):
        part = slice(at, at + batch)
        out, fate = bars.add(state, rows[part], prices[part], quantities[part], sides[part], times[part])
        closed += [(int(out.rows[k]), out, k) for k in range(len(out))]
        fates += fate.tolist()
    expected, expected_fates = oracle(rows.tolist(), prices, quantities, sides, times, 10.0, lateness)
    assert fates == expected_fates
    assert len(closed) == len(expected)
    before = {}
    for (row, out, k), (key, members) in zip(closed, expected, strict=True):
        assert (row, out.number[k]) == key
        first = min(members, key=lambda m: m[0])
        last = max(members, key=lambda m: (m[0], m[1]))
        volume = sum(m[3] for m in members)
        assert (out.open[k], out.close[k]) == (first[2], last[2])
        assert (out.high[k], out.low[k]) == (max(m[2] for m in members), min(m[2] for m in members))
        assert (out.volume[k], out.count[k]) == (volume, len(members))
        notional = sum(m[2] * m[3] for m in members)
        assert out.vwap[k] == pytest.approx(notional / volume if volume else last[2])
        signed = sum(m[3] * m[4] for m in members)
        sided = sum(m[3] for m in members if m[4])
        assert out.imbalance[k] == pytest.approx(signed / sided if sided else 0.0)
        if row in before:
            assert out.log_return[k] == pytest.approx(math.log(out.close[k] / before[row]))
        else:
            assert math.isnan(out.log_return[k])
        before[row] = out.close[k]
    assert np.all(state[:, :2] == 0.0)


def trade(bars, state, price, ts, row=0, quantity=1.0):
    return bars.add(
        state, np.array([row]), np.array([price]), np.array([quantity]), np.zeros(1, np.int8), np.array([ts])
    )


def test_a_quiet_symbol_is_closed_by_the_watermark_and_its_late_trades_are_named():
    bars = TimeBars(60.0)
    state = bars.initial_rows(2)
    trade(bars, state, 5.0, 10.0)
    out = bars.advance(state, np.array([0, 1]), 59.9)
    assert len(out) == 0
    out = bars.advance(state, np.array([0, 1]), 60.0)
    assert (out.rows.tolist(), out.start.tolist(), out.close.tolist()) == ([0], [0.0], [5.0])
    assert trade(bars, state, 6.0, 50.0)[1].tolist() == [LATE]
    assert trade(bars, state, 6.0, 50.0, row=1)[1].tolist() == [LATE]
    assert trade(bars, state, 6.0, 60.0)[1].tolist() == [TAKEN]


@pytest.mark.parametrize("price", [0.0, -1.0, math.nan, math.inf])
def test_a_price_that_is_no_price_is_refused_and_changes_nothing(price):
    bars = TimeBars(60.0)
    state = bars.initial_rows(1)
    before = state.copy()
    assert trade(bars, state, price, 10.0)[1].tolist() == [REFUSED]
    np.testing.assert_array_equal(state, before)


@pytest.mark.parametrize("arguments", [(0.0, 0.0), (-1.0, 0.0), (60.0, -1.0), (math.nan, 0.0)])
def test_impossible_widths_are_refused(arguments):
    with pytest.raises(ModelError, match="number of seconds"):
        TimeBars(*arguments)

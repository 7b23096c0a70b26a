"""Drawdown against the definition over the whole curve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsrec_models.base import ModelError
from tsrec_models.risk.drawdown import Drawdown


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-50, 50)), min_size=1, max_size=60))
def test_drawdown_is_the_fall_from_the_highest_value_so_far(steps):
    model = Drawdown()
    state = model.initial_rows(2)
    rows, values = np.array([s[0] for s in steps]), np.array([float(s[1]) for s in steps])
    got = model.update(state, rows, values, np.arange(float(len(steps))))
    for i, row in enumerate(rows):
        past = [(k, values[k]) for k in range(i + 1) if rows[k] == row]
        peak = max(v for _, v in past)
        peak_at = max(k for k, v in past if v == peak)
        falls = [max(v for _, v in past[: j + 1]) - past[j][1] for j in range(len(past))]
        assert got.amount[i] == peak - values[i]
        assert got.seconds[i] == i - peak_at
        assert got.worst[i] == max(falls)
        if peak > 0:
            assert got.fraction[i] == pytest.approx((peak - values[i]) / peak)
        else:
            assert np.isnan(got.fraction[i])


def test_a_missing_value_keeps_the_peak():
    model = Drawdown()
    state = model.initial_rows(1)
    got = model.update(state, np.zeros(3, np.int64), np.array([10.0, np.nan, 4.0]), np.arange(3.0))
    assert np.isnan(got.amount[1])
    assert got.amount[2] == 6.0


def test_arrays_of_different_length_are_refused():
    with pytest.raises(ModelError, match="one of each"):
        Drawdown().update(np.zeros((1, 4)), np.zeros(1, np.int64), np.zeros(2), np.zeros(2))

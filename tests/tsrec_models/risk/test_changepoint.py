"""Change points: the promise about false alarms, the delay, and state as rows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.risk.changepoint import ChangePoints


def slow_evidence(values):
    """Ranks by counting, bets written out: evidence after each value since the start."""
    grid = np.array(values[:30])
    place = [math.floor(min(max(64 + 12 * math.asinh((v - grid.mean()) / grid.std()), 0), 127)) for v in values[30:]]
    books, out = [0.0] * 8, []
    for t, bin_ in enumerate(place):
        below, same = sum(b < bin_ for b in place[:t]), sum(b == bin_ for b in place[:t])
        p = (below + ((t + 1) * 0.6180339887498949 % 1) * (same + 1)) / (t + 1)
        for k, side in enumerate([p] * 4 + [abs(2 * p - 1)] * 4):
            books[k] = (books[k] + 1) * (1 + (-1.8, -0.8, 0.8, 1.8)[k % 4] * (side - 0.5))
        out.append(float(np.mean(books)))
    return out


def test_evidence_equals_its_definition():
    values = np.random.default_rng(3).standard_t(3, 300)
    model = ChangePoints(1, mean_time=np.inf)
    got = []
    for value in values:
        model.update(np.array([value]))
        got.append(float(model.evidence()[0]))
    np.testing.assert_allclose(got[30:], slow_evidence(values.tolist()), rtol=1e-9)


@pytest.mark.parametrize("draw", ["standard_normal", "standard_cauchy", "integers"])
def test_time_between_false_alarms_is_as_long_as_stated_whatever_the_distribution(draw):
    rng = np.random.default_rng(5)
    make = (lambda n: rng.integers(0, 4, n).astype(float)) if draw == "integers" else getattr(rng, draw)
    model = ChangePoints(150, mean_time=300.0)
    first = np.full(150, 3000)
    for t in range(3000):
        changed = model.update(make(150))
        first[changed & (first == 3000)] = t + 1
    assert np.mean(first) > 300


@pytest.mark.parametrize(("shift", "spread", "within"), [(1.0, 1.0, 80), (0.0, 3.0, 80), (0.0, 0.3, 120)])
def test_changes_of_level_and_spread_are_found_soon(shift, spread, within):
    rng = np.random.default_rng(6)
    model, late = ChangePoints(50, mean_time=10_000.0), np.full(50, 10_000)
    early = 0
    for t in range(1100):
        after = t >= 600
        changed = model.update(shift * after + (spread if after else 1.0) * rng.standard_normal(50))
        early += int(changed.sum()) if not after else 0
        late[changed & after & (late == 10_000)] = t - 600
    assert early <= 5
    assert np.median(late) < within


def test_rows_move_and_missing_values_do_nothing():
    values = np.random.default_rng(4).standard_normal(400)
    one, two = ChangePoints(1), ChangePoints(3)
    one.update(values[:200], np.zeros(200, np.int64))
    table = two.initial_rows(3)
    table[2] = one.state[0].copy()
    one.update(values[200:], np.zeros(200, np.int64))
    two.update(np.insert(values[200:], 50, np.nan), np.full(201, 2), table)
    np.testing.assert_array_equal(one.state[0], table[2])


def test_impossible_settings_are_refused():
    with pytest.raises(ModelError, match="more than 1"):
        ChangePoints(1, mean_time=0.0)
    with pytest.raises(ModelError, match="state"):
        ChangePoints(2).update(np.zeros(1))

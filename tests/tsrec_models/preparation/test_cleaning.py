import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsrec_models.preparation import Log, LogError
from tsrec_models.preparation.cleaning import (
    drop_duplicates,
    drop_repeats,
    drop_robots,
    fill_values,
    k_core,
    robots,
)

NAN = float("nan")


def fill(values, how, groups=None, **limits):
    groups = [0] * len(values) if groups is None else groups
    return fill_values(np.array(values, dtype=float), np.array(groups), how, **limits)


def test_interpolation_stays_within_the_group_and_carries_the_ends():
    values, keep = fill([NAN, 1, NAN, 3, 100, NAN], "interpolate", [0, 0, 0, 0, 1, 1])
    assert values.tolist() == [1, 1, 2, 3, 100, 100]
    assert keep.all()


def test_the_mean_is_the_groups_own():
    values, _ = fill([NAN, 1, 5, 100, NAN], "mean", [0, 0, 0, 1, 1])
    assert values.tolist() == [3, 1, 5, 100, 100]


def test_a_group_without_any_value_takes_the_mean_of_all():
    values, _ = fill([2, 4, NAN], "interpolate", [0, 0, 1])
    assert values.tolist() == [2, 4, 3]


def test_impossible_values_are_as_good_as_missing():
    values, keep = fill([5, -1, 7], "drop", low=0)
    assert keep.tolist() == [True, False, True]
    values, _ = fill([5, -1, 7, 1e12], "interpolate", low=0, high=1e6)
    assert values.tolist() == [5, 6, 7, 7]


def test_nothing_to_fill_from_is_said():
    with pytest.raises(LogError, match="nothing to fill"):
        fill([NAN, NAN], "mean")
    with pytest.raises(LogError, match="none of interpolate, mean, drop"):
        fill([NAN, 1], "median")


def test_of_events_alike_in_user_item_and_time_one_stays():
    log = Log.from_arrays([0, 0, 0, 0, 1], [5, 6, 5, 5, 5], [1.0, 1.0, 1.0, 2.0, 1.0])
    assert drop_duplicates(log).items.tolist() == [5, 6, 5, 5]
    untimed = Log.from_arrays([0, 0], [5, 5])
    assert len(drop_duplicates(untimed)) == 2


def test_consecutive_repeats_go_but_a_return_stays():
    log = Log.from_arrays([0, 0, 0, 0, 1], [1, 1, 2, 1, 1])
    kept = drop_repeats(log)
    assert kept.items.tolist() == [1, 2, 1, 1]
    assert kept.users.tolist() == [0, 0, 0, 1]


def test_a_robot_is_told_by_its_rate_not_by_its_total():
    slow = [(0, 100.0 * i) for i in range(50)]
    fast = [(1, 1.0 * i) for i in range(5)]
    users, times = zip(*slow, *fast, strict=True)
    log = Log.from_arrays(users, range(55), times)
    assert robots(log, per_window=4, window_s=60).tolist() == [False, True]
    assert robots(log, per_window=5, window_s=60).tolist() == [False, False]
    assert drop_robots(log, per_window=4, window_s=60).users.max() == 0


def test_robots_need_times():
    with pytest.raises(LogError, match="no times"):
        robots(Log.from_arrays([0], [0]), per_window=1, window_s=1)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=60),
    st.integers(1, 4),
)
def test_the_core_is_the_largest_part_with_k_events_each(pairs, k):
    log = Log.from_arrays([u for u, _ in pairs], [i for _, i in pairs], n_users=7, n_items=7)
    core = k_core(log, k)
    rows = list(zip(log.users.tolist(), log.items.tolist(), strict=True))
    while True:
        left = [(u, i) for u, i in rows if sum(v == u for v, _ in rows) >= k and sum(j == i for _, j in rows) >= k]
        if left == rows:
            break
        rows = left
    named = zip(core.user_ids[core.users].tolist(), core.item_ids[core.items].tolist(), strict=True)
    assert [(int(u), int(i)) for u, i in named] == rows

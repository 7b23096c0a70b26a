import pytest

from tsrec_models.preparation import Log, LogError


def test_events_are_sorted_by_user_then_time_and_ties_keep_their_order():
    log = Log.from_arrays([1, 0, 1, 1, 0], [5, 1, 6, 7, 0], [3.0, 9.0, 1.0, 1.0, 2.0])
    assert log.users.tolist() == [0, 0, 1, 1, 1]
    assert log.items.tolist() == [0, 1, 6, 7, 5]
    assert log.times.tolist() == [2.0, 9.0, 1.0, 1.0, 3.0]
    assert log.indptr.tolist() == [0, 2, 5]
    assert (log.n_users, log.n_items, len(log)) == (2, 8, 5)
    assert log.history(1).tolist() == [6, 7, 5]
    assert [h.tolist() for h in log.histories()] == [[0, 1], [6, 7, 5]]


def test_without_times_the_order_given_is_the_order_of_time():
    log = Log.from_arrays([1, 0, 1], [2, 1, 0])
    assert not log.has_times
    assert log.items.tolist() == [1, 2, 0]
    assert log.times.tolist() == [1.0, 0.0, 2.0]
    assert log.time_order().tolist() == [1, 0, 2]


def test_ids_are_numbered_in_order_of_first_appearance():
    log = Log.from_ids(["b", "a", "b"], [30, 10, 30])
    assert log.user_ids.tolist() == ["b", "a"]
    assert log.item_ids.tolist() == ["30", "10"]
    assert log.users.tolist() == [0, 0, 1]
    assert log.items.tolist() == [0, 0, 1]


def test_selecting_keeps_numbers_and_compacting_closes_the_gaps():
    log = Log.from_ids(["a", "b", "c", "c"], ["x", "y", "z", "x"])
    part = log.select(log.users != 1)
    assert part.n_users == 3
    assert part.indptr.tolist() == [0, 1, 1, 3]
    small = part.compact()
    assert small.user_ids.tolist() == ["a", "c"]
    assert small.item_ids.tolist() == ["x", "z"]
    assert small.items.tolist() == [0, 1, 0]


def test_users_and_items_without_events_may_be_declared():
    log = Log.from_arrays([0], [1], n_users=3, n_items=4)
    assert log.indptr.tolist() == [0, 1, 1, 1]
    assert log.lengths.tolist() == [1, 0, 0]
    assert log.n_items == 4


def test_an_empty_log_is_a_log():
    log = Log.from_arrays([], [])
    assert len(log) == log.n_users == log.n_items == 0
    assert log.histories() == []


@pytest.mark.parametrize(
    ("users", "items", "times", "says"),
    [
        ([0, 1], [0], None, "do not make one log"),
        ([0], [0], [float("nan")], "not finite"),
        ([-1], [0], None, "user indices"),
    ],
)
def test_what_does_not_fit_is_said(users, items, times, says):
    with pytest.raises(LogError, match=says):
        Log.from_arrays(users, items, times)


def test_an_index_beyond_the_ids_is_refused():
    with pytest.raises(LogError, match="item indices run from 0 to 3, but there are 2 items"):
        Log.from_arrays([0, 0], [0, 3], item_ids=["a", "b"])

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsrec_models.preparation import Log, LogError
from tsrec_models.preparation.windows import PADDING, sliding_windows


@given(
    st.lists(st.integers(0, 4), max_size=40),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_windows_are_those_of_a_loop_over_users(users, length, stride, shortest):
    log = Log.from_arrays(users, np.arange(len(users)) % 7, np.arange(len(users)) * 10.0, n_users=5)
    expected = []
    for user in range(5):
        history = log.history(user).tolist()
        for end in range(shortest, len(history)):
            if (len(history) - 1 - end) % stride == 0:
                before = history[max(0, end - length) : end]
                expected.append(([PADDING] * (length - len(before)) + before, history[end], user))
    windows = sliding_windows(log, length, stride=stride, shortest=shortest)
    assert list(zip(windows.items.tolist(), windows.targets.tolist(), windows.users.tolist(), strict=True)) == expected
    assert (np.isnan(windows.times) == (windows.items == PADDING)).all()


def test_times_go_with_the_items():
    windows = sliding_windows(Log.from_arrays([0, 0, 0], [5, 6, 7], [1.0, 2.0, 4.0]), 2)
    assert windows.times.tolist()[1] == [1.0, 2.0]
    assert windows.target_times.tolist() == [2.0, 4.0]
    assert len(windows) == 2


def test_impossible_sizes_are_refused():
    with pytest.raises(LogError, match="at least 1"):
        sliding_windows(Log.from_arrays([0], [0]), 0)

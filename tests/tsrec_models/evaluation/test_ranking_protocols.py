import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.evaluation.protocols import PROTOCOLS, last_sessions, last_share_of_time, leave_one_out
from tsrec_models.preparation import Log

DAY = 86400.0


def events(log, rows=slice(None)):
    return set(zip(log.users[rows].tolist(), log.items[rows].tolist(), log.times[rows].tolist(), strict=True))


def log_of(*rows):
    users, items, times = zip(*rows, strict=True)
    return Log.from_arrays(users, items, times)


def random_log(seed=0, events=400, days=20):
    rng = np.random.default_rng(seed)
    return Log.from_arrays(rng.integers(0, 30, events), rng.integers(0, 50, events), rng.uniform(0, days * DAY, events))


def questions(split):
    out = []
    for block in split.blocks(3):
        out += [(h.tolist(), int(t)) for h, t in zip(block.histories, block.targets, strict=True)]
    return out


def test_leave_one_out_asks_for_the_last_item_of_users_with_three():
    log = Log.from_arrays([0, 0, 0, 1, 1, 2], [1, 2, 3, 4, 5, 6])
    split = leave_one_out(log)
    assert questions(split) == [([1, 2], 3)]
    assert split.train.items.tolist() == [1, 2, 4, 5, 6]
    assert split.exclude_seen


def test_the_validation_of_leave_one_out_is_the_item_before_the_last():
    log = Log.from_arrays([0, 0, 0, 0], [1, 2, 3, 4])
    inner = leave_one_out(log).validation()
    assert questions(inner) == [([1, 2], 3)]
    assert inner.train.items.tolist() == [1, 2]


def test_temporal_asks_for_every_event_of_the_last_tenth_that_has_a_past():
    log = log_of((0, 1, 0), (0, 2, 95), (0, 3, 100), (1, 4, 90), (2, 5, 99))
    split = last_share_of_time(log)
    assert questions(split) == [([1], 2), ([1, 2], 3)]  # the stream knows 2 by the time 3 comes
    assert split.train.items.tolist() == [1, 4]
    assert not split.exclude_seen


def test_sessions_of_the_last_day_are_asked_event_by_event():
    log = log_of((0, 1, 0), (0, 2, 10), (1, 3, 0.5 * DAY), (1, 4, 1.5 * DAY), (1, 5, 1.6 * DAY), (2, 6, 1.7 * DAY))
    split = last_sessions(log)
    assert questions(split) == [([3], 4), ([3, 4], 5)]
    assert split.train.items.tolist() == [1, 2]


def test_sessions_without_times_take_the_last_tenth():
    log = Log.from_arrays(np.repeat(np.arange(20), 2), np.arange(40))
    split = last_sessions(log)
    assert questions(split) == [([36], 37), ([38], 39)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", range(3))
def test_no_question_is_answered_in_training(protocol, seed):
    log = random_log(seed)
    outer = PROTOCOLS[protocol](log)
    inner = outer.validation()
    for split, whole in ((outer, log), (inner, outer.train)):
        learned = events(split.train)
        asked = events(whole, split.rows)
        assert asked
        assert not learned & asked
        assert split.log is whole
    assert not events(log, outer.rows) & events(inner.log)


@pytest.mark.parametrize("protocol", ["temporal", "session"])
def test_training_lies_before_the_questions(protocol):
    log = random_log(5)
    for split in (PROTOCOLS[protocol](log), PROTOCOLS[protocol](log).validation()):
        last_of_training = np.array([split.train.times[split.train.users == u].max(initial=0) for u in range(30)])
        assert last_of_training.max() <= split.log.times[split.rows].max()
        if protocol == "temporal":
            assert last_of_training.max() < split.log.times[split.rows].min()


def test_a_log_of_one_day_is_validated_on_a_tenth_of_its_sessions():
    rng = np.random.default_rng(0)
    sessions = np.repeat(np.arange(200), 4)
    times = np.repeat(rng.uniform(0, 0.8 * DAY, 200), 4) + np.tile(np.arange(4), 200)
    late = np.array([2.5 * DAY, 2.5 * DAY + 1])
    log = Log.from_arrays(
        np.append(sessions, [200, 200]), np.append(rng.integers(0, 9, 800), [1, 2]), np.append(times, late)
    )
    split = last_sessions(log)
    assert len(split) == 1
    inner = split.validation()
    assert len(np.unique(inner.users)) == 20
    assert len(inner.train) == 720


def test_questions_may_be_asked_after_the_latest_events_only():
    (block,) = leave_one_out(Log.from_arrays([0] * 6, range(6), np.arange(6) * 9.0)).blocks(3)
    latest = block.latest(2)
    assert [part.tolist() for part in latest.histories] == [[3, 4]]
    assert [part.tolist() for part in latest.times] == [[27.0, 36.0]]
    assert latest.targets.tolist() == [5]


def test_a_log_of_one_afternoon_is_asked_its_last_sessions():
    starts = np.repeat(np.arange(50) * 60.0, 3)
    log = Log.from_arrays(np.repeat(np.arange(50), 3), np.arange(150) % 7, starts + np.tile(np.arange(3), 50))
    split = last_sessions(log)
    assert np.unique(split.users).tolist() == [45, 46, 47, 48, 49]
    assert len(split.train) == 45 * 3


def test_repeats_are_the_questions_for_items_of_the_users_own_past():
    log = random_log(events=900)
    for split in (leave_one_out(log), last_share_of_time(log), last_sessions(log)):
        plain = [target in history for history, target in questions(split)]
        assert split.repeats() == sum(plain) > 0


def test_cold_questions_may_be_dropped():
    split = leave_one_out(Log.from_arrays([0, 0, 0, 1, 1, 1], [1, 2, 3, 1, 3, 2]))
    assert len(split.known_only()) == 2
    split = leave_one_out(Log.from_arrays([0, 0, 0, 1, 1, 1], [1, 2, 3, 1, 4, 2]))
    assert split.known_only().targets.tolist() == [2]


def test_a_sample_is_drawn_from_the_questions():
    split = last_share_of_time(random_log(), share=0.5)
    some = split.sample(10, seed=1)
    assert len(some) == 10
    assert set(some.rows) <= set(split.rows)
    assert split.sample(10_000, seed=1) is split


@pytest.mark.parametrize("protocol", ["temporal", "session"])
def test_an_empty_log_is_said(protocol):
    with pytest.raises(ModelError, match="empty"):
        PROTOCOLS[protocol](Log.from_arrays([], []))


@pytest.mark.parametrize("protocol", ["temporal", "session"])
def test_too_few_users_to_part_are_each_validated_on_their_last_event(protocol):
    log = log_of((0, 1, 0), (0, 2, 10), (1, 3, 9 * DAY), (1, 4, 9 * DAY + 10), (1, 5, 9 * DAY + 20))
    inner = PROTOCOLS[protocol](log).validation()
    assert questions(inner) == [([1], 2)]
    assert inner.train.items.tolist() == [1]

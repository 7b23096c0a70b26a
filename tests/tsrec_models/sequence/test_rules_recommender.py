import numpy as np
import pytest

from tsrec_models.base import ModelError, SequenceRecommender
from tsrec_models.preparation import Log
from tsrec_models.sequence.recent_items import RecentItems, previous_items
from tsrec_models.sequence.rules import Rules, RuleSettings
from tsrec_models.sequence.rules_recommender import RulesRecommender

NEVER = RuleSettings(half_life_s=None)


def test_stepping_gives_the_state_of_encoding():
    model = RulesRecommender(Rules(9, RuleSettings(window=3)))
    assert isinstance(model, SequenceRecommender)
    histories = [np.array([1, 2, 3, 4, 5]), np.array([7, 8])]
    times = [np.arange(5) + 1.7e9, np.array([1.7e9, 1.7e9 + 50])]
    stepped = model.initial_state(2)
    for t in range(5):
        rows = [i for i in range(2) if t < len(histories[i])]
        stepped[rows] = model.step(
            stepped[rows], np.array([histories[i][t] for i in rows]), np.array([times[i][t] for i in rows])
        )
    np.testing.assert_array_equal(stepped, model.encode(histories, times))


def test_replaying_a_log_is_stepping_through_its_events():
    rng = np.random.default_rng(0)
    log = Log.from_arrays(rng.integers(0, 6, 80), rng.integers(0, 9, 80), rng.uniform(0, 1e6, 80))
    model, by_hand = RulesRecommender.fit(log), Rules(9)
    past = {}
    for row in np.argsort(log.times):
        user, item = int(log.users[row]), int(log.items[row])
        latest = past.get(user, [])
        by_hand.update([[*latest[:10], *[-1] * (10 - len(latest[:10]))]], [item], [log.times[row]])
        past[user] = [item, *latest]
    for a, b in zip(model.rules.export_rows(range(9)), by_hand.export_rows(range(9)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_items_without_a_rule_follow_by_popularity():
    log = Log.from_ids(["a", "a", "b", "b", "c", "c", "d", "d"], [0, 1, 2, 3, 2, 3, 0, 1])
    model = RulesRecommender.fit(log, NEVER)
    ids, scores = model.topk(model.encode([np.array([0])]), 4)
    assert ids[0, :2].tolist() == [1, 3]
    assert scores[0, 0] > 1000 * scores[0, 1]


def test_a_user_without_a_history_gets_what_is_popular():
    log = Log.from_ids(["a", "a", "b", "b", "c", "c"], [0, 1, 0, 2, 1, 2])
    model = RulesRecommender.fit(log, NEVER)
    assert model.topk(model.initial_state(1), 1)[0].tolist() == [[2]]


def test_a_log_without_times_does_not_decay():
    log = Log.from_ids(["a", "a"] * 3, [0, 1] * 3)
    decayed = RulesRecommender.fit(log, RuleSettings(half_life_s=1.0)).rules.rules_of(0)[1]
    never = RulesRecommender.fit(log, NEVER).rules.rules_of(0)[1]
    np.testing.assert_array_equal(decayed, never)


def test_previous_items_are_the_users_own():
    log = Log.from_arrays([0, 0, 0, 1, 1], [5, 6, 7, 8, 9])
    assert previous_items(log, np.array([4, 2, 0]), 2).tolist() == [[8, -1], [6, 5], [-1, -1]]


def test_more_items_than_a_float32_can_name_are_refused():
    class Wide(RecentItems):
        name = "wide"

    with pytest.raises(ModelError, match="16777216"):
        Wide((1 << 24) + 1, 3)


def test_a_state_of_another_width_is_refused():
    model = RulesRecommender(Rules(3))
    with pytest.raises(ModelError, match="state must be"):
        model.scores(np.zeros((2, 5), np.float32))

import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.evaluation.prequential import prequential, sliding_mean
from tsrec_models.preparation import Log
from tsrec_models.sequence.popularity import Popularity, Trending
from tsrec_models.sequence.rules import Rules, RuleSettings
from tsrec_models.sequence.rules_recommender import RulesRecommender


class Recorder:
    """Writes down what it is asked and what it is taught; scores the items taught most."""

    def __init__(self, n_items):
        self.counts = np.zeros(n_items, dtype=np.float32)
        self.told = []

    def learn(self, log, rows):
        np.add.at(self.counts, log.items[rows], 1)
        self.told += [("learn", int(row)) for row in rows]

    def encode(self, histories, times=None):
        self.told += [("ask", h.tolist()) for h in histories]
        return np.zeros((len(histories), 1), dtype=np.float32)

    def scores(self, state):
        return np.tile(self.counts, (len(state), 1))


def test_every_event_is_asked_before_it_is_learned_in_order_of_time():
    log = Log.from_arrays([0, 1, 0, 1], [0, 1, 2, 0], [1.0, 2.0, 3.0, 4.0])
    model = Recorder(3)
    result = prequential(model, log)
    assert model.told == [
        ("learn", 0),
        ("learn", 2),
        ("ask", [0]),
        ("learn", 1),
        ("ask", [1]),
        ("learn", 3),
    ]
    # 2 was never met: behind 0, 1 and, by the tie rule, itself last; 0 is level with 1 and 2, which count against it
    assert result.ranks.tolist() == [2, 2]
    assert result.users.tolist() == [0, 1]


def test_a_batch_is_asked_before_any_of_it_is_learned():
    log = Log.from_arrays([0, 0, 0], [0, 1, 2], [1.0, 2.0, 3.0])
    model = Recorder(3)
    prequential(model, log, batch=3)
    assert model.told == [("ask", [0]), ("ask", [0, 1]), ("learn", 0), ("learn", 1), ("learn", 2)]


def test_the_clock_ends_it_after_the_question_under_way():
    log = Log.from_arrays([0, 0, 0, 0], [0, 1, 2, 3], [1.0, 2.0, 3.0, 4.0])
    result = prequential(Recorder(4), log, deadline=0.0)
    assert (len(result.ranks), result.events) == (1, 2)
    assert prequential(Recorder(4), log).events == 4


def habit_log(seed=0, users=400):
    """Half way through, the item that follows an item changes."""
    rng = np.random.default_rng(seed)
    events = users * 5
    who = np.repeat(np.arange(users), 5)
    times = np.repeat(np.sort(rng.uniform(0, 1e6, users)), 5) + np.tile(np.arange(5), users)
    step = np.where(np.repeat(np.arange(users), 5) < users // 2, 1, 7)
    items = (np.repeat(rng.integers(0, 30, users), 5) + step * np.tile(np.arange(5), users)) % 30
    assert len(items) == events
    return Log.from_arrays(who, items, times, n_items=30)


def test_rules_that_forget_follow_a_change_of_habits():
    log = habit_log()
    curves = {}
    for half_life in (None, 5e4):
        model = RulesRecommender(Rules(0, RuleSettings(half_life_s=half_life)))
        result = prequential(model, log)
        curves[half_life] = np.mean([value for _, value in result.curve("ndcg@10", 200)[12:]])
        assert result.curve("ndcg@10", 200)[9][1] > 0.9  # the first habit was learned
    assert curves[5e4] > curves[None] + 0.05


@pytest.mark.parametrize("kind", [Popularity, Trending])
def test_models_may_start_without_any_item(kind):
    log = habit_log(users=20)
    assert prequential(kind(0), log).figures()["hr@10"] > 0


def test_a_sliding_mean_forgets_what_is_behind_the_window():
    assert sliding_mean(np.array([1.0, 3.0, 5.0, 7.0]), 2).tolist() == [1.0, 2.0, 4.0, 6.0]


def test_nothing_to_ask_is_said():
    with pytest.raises(ModelError, match="nothing to ask"):
        prequential(Recorder(2), Log.from_arrays([0, 1], [0, 1]))
    with pytest.raises(ModelError, match="at least one"):
        prequential(Recorder(2), Log.from_arrays([0, 0], [0, 1]), batch=0)

import numpy as np
import pytest

from tsrec_models.evaluation.protocols import leave_one_out
from tsrec_models.evaluation.ranking import ask
from tsrec_models.evaluation.ranking_blend import BlendRecipe, Choices, choice_sets, fit_weights
from tsrec_models.evaluation.ranking_models import COUNTING, Plain, Searched, Task
from tsrec_models.preparation import Log
from tsrec_models.sequence.blend import Blend
from tsrec_models.sequence.popularity import Popularity
from tsrec_models.sequence.recent_items import RecentItems
from tsrec_models.sequence.rules import Rules, RuleSettings
from tsrec_models.sequence.rules_recommender import RulesRecommender

N = 40


class Noise(RecentItems):
    name = "noise"
    scores_are_counts = False

    def __init__(self, n_items):
        super().__init__(n_items, 1)

    def score_recent(self, recent, at):
        return np.random.default_rng(0).normal(size=(N + 1, self.n_items)).astype(np.float32)[recent[:, 0]]


def walks(users=300, seed=0):
    """Users that mostly go to the next item."""
    rng = np.random.default_rng(seed)
    steps = np.where(rng.random((users, 6)) < 0.8, 1, rng.integers(1, N, (users, 6)))
    items = (rng.integers(0, N, users)[:, None] + np.cumsum(steps, axis=1)) % N
    return Log.from_arrays(np.repeat(np.arange(users), 6), items.ravel(), n_items=N)


def test_a_choice_set_is_the_answer_and_the_best_of_every_member():
    log = walks()
    split = leave_one_out(log)
    blend = Blend([RulesRecommender.fit(split.train), Popularity.fit(split.train)], None, np.zeros(N))
    choices = choice_sets(blend, split)
    assert (choices.ids[:, 0] == split.targets).all()
    for row, ids in enumerate(choices.ids):
        named = ids[ids >= 0]
        assert len(set(named.tolist())) == len(named)
        assert not set(named[1:].tolist()) & set(log.history(split.users[row])[:-1].tolist())
    np.testing.assert_allclose(
        choices.scores(blend.weights)[:, 0],
        blend.scores(blend.encode([log.history(u)[:-1] for u in split.users]))[np.arange(300), split.targets],
        rtol=1e-4,
        atol=1e-4,
    )


def test_weights_go_to_the_member_that_knows():
    split = leave_one_out(walks())
    blend = Blend([Noise(N), RulesRecommender.fit(split.train)], None, np.zeros(N))
    choices = choice_sets(blend, split)
    weights = fit_weights(choices, blend.weights)
    assert abs(weights[0, 0]) < 0.2 * abs(weights[0, 2] + weights[0, 3])
    assert choices.ndcg(weights).mean() > choices.ndcg(blend.weights).mean()


def test_an_answer_nobody_put_forward_earns_nothing():
    choices = Choices(
        np.array([[1, 2], [1, 2]]),
        np.array([[[1.0], [0.0]]] * 2, dtype=np.float32),
        np.ones((2, 1)),
        np.array([True, False]),
        np.array([0, 1]),
    )
    assert choices.ndcg(np.ones((1, 1))).tolist() == [1.0, 0.0]


def test_a_blend_with_noise_is_no_worse_than_its_best_member():
    split = leave_one_out(walks())
    rules = Plain(lambda log: RulesRecommender.fit(log, RuleSettings(half_life_s=None)))
    task = Task(split)
    recipe = BlendRecipe({"noise": Plain(lambda log: Noise(log.n_items)), "rules": rules})
    recipe.prepare(task)
    blended = ask(recipe.finish(task), split).figures()["ndcg@10"]
    assert blended >= ask(rules.finish(task), split).figures()["ndcg@10"] - 0.01
    assert any("cross-validated" in note for note in recipe.notes)


@pytest.mark.parametrize("out_of_time", [False, True])
def test_a_spare_member_takes_part_only_where_the_others_had_the_time_they_needed(out_of_time):
    class Timed(Plain):
        pass

    split = leave_one_out(walks(users=60))
    first = Timed(Popularity.fit)
    first.out_of_time = out_of_time
    spare = Plain(lambda log: RulesRecommender.fit(log, RuleSettings(half_life_s=None)))
    recipe = BlendRecipe({"popularity": first}, {"rules": spare})
    task = Task(split)
    members = [member.name for member in recipe.prepare(task).members]
    assert members == (["popularity"] if out_of_time else ["popularity", "rules"])
    assert [member.name for member in recipe.finish(task).members] == members


def test_settings_are_chosen_on_validation_and_kept_for_the_end():
    split = leave_one_out(walks())
    seen = []

    def fit(log, settings):
        seen.append((len(log), settings))
        return RulesRecommender.fit(log, settings)

    start = RuleSettings(half_life_s=None, window=1)
    recipe = Searched(fit, lambda _: start, lambda _: {"backward": [0.0, 1.0]})
    task = Task(split)
    recipe.prepare(task)
    recipe.finish(task)
    assert recipe.settings.backward == 0.0  # the walks go one way
    assert {length for length, _ in seen[:-1]} == {len(task.validation.train)}
    assert seen[-1] == (len(split.train), recipe.settings)


def test_reweighed_rules_are_rules_learned_with_those_settings():
    log = walks()
    base = RuleSettings(half_life_s=None)
    other = RuleSettings(half_life_s=None, norm=1.0, popularity=0.2, recency_power=2.0)
    shared = RulesRecommender.fit(log, base).rules.weighed(other)
    anew = RulesRecommender.fit(log, other).rules
    np.testing.assert_array_equal(shared.scores([[1, 2]]), anew.scores([[1, 2]]))
    assert isinstance(shared, Rules)


def test_every_counting_model_beats_chance_by_its_recipe():
    split = leave_one_out(walks(users=120))
    for name in ("rules", "session-knn", "item-to-item"):
        recipe = COUNTING[name]()
        task = Task(split)
        recipe.prepare(task)
        assert ask(recipe.finish(task), split).figures()["hr@10"] > 2 * 10 / N, name

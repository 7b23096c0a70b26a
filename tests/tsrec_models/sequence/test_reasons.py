import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.preparation import Log
from tsrec_models.sequence.reasons import deletion_test, leave_one_out, rule_reasons, strongest
from tsrec_models.sequence.rules import RuleSettings
from tsrec_models.sequence.rules_recommender import RulesRecommender

N = 20
TABLE = np.random.default_rng(3).normal(size=(N, N))


class Additive:
    """The logit of an item is the sum of what each past item says of it, order aside."""

    def encode(self, histories, times=None):
        return np.array([np.bincount(h, minlength=N) for h in histories], dtype=np.float32)

    def scores(self, state):
        return (state @ TABLE).astype(np.float32)


@pytest.fixture(scope="module")
def rules():
    rng = np.random.default_rng(0)
    starts = rng.integers(0, N, 400)
    steps = np.where(rng.random((400, 8)) < 0.7, 1, rng.integers(1, N, (400, 8)))
    items = (starts[:, None] + np.cumsum(steps, axis=1)) % N
    log = Log.from_arrays(np.repeat(np.arange(400), 8), items.ravel(), n_items=N)
    return RulesRecommender.fit(log, RuleSettings(half_life_s=None, window=5, slots=N))


def cases(rng, contributions, n=60):
    out = []
    for _ in range(n):
        history = rng.permutation(N)[:8]
        target = int(rng.integers(N))
        out.append((history, target, contributions(history, target)))
    return out


def test_reasons_of_the_rules_sum_to_the_score(rules):
    history = np.array([4, 9, 10, 2, 11])
    reasons = rule_reasons(rules.rules, history, 12, most=10)
    score = rules.rules.scores(history[::-1][None])[0, 12]
    assert sum(reason.contribution for reason in reasons) == pytest.approx(score, rel=1e-5)
    assert sum(reason.share for reason in reasons) == pytest.approx(1.0)
    assert reasons[0].item == 11
    assert reasons[0].place == 4


def test_items_before_the_window_are_no_reason(rules):
    history = np.array([11, 0, 1, 2, 3, 4])
    assert all(reason.place > 0 for reason in rule_reasons(rules.rules, history, 12, most=10))


def test_leaving_out_finds_what_a_model_goes_by():
    history = np.array([3, 8, 1])
    found = leave_one_out(Additive(), history, np.arange(N))
    logits = TABLE[history].sum(axis=0)
    for place in range(3):
        without = logits - TABLE[history[place]]
        expected = (logits - np.logaddexp.reduce(logits)) - (without - np.logaddexp.reduce(without))
        np.testing.assert_allclose(found[:, place], expected, atol=1e-4)


def test_only_the_latest_are_left_out():
    history = np.arange(6)
    found = leave_one_out(Additive(), history, np.array([2]), latest=2)
    assert (found[0, :4] == 0).all()
    assert (found[0, 4:] != 0).all()
    assert leave_one_out(Additive(), history[:0], np.array([2])).shape == (1, 0)


def test_what_speaks_against_an_item_is_no_reason():
    reasons = strongest(np.array([7, 8, 9]), np.array([-1.0, 3.0, 1.0]))
    assert [(reason.item, reason.share) for reason in reasons] == [(8, 0.75), (9, 0.25)]


def test_true_reasons_pass_the_deletion_test(rules):
    rng = np.random.default_rng(1)
    network = cases(rng, lambda history, target: leave_one_out(Additive(), history, np.array([target]))[0])
    assert deletion_test(Additive(), network).holds

    def by_rules(history, target):
        out = np.zeros(len(history))
        for reason in rule_reasons(rules.rules, history, target, most=len(history)):
            out[reason.place] = reason.contribution
        return out

    assert deletion_test(rules, cases(rng, by_rules)).holds


def test_made_up_reasons_fail_it():
    rng = np.random.default_rng(2)
    upside_down = cases(rng, lambda history, target: -leave_one_out(Additive(), history, np.array([target]))[0])
    assert not deletion_test(Additive(), upside_down).holds


def test_histories_too_short_to_delete_from_are_said():
    with pytest.raises(ModelError, match="more than 3"):
        deletion_test(Additive(), [(np.array([1, 2]), 3, np.array([0.1, 0.2]))])

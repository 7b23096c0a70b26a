import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.preparation import Log
from tsrec_models.sequence.blend import Blend
from tsrec_models.sequence.popularity import Popularity
from tsrec_models.sequence.recent_items import RecentItems
from tsrec_models.sequence.rules_recommender import RulesRecommender

N = 12


class Logits(RecentItems):
    """Scores like a network's: any number."""

    name = "logits"
    scores_are_counts = False

    def __init__(self, seed=0, n_items=N):
        super().__init__(n_items, 1)
        self.table = np.random.default_rng(seed).normal(0, 3, (N + 1, n_items)).astype(np.float32)

    def score_recent(self, recent, at):
        return self.table[recent[:, 0]]


@pytest.fixture
def log():
    rng = np.random.default_rng(0)
    return Log.from_arrays(np.repeat(np.arange(20), 6), rng.integers(0, N, 120), n_items=N)


def make(log, members, seed=1):
    support = np.bincount(log.items, minlength=N)
    shape = Blend(members, None, support).weights.shape
    return Blend(members, np.random.default_rng(seed).normal(size=shape), support)


def evidence(scores, counts):
    if counts:
        share = scores / scores.sum() if scores.sum() > 0 else scores
        ratio = scores / scores.max() if scores.max() > 0 else scores
        return np.where(scores > 0, np.log(share + 1e-5), np.log(1e-5)), ratio
    shifted = scores - scores.max()
    return np.maximum(shifted - np.log(np.exp(shifted).sum()), np.log(1e-5)), np.where(shifted > -8, np.exp(shifted), 0)


def gates(length, support):
    row = np.zeros(10)
    row[0] = 1
    row[1 + sum(length >= edge for edge in (1, 2, 4, 10))] = 1
    row[6 + sum(support >= edge for edge in (1, 5, 50))] = 1
    return row


def test_scores_are_weighted_evidence_of_all_members(log):
    members = [RulesRecommender.fit(log), Logits(), Popularity.fit(log)]
    blend = make(log, members)
    support = np.bincount(log.items, minlength=N)
    histories = [np.array([], dtype=np.int64), np.array([3]), np.array([5, 1, 5]), np.arange(11)]
    state = blend.encode(histories)
    for row, history in enumerate(histories):
        length = len(history)
        weights = gates(length, support[history[-1]] if length else 0) @ blend.weights
        expected = np.zeros(N)
        for place, member in enumerate(members):
            scores = member.scores(member.encode([history]))[0].astype(float)
            share, ratio = evidence(scores, member is not members[1])
            expected += weights[2 * place] * share + weights[2 * place + 1] * ratio
        latest = history[::-1].tolist()
        for item in set(latest):
            place = latest.index(item)
            expected[item] += weights[-3] + weights[-2] * (place == 0) + weights[-1] / (1 + place)
        np.testing.assert_allclose(blend.scores(state[row : row + 1])[0], expected, rtol=1e-4, atol=1e-4)


def test_features_times_weights_are_the_scores(log):
    blend = make(log, [RulesRecommender.fit(log), Logits()])
    histories = [np.array([2, 4]), np.array([7, 7, 1])]
    state = blend.encode(histories)
    ids = np.tile(np.arange(N), (2, 1))
    weights = blend.gates(state) @ blend.weights
    found = np.einsum("bcf,bf->bc", blend.features(state, ids), weights)
    np.testing.assert_allclose(found, blend.scores(state), rtol=1e-4, atol=1e-4)


def test_one_members_zero_is_no_veto(log):
    blend = Blend([RulesRecommender.fit(log), Logits()], None, np.zeros(N))
    assert np.isfinite(blend.scores(blend.encode([np.array([1])]))).all()


def test_items_a_member_does_not_know_have_no_evidence_from_it(log):
    blend = Blend([Popularity.fit(log), Logits(n_items=N - 4)], None, np.zeros(N))
    assert blend.n_items == N
    assert np.isfinite(blend.scores(blend.encode([np.array([1])]))).all()


def test_weights_of_another_shape_are_refused(log):
    with pytest.raises(ModelError, match="shape"):
        Blend([Logits()], np.zeros((2, 2)), np.zeros(N))
    with pytest.raises(ModelError, match="at least one"):
        Blend([], None, np.zeros(N))

import numpy as np
import pytest

from tsrec_models.base import SequenceRecommender
from tsrec_models.preparation import Log
from tsrec_models.sequence.item_to_item import ItemToItem


def random_log(seed=0, users=20, items=10, events=120):
    rng = np.random.default_rng(seed)
    return Log.from_arrays(rng.integers(0, users, events), rng.integers(0, items, events), n_users=users, n_items=items)


@pytest.mark.parametrize("damping", [0.0, 0.5, 1.0])
def test_similarity_is_shared_users_over_damped_degrees(damping):
    log = random_log()
    sets = [set(log.users[log.items == i].tolist()) for i in range(log.n_items)]
    expected = np.zeros((10, 10))
    for a in range(10):
        for b in range(10):
            if a != b:
                expected[a, b] = len(sets[a] & sets[b]) / (len(sets[a]) * len(sets[b])) ** damping
    similarity = ItemToItem.fit(log, damping=damping).similarity.toarray()
    np.testing.assert_allclose(similarity, expected, rtol=1e-5)


def test_only_the_most_similar_are_kept():
    log = random_log()
    whole, few = ItemToItem.fit(log).similarity.toarray(), ItemToItem.fit(log, neighbours=3).similarity.toarray()
    for full, kept in zip(whole, few, strict=True):
        assert (kept > 0).sum() == 3
        assert kept[kept > 0].min() >= np.sort(full)[-3] - 1e-7


def test_scores_sum_the_similarities_of_the_latest_items():
    model = ItemToItem.fit(random_log(), width=3)
    assert isinstance(model, SequenceRecommender)
    state = model.encode([np.array([9, 1, 2, 3]), np.array([], dtype=np.int64)])
    dense = model.similarity.toarray()
    np.testing.assert_allclose(model.scores(state), [dense[1] + dense[2] + dense[3], np.zeros(10)], rtol=1e-5)


def test_a_user_of_very_many_items_counts_with_the_latest():
    log = Log.from_arrays([0, 0, 0, 0], [0, 1, 2, 3])
    assert ItemToItem.fit(log, longest=2).similarity.toarray()[:2].sum() == 0

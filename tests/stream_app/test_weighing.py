"""The weight of the network in the live blend."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_app.weighing import WEIGHTS, choose_weight
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.training_holdout import Holdout, leave_last_out

ITEMS = 60


class Prophet:
    """Scores the item `stride` after the last one above all others."""

    def __init__(self, stride: int) -> None:
        self.stride = stride

    def encode(self, histories: list[NDArray[np.int64]], times: object = None) -> NDArray[np.int64]:
        return np.array([history[-1] for history in histories])

    def topk(
        self, last: NDArray[np.int64], k: int, exclude: object = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        ids = (last[:, None] + self.stride + np.arange(k)) % ITEMS
        return ids, np.tile(np.linspace(8, 0, k, dtype=np.float32), (len(last), 1))


def log_of_strides(stride: int, seed: int = 0) -> tuple[Log, Holdout]:
    draw = np.random.default_rng(seed)
    users, items, times = [], [], []
    for user in range(300):
        start = int(draw.integers(ITEMS))
        users += [user] * 4
        items += [(start + stride * step) % ITEMS for step in range(4)]
        times += [1000.0 * user + 60.0 * step for step in range(4)]
    return leave_last_out(Log.from_arrays(users, items, times, n_items=ITEMS))


def test_a_network_that_knows_what_comes_outweighs_the_rules_and_one_that_is_wrong_does_not() -> None:
    train, holdout = log_of_strides(7)
    right = choose_weight(Prophet(7), train, holdout)
    wrong = choose_weight(Prophet(31), train, holdout)
    assert right.ndcg[right.weight] == max(right.ndcg.values()) == 1.0
    assert wrong.weight < 0.5
    assert wrong.ndcg[1.0] < 0.1 < wrong.ndcg[wrong.weight]
    assert set(right.ndcg) == set(WEIGHTS)


def test_the_ends_of_the_scale_are_each_source_alone() -> None:
    train, holdout = log_of_strides(7)
    one, other = (choose_weight(Prophet(stride), train, holdout) for stride in (7, 31))
    assert one.ndcg[0.0] == other.ndcg[0.0]
    assert one.hit_rate[1.0] == 1.0


def test_what_was_seen_takes_no_place_in_the_lists_that_are_compared() -> None:
    users, items = np.repeat(np.arange(50), 4), np.tile([0, 1, 2, 3], 50)
    train, holdout = leave_last_out(Log.from_arrays(users, items, np.arange(200.0), n_items=ITEMS))
    weighed = choose_weight(Prophet(-2), train, holdout)  # names 0, 1, 2 before 3
    assert weighed.ndcg[1.0] == 1.0

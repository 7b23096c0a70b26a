from dataclasses import dataclass

import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.evaluation.protocols import leave_one_out
from tsrec_models.evaluation.ranking import ask, report
from tsrec_models.evaluation.ranking_search import coordinate_search
from tsrec_models.preparation import Log
from tsrec_models.sequence.training_holdout import LONGEST_HISTORY


class NextNumber:
    """Knows that after i comes i + 1."""

    n_items = 20

    def encode(self, histories, times=None):
        return np.array([[h[-1]] for h in histories], dtype=np.float32)

    def scores(self, state):
        return -np.abs(np.arange(self.n_items) - (state + 1)).astype(np.float32)


class FewerItems(NextNumber):
    n_items = 4


def walks():
    starts = np.arange(10)
    return Log.from_arrays(np.repeat(starts, 4), (starts[:, None] + np.arange(4)).ravel(), n_items=20)


def test_a_model_that_knows_is_always_right():
    split = leave_one_out(walks())
    answers = ask(NextNumber(), split)
    assert answers.ranks.tolist() == [0] * 10
    assert answers.lists[0, 0] == 3
    assert answers.figures() == {"hr@10": 1.0, "ndcg@10": 1.0, "mrr@20": 1.0, "recall@20": 1.0}


def test_items_of_the_history_leave_the_lists_only_where_the_protocol_says_so():
    hidden = ask(NextNumber(), leave_one_out(walks()))
    shown = ask(NextNumber(), leave_one_out(walks(), exclude_seen=False))
    assert not np.isin(hidden.lists[0], [0, 1, 2]).any()
    assert np.isin([0, 1, 2], shown.lists[0]).all()


def test_a_model_is_handed_the_latest_events_only_and_all_events_leave_the_lists():
    asked = []

    class Curious(NextNumber):
        n_items = LONGEST_HISTORY + 3

        def encode(self, histories, times=None):
            asked.extend(len(history) for history in histories)
            return super().encode(histories, times)

    split = leave_one_out(Log.from_arrays(np.zeros(LONGEST_HISTORY + 2), np.arange(LONGEST_HISTORY + 2)))
    answers = ask(Curious(), split)
    assert asked == [LONGEST_HISTORY]
    assert answers.lists[0, :2].tolist() == [LONGEST_HISTORY + 1, -1]


def test_an_item_the_model_does_not_know_is_never_found():
    answers = ask(FewerItems(), leave_one_out(walks()))
    assert answers.ranks[0] == 0
    assert (answers.ranks[1:] >= 4).all()
    assert set(answers.lists.ravel().tolist()) <= {-1, 0, 1, 2, 3}


def test_a_report_has_figures_with_intervals_and_what_the_lists_are_like():
    split = leave_one_out(walks())
    figures = report(ask(NextNumber(), split), split)
    assert figures["ndcg@10"] == 1.0
    assert figures["intervals"]["hr@10"] == [1.0, 1.0]
    assert figures["questions"] == 10
    assert figures["cold"] == 1  # 12 is only ever a last item
    assert 0 < figures["coverage@10"] <= 1


def test_nothing_to_ask_is_said():
    with pytest.raises(ModelError, match="no question"):
        ask(NextNumber(), leave_one_out(Log.from_arrays([0], [0])))


@dataclass(frozen=True)
class Point:
    x: int = 0
    y: int = 0


def test_the_search_climbs_one_setting_at_a_time_and_scores_none_twice():
    tried = []

    def score(point):
        tried.append(point)
        return -3 * (point.x - 2) ** 2 - (point.y - point.x) ** 2

    best, value = coordinate_search(Point(), {"x": [0, 1, 2, 3], "y": [0, 1, 2]}, score, rounds=5)
    assert best == Point(2, 2)
    assert value == 0
    assert len(tried) == len(set(tried))


def test_a_search_out_of_time_keeps_the_best_so_far():
    best, _ = coordinate_search(Point(1, 1), {"x": [0, 1, 2]}, lambda p: -p.x, deadline=0.0)
    assert best in (Point(1, 1), Point(0, 1))

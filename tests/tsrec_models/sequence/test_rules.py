"""The rules against a plain dictionary of everything that ever happened."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsrec_models.base import ModelError
from tsrec_models.sequence.rules import EMPTY, Rules, RuleSettings

N = 12
ROOMY = RuleSettings(window=4, slots=N, half_life_s=50.0)


class Oracle:
    """Every rule with the time of every event that made it; decayed only when asked."""

    def __init__(self, settings):
        self.settings = settings
        self.gains = defaultdict(list)

    def update(self, previous, items, times):
        for before, item, ts in zip(previous, items, times, strict=True):
            for d, earlier in enumerate((p for p in before if p != EMPTY), 1):
                if d > self.settings.window:
                    break
                weight = d**-self.settings.distance_power
                self.gains[earlier, item].append((ts, weight))
                if self.settings.backward:
                    self.gains[item, earlier].append((ts, weight * self.settings.backward))

    def weight(self, a, b, now):
        half_life = self.settings.half_life_s
        return sum(w * (1 if half_life is None else 2 ** ((ts - now) / half_life)) for ts, w in self.gains[a, b])

    def scores(self, recent, now):
        s = self.settings
        out = np.zeros(N)
        for b in range(N):
            for j, a in enumerate((p for p in recent if p != EMPTY), 1):
                if j <= s.window:
                    mass = sum(self.weight(a, c, now) for c in range(N)) + s.shrink
                    out[b] += j**-s.recency_power * self.weight(a, b, now) / mass**s.norm if mass else 0
            out[b] *= (1 + sum(self.weight(a, b, now) for a in range(N))) ** -s.popularity
        return out


def stream(rng, events=120, users=5, m=6, span=200.0):
    """Events of a few users, with the items each of them took before."""
    past = defaultdict(list)
    previous, items, times = [], [], np.sort(rng.uniform(0, span, events))
    for _ in range(events):
        user, item = rng.integers(users), int(rng.integers(N))
        latest = past[user][::-1][:m]
        previous.append(latest + [EMPTY] * (m - len(latest)))
        items.append(item)
        past[user].append(item)
    return np.array(previous), np.array(items), times


def histories(rng, batch=8, m=5):
    recent = rng.integers(0, N, (batch, m))
    for row, length in zip(recent, rng.integers(0, m + 1, batch), strict=True):
        row[length:] = EMPTY
    return recent


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"half_life_s": None},
        {"half_life_s": 2.0},  # a hundred half-lives pass: landmarks move
        {"norm": 1.0, "shrink": 0.0},
        {"norm": 0.0, "backward": 0.3},
        {"popularity": 0.5, "distance_power": 0.3, "recency_power": 2.0},
        {"popularity": 0.4, "backward": 1.0},
    ],
)
def test_scores_are_those_of_a_plain_loop_over_everything(change):
    rng = np.random.default_rng(1)
    chosen = replace(ROOMY, **change)
    rules, oracle = Rules(N, chosen), Oracle(chosen)
    previous, items, times = stream(rng)
    rules.update(previous, items, times)
    oracle.update(previous.tolist(), items.tolist(), times.tolist())
    recent = histories(rng)
    now = times[-1] + rng.uniform(0, 20, len(recent))
    expected = np.array([oracle.scores(r, t) for r, t in zip(recent.tolist(), now.tolist(), strict=True)])
    np.testing.assert_allclose(rules.scores(recent, now), expected, rtol=2e-5, atol=1e-30)


def test_batches_of_any_size_teach_the_same():
    previous, items, times = stream(np.random.default_rng(2))
    at_once, one_by_one = Rules(N, ROOMY), Rules(N, ROOMY)
    at_once.update(previous, items, times)
    for e in range(len(items)):
        one_by_one.update(previous[e : e + 1], items[e : e + 1], times[e : e + 1])
    for a, b in zip(at_once.export_rows(range(N)), one_by_one.export_rows(range(N)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_events_out_of_order_give_the_same_scores():
    rng = np.random.default_rng(3)
    previous, items, times = stream(rng)
    order = rng.permutation(len(items))
    straight, shuffled = Rules(N, ROOMY), Rules(N, ROOMY)
    straight.update(previous, items, times)
    shuffled.update(previous[order], items[order], times[order])
    recent = histories(rng)
    np.testing.assert_allclose(shuffled.scores(recent, [210.0] * 8), straight.scores(recent, [210.0] * 8), rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), slots=st.integers(1, 6), half_life=st.sampled_from([None, 3.0, 100.0]))
def test_a_full_row_brackets_the_truth(seed, slots, half_life):
    chosen = RuleSettings(window=3, slots=slots, half_life_s=half_life)
    rules, oracle = Rules(N, chosen), Oracle(chosen)
    previous, items, times = stream(np.random.default_rng(seed), events=60)
    rules.update(previous, items, times)
    oracle.update(previous.tolist(), items.tolist(), times.tolist())
    rows = rules.export_rows(range(N))
    for a in range(N):
        for slot in range(slots):
            if rows.ids[a, slot] == EMPTY:
                continue
            landmark = 0.0 if half_life is None else rows.landmarks[a]
            truth = oracle.weight(a, int(rows.ids[a, slot]), landmark)
            assert rows.weights[a, slot] - rows.errors[a, slot] <= truth * (1 + 1e-4) + 1e-5
            assert rows.weights[a, slot] >= truth * (1 - 1e-4) - 1e-5


def test_memory_does_not_grow_with_events():
    rules = Rules(N, RuleSettings(slots=3))
    before = rules.nbytes
    for seed in range(5):
        rules.update(*stream(np.random.default_rng(seed)))
    assert rules.nbytes == before


def test_a_new_item_makes_room_for_itself():
    rules = Rules(2, RuleSettings(half_life_s=None))
    rules.update([[0], [40]], [40, 1], [1.0, 2.0])
    assert rules.n_items == 41
    assert rules.topk([[0], [40]], 1)[0].tolist() == [[40], [1]]


@pytest.mark.parametrize("popularity", [0.0, 0.5])
def test_the_best_are_those_of_the_scores_without_the_excluded(popularity):
    rng = np.random.default_rng(4)
    rules = Rules(N, replace(ROOMY, popularity=popularity))
    previous, items, times = stream(rng)
    rules.update(previous, items, times)
    recent = histories(rng, batch=30)
    exclude = [rng.choice(N, rng.integers(0, N), replace=False) for _ in recent]
    scores = rules.scores(recent, [250.0] * 30)
    ids, best = rules.topk(recent, 4, exclude, [250.0] * 30)
    for row, banned, top, value in zip(scores, exclude, ids, best, strict=True):
        row[banned] = 0.0
        order = [i for i in np.lexsort((np.arange(N), -row)) if row[i] > 0][:4]
        assert top.tolist() == order + [-1] * (4 - len(order))
        np.testing.assert_allclose(value[: len(order)], row[order], rtol=1e-5)
        assert np.isneginf(value[len(order) :]).all()


def test_one_call_leaves_nothing_for_the_next():
    rules = Rules(N, ROOMY)
    rules.update(*stream(np.random.default_rng(5)))
    recent = histories(np.random.default_rng(6))
    first = rules.topk(recent, 3, [np.arange(6)] * len(recent))
    rules.topk(recent[::-1], 5)
    again = rules.topk(recent, 3, [np.arange(6)] * len(recent))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


def test_contributions_add_up_to_the_score():
    rng = np.random.default_rng(7)
    rules = Rules(N, replace(ROOMY, popularity=0.3))
    rules.update(*stream(rng))
    recent = histories(rng)
    targets = np.tile(np.arange(N), (len(recent), 1))
    parts = rules.contributions(recent, targets, [220.0] * len(recent))
    assert parts.shape == (len(recent), N, recent.shape[1])
    np.testing.assert_allclose(parts.sum(axis=2), rules.scores(recent, [220.0] * len(recent)), rtol=1e-5)


def test_exported_rows_bring_a_table_back_exactly():
    rng = np.random.default_rng(8)
    rules, restored = Rules(N, ROOMY), Rules(0, ROOMY)
    previous, items, times = stream(rng)
    rules.update(previous, items, times)
    restored.import_rows(range(N), rules.export_rows(range(N)))
    more = stream(rng)
    rules.update(*more)
    restored.update(*more)
    recent = histories(rng)
    np.testing.assert_array_equal(rules.scores(recent), restored.scores(recent))


def test_the_rows_an_event_changes_are_its_item_and_those_before_it():
    rng = np.random.default_rng(9)
    rules, replica = Rules(N, replace(ROOMY, backward=0.5)), Rules(N, replace(ROOMY, backward=0.5))
    for previous, item, ts in zip(*stream(rng), strict=True):
        rules.update(previous[None], [item], [ts])
        changed = np.unique(np.append(previous[previous != EMPTY], item))
        replica.import_rows(changed, rules.export_rows(changed))
    for a, b in zip(rules.export_rows(range(N)), replica.export_rows(range(N)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_history_items_the_rules_never_met_are_passed_over():
    rules = Rules(3, replace(ROOMY, half_life_s=None))
    rules.update([[0]], [1], [0.0])
    np.testing.assert_array_equal(rules.scores([[77, 0]]), rules.scores([[0, EMPTY]]))


def test_the_rules_of_an_item_come_strongest_first():
    rules = Rules(3, RuleSettings(half_life_s=None))
    rules.update([[0], [0], [0]], [2, 1, 2], [0.0, 1.0, 2.0])
    ids, weights, errors = rules.rules_of(0)
    assert ids.tolist() == [2, 1]
    assert weights.tolist() == [2.0, 1.0]
    assert errors.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "arguments",
    [([[0]], [1, 2], [0.0]), ([[0]], [-1], [0.0]), ([[-2]], [1], [0.0]), ([0], [1], [0.0])],
)
def test_what_does_not_fit_is_refused(arguments):
    with pytest.raises(ModelError):
        Rules(3).update(*arguments)


def test_impossible_settings_are_refused():
    for bad in ({"window": 0}, {"half_life_s": 0.0}, {"shrink": -1.0}):
        with pytest.raises(ModelError):
            RuleSettings(**bad)
    with pytest.raises(ModelError, match="do not fit"):
        Rules(3, RuleSettings(slots=4)).import_rows([0], Rules(3, RuleSettings(slots=5)).export_rows([0]))

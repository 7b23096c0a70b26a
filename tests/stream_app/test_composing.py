"""Lists made of candidates: in the order of scores, for diversity, for calibration."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.blending import RULES, TRENDING, Blended, blend
from stream_app.composing import Candidates, Order, Rules, compose

N = 30


def candidates(seed: int, rows: int = 3, width: int = 12, trending: int = 4) -> Candidates:
    draw = np.random.default_rng(seed)

    def scored() -> tuple[np.ndarray, np.ndarray]:
        ids = np.stack([draw.permutation(N)[:width] for _ in range(rows)]).astype(np.int64)
        return ids, -np.sort(-draw.random((rows, width)).astype(np.float32) * 4, axis=1)

    top = draw.permutation(N)[:trending].astype(np.int64), np.arange(trending, 0, -1).astype(np.float32)
    return Candidates(scored(), scored(), top)


def given_facts(seed: int, rows: int = 3) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed + 1)
    return {
        "seen": draw.integers(-1, N, (rows, 3)), "allowed": draw.random(N) < 0.8,
        "category": draw.integers(-1, 4, N).astype(np.int32),
    }  # fmt: skip


def by_blend(c: Candidates, rules: Rules, facts: dict[str, np.ndarray]) -> Blended:
    return blend(*c, neural_weight=rules.neural_weight, category_cap=rules.category_cap, k=rules.k, **facts)


@given(st.integers(0, 10_000), st.sampled_from([0, 2]), st.sampled_from(["diversity", "calibration"]))
def test_an_order_keeps_what_filters_leave_and_every_cap(seed: int, cap: int, which: str) -> None:
    c, facts = candidates(seed), given_facts(seed)
    rules = dataclasses.replace(Rules(8, 0.4, cap), **{which: 0.5})
    order = Order(classes=np.arange(N) % 3, history=facts["seen"])
    lists = compose(c, rules, order=order, **facts)
    pool = by_blend(c, Rules(2 * N, 0.4), facts)
    for row in range(3):
        shown = lists.items[row][lists.items[row] >= 0]
        assert len(set(shown.tolist())) == len(shown)
        assert facts["allowed"][shown].all()
        assert not set(shown.tolist()) & set(facts["seen"][row].tolist())
        if cap:
            codes = facts["category"][shown]
            assert np.bincount(codes[codes >= 0], minlength=1).max() <= cap
        own = dict(zip(pool.items[row].tolist(), zip(pool.scores[row], pool.sources[row], strict=True), strict=True))
        for item, score, source in zip(lists.items[row], lists.scores[row], lists.sources[row], strict=True):
            if item >= 0 and source != TRENDING:
                assert (score, source) == own[item]
        mine = [s for s, o in zip(lists.scores[row], lists.sources[row], strict=True) if o != TRENDING and s > 0]
        fill = [s for s, o in zip(lists.scores[row], lists.sources[row], strict=True) if o == TRENDING and s > 0]
        assert not mine or not fill or max(fill) < min(mine)


@given(st.integers(0, 10_000))
def test_with_next_to_no_trade_the_order_is_that_of_the_scores(seed: int) -> None:
    c, facts = candidates(seed), given_facts(seed)
    plain = by_blend(c, Rules(8, 0.4, 2), facts)
    for change in ({"diversity": 1e-9}, {"calibration": 1e-9}):
        rules = dataclasses.replace(Rules(8, 0.4, 2), **change)
        order = Order(classes=np.arange(N) % 3, history=facts["seen"])
        lists = compose(c, rules, order=order, **facts)
        np.testing.assert_array_equal(lists.items, plain.items)
        np.testing.assert_allclose(lists.scores, plain.scores, rtol=1e-5)
        np.testing.assert_array_equal(lists.sources, plain.sources)


def test_alike_items_give_way_by_vector_and_by_category() -> None:
    ids, scores = np.array([[0, 1, 2]]), np.array([[5.0, 4.9, 4.8]], np.float32)
    c = Candidates(None, (ids, scores), (np.empty(0, np.int64), np.empty(0, np.float32)))
    free = {"seen": np.empty((1, 0), np.int64), "allowed": np.ones(4, np.bool_)}
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0, 0]], np.float32)
    rules = Rules(2, 0.0, diversity=0.6)
    none = np.full(4, -1, np.int32)
    assert compose(c, rules, category=none, order=Order(vectors=vectors), **free).items.tolist() == [[0, 2]]
    assert compose(c, rules, category=np.array([3, 3, 1, 1], np.int32), order=Order(), **free).items.tolist() == [
        [0, 2]
    ]
    assert compose(c, Rules(2, 0.0), category=none, **free).items.tolist() == [[0, 1]]


def test_an_ordered_list_with_a_minimum_is_not_padded() -> None:
    ids, scores = np.array([[0, 1, 2]]), np.array([[5.0, 4.0, 1.0]], np.float32)
    c = Candidates(None, (ids, scores), (np.array([3]), np.array([1.0], np.float32)))
    free = {"seen": np.empty((1, 0), np.int64), "allowed": np.ones(4, np.bool_), "category": np.full(4, -1, np.int32)}
    lists = compose(c, Rules(4, 0.0, minimum_score=0.2, diversity=0.1), order=Order(), **free)
    assert lists.items.tolist() == [[0, 1, -1, -1]]
    assert lists.sources[0, :2].tolist() == [RULES, RULES]
    assert lists.scores[0, 0] == pytest.approx(0.5)
    padded = compose(c, Rules(4, 0.0, diversity=0.1), order=Order(), **free)
    assert sorted(padded.items[0].tolist()) == [0, 1, 2, 3]
    assert padded.sources[0, 3] == TRENDING

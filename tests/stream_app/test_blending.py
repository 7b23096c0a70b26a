"""Lists from several sources, against a plain loop."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stream_app.blending import NEURAL, RULES, TRENDING, blend

N_ITEMS = 12


def plain(neural, rules, trending, weight, seen, allowed, category, cap, k):  # type: ignore[no-untyped-def]
    """One user's list, the obvious way."""
    value: dict[int, float] = {}
    if neural:
        top = max(score for _, score in neural)
        shares = {item: np.exp(np.float32(score - top)) for item, score in neural}
        for item, share in shares.items():
            value[item] = float(weight * share / sum(shares.values()))
    positive = [(item, score) for item, score in rules if score > 0]
    rest = (1.0 - weight) if neural else 1.0
    for item, score in positive:
        value[item] = value.get(item, 0.0) + rest * score / sum(s for _, s in positive)
    mixed = sorted(value.values())
    assume(all(b - a > 1e-4 for a, b in itertools.pairwise(mixed)))  # how ties fall is nobody's business
    chosen: list[int] = []

    def may(item: int) -> bool:
        same = sum(category[other] == category[item] for other in chosen)
        full = cap > 0 and category[item] >= 0 and same >= cap
        return bool(allowed[item]) and item not in seen and item not in chosen and not full

    for item in sorted((i for i in value if value[i] > 0), key=lambda i: -value[i]):
        if len(chosen) < k and may(item):
            chosen.append(item)
    for item in trending:
        if len(chosen) < k and may(item):
            chosen.append(item)
    return chosen


items = st.lists(st.integers(0, N_ITEMS - 1), max_size=6, unique=True)


@given(
    neural=items, rules=items, trending=items, seen=items, data=st.data(), weight=st.floats(0.1, 0.9),
    cap=st.integers(0, 2), k=st.integers(1, 8),
)  # fmt: skip
def test_a_list_is_what_a_plain_loop_makes(neural, rules, trending, seen, data, weight, cap, k) -> None:  # type: ignore[no-untyped-def]
    neural_scores = -np.cumsum(data.draw(st.lists(st.floats(0.1, 2), min_size=len(neural), max_size=len(neural))))
    rule_scores = [2.0**-i + 0.01 * i for i in range(len(rules))]
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=N_ITEMS, max_size=N_ITEMS)))
    category = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=N_ITEMS, max_size=N_ITEMS)), np.int32)

    def row(ids: list[int], scores: object) -> tuple[np.ndarray, np.ndarray]:
        padded = np.full((1, 6), -1, np.int64)
        padded[0, : len(ids)] = ids
        values = np.zeros((1, 6), np.float32)
        values[0, : len(ids)] = np.asarray(scores, np.float32)
        return padded, values

    lists = blend(
        row(neural, neural_scores) if neural else None,
        row(rules, rule_scores),
        (np.array(trending, np.int64), np.linspace(2, 1, len(trending)).astype(np.float32)),
        neural_weight=weight, seen=np.array([seen + [-1] * (6 - len(seen))]), allowed=allowed, category=category,
        category_cap=cap, k=k,
    )  # fmt: skip
    expected = plain(
        list(zip(neural, neural_scores, strict=True)), list(zip(rules, rule_scores, strict=True)), trending,
        weight, set(seen), allowed, category, cap, k,
    )  # fmt: skip
    found = [item for item in lists.items[0].tolist() if item >= 0]
    scores = lists.scores[0, : len(found)]
    assert (np.diff(scores) <= 0).all()
    assert found == expected


def test_each_item_says_which_source_brought_it() -> None:
    lists = blend(
        (np.array([[0, 1]]), np.array([[1.0, 0.0]], np.float32)),
        (np.array([[2, -1]]), np.array([[1.0, 0.0]], np.float32)),
        (np.array([3]), np.array([1.0], np.float32)),
        neural_weight=0.5, seen=np.empty((1, 0), np.int64), allowed=np.ones(4, np.bool_),
        category=np.full(4, -1, np.int32), category_cap=0, k=4,
    )  # fmt: skip
    assert lists.items[0].tolist() == [2, 0, 1, 3]
    assert lists.sources[0].tolist() == [RULES, NEURAL, NEURAL, TRENDING]


def test_a_user_without_candidates_gets_what_trends_and_nobody_gets_padding() -> None:
    lists = blend(
        None,
        (np.array([[-1]]), np.array([[0.0]], np.float32)),
        (np.array([5, 4, -1]), np.array([3.0, 1.0, -np.inf], np.float32)),
        neural_weight=0.5, seen=np.array([[4]]), allowed=np.ones(6, np.bool_),
        category=np.full(6, -1, np.int32), category_cap=0, k=3,
    )  # fmt: skip
    assert lists.items[0].tolist() == [5, -1, -1]
    assert lists.scores[0, 0] > 0


def test_a_poor_list_is_shorter_rather_than_padded_and_a_stranger_still_gets_what_trends() -> None:
    rules = np.array([[1, 2, 3], [-1, -1, -1]]), np.array([[6.0, 3.0, 1.0], [0.0, 0.0, 0.0]], np.float32)
    given = {
        "neural_weight": 0.0, "seen": np.empty((2, 0), np.int64), "allowed": np.ones(9, np.bool_),
        "category": np.full(9, -1, np.int32), "category_cap": 0, "k": 4,
    }  # fmt: skip
    trending = np.array([7, 8]), np.array([2.0, 1.0], np.float32)
    full = blend(None, rules, trending, **given)
    assert full.items.tolist() == [[1, 2, 3, 7], [7, 8, -1, -1]]
    short = blend(None, rules, trending, minimum=0.2, **given)
    assert short.items.tolist() == [[1, 2, -1, -1], [7, 8, -1, -1]]
    assert short.scores[0, 1] == pytest.approx(0.3)

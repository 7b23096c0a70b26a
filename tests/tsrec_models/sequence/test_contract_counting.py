"""The counting members and the blend, through the suite of the family."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import contract

from tsrec_models.artifacts import KINDS
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.blend import Blend
from tsrec_models.sequence.item_to_item import ItemToItem
from tsrec_models.sequence.popularity import Popularity, RecentPopularity, Trending
from tsrec_models.sequence.rules import RuleSettings
from tsrec_models.sequence.rules_recommender import RulesRecommender
from tsrec_models.sequence.session_knn import SessionKnn


def blend(log: Log, seed: int) -> Blend:
    members = [Trending.fit(log), RulesRecommender.fit(log), SessionKnn.fit(log), ItemToItem.fit(log)]
    shape = Blend(members, None, np.bincount(log.items, minlength=log.n_items)).weights.shape
    weights = np.random.default_rng(seed).uniform(-0.2, 1.0, shape)
    return Blend(members, weights, np.bincount(log.items, minlength=log.n_items))


MODELS: dict[str, contract.Factory] = {
    "popularity": lambda log, _: Popularity.fit(log),
    "popularity-7d": lambda log, _: RecentPopularity.fit(log),
    "popularity-decayed": lambda log, _: Trending.fit(log),
    "item-to-item": lambda log, _: ItemToItem.fit(log),
    "rules": lambda log, _: RulesRecommender.fit(log),
    "rules, damped, both ways": lambda log, _: RulesRecommender.fit(log, RuleSettings(popularity=0.3, backward=0.5)),
    "session-knn": lambda log, _: SessionKnn.fit(log),
    "blend": blend,
}

#: Scores that do not depend on the history, as the suite wants of the others.
SAME_FOR_ALL = ("popularity", "popularity-7d", "popularity-decayed")


@cache
def fitted(name: str) -> Any:
    return MODELS[name](contract.tiny_log(), 0)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", MODELS)
def test_contract(name: str, check: Any) -> None:
    if name in SAME_FOR_ALL and check is contract.check_encode_equals_stepping:
        pytest.skip("popularity is the same for everyone")
    check(fitted(name))


@pytest.mark.parametrize("name", MODELS)
def test_an_artifact_gives_the_same_model_back(name: str, tmp_path: Path) -> None:
    contract.check_artifact_round_trip(fitted(name), tmp_path)


def test_every_kind_that_can_be_stored_is_in_this_suite_or_in_that_of_the_networks() -> None:
    networks = {"gru", "lstm", "lru", "transformer", "joint"}
    assert {fitted(name).name for name in MODELS} | networks == set(KINDS)


@pytest.mark.parametrize("name", MODELS)
def test_fitting_twice_gives_the_same(name: str) -> None:
    contract.check_a_seed_decides_everything(MODELS[name])

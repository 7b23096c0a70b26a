"""Every sequence recommender, through one suite. A new member is one line in MODELS."""

from __future__ import annotations

import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import contract

from tsrec_models.preparation.log import Log
from tsrec_models.sequence.gru import GRU
from tsrec_models.sequence.joint import Joint
from tsrec_models.sequence.lru import LRU
from tsrec_models.sequence.lstm import LSTM
from tsrec_models.sequence.training import fit
from tsrec_models.sequence.training_settings import Settings
from tsrec_models.sequence.transformer import Transformer

TINY = Settings(width=8, hidden=12, heads=2, layers=2, window=7, epochs=2, batch_events=64)


def neural(model: Any, log: Log, seed: int, **changes: Any) -> Any:
    return fit(log, model=model, settings=Settings(**(TINY.as_dict() | changes)), seed=seed, device="cpu")


MODELS: dict[str, contract.Factory] = {
    "gru": partial(neural, GRU),
    "gru cosine, sampled": partial(neural, GRU, cosine=True, loss="sampled", item_bias=False),
    "lstm": partial(neural, LSTM),
    "lru": partial(neural, LRU),
    "joint": partial(neural, Joint),
    "joint without times": partial(neural, Joint, times="off"),
    "transformer": partial(neural, Transformer),
    "transformer without times": partial(neural, Transformer, times="off"),
}


@cache
def fitted(name: str) -> Any:
    return MODELS[name](contract.tiny_log(), 0)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", MODELS)
def test_contract(name: str, check: Any) -> None:
    check(fitted(name))


@pytest.mark.parametrize("name", MODELS)
def test_an_artifact_gives_the_same_model_back(name: str, tmp_path: Path) -> None:
    contract.check_artifact_round_trip(fitted(name), tmp_path)


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_decides_everything(name: str) -> None:
    contract.check_a_seed_decides_everything(MODELS[name])

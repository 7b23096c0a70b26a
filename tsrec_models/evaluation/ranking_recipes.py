"""The models that `tsrec evaluate ranking` knows by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tsrec_models.base import ModelError
from tsrec_models.evaluation.ranking_blend import BlendRecipe
from tsrec_models.evaluation.ranking_models import COUNTING, Recipe
from tsrec_models.evaluation.ranking_neural import NEURAL, NeuralRecipe

__all__ = ["BLENDED", "RECIPES", "recipe"]

#: Members of the blend, the cheap ones first: what they leave of the time goes to the network. Of the networks the
#: linear recurrent one was better than the GRU on validation events of one set (docs/evaluation-ranking.md).
BLENDED = ("popularity-decayed", "item-to-item", "rules", "session-knn", "lru")

#: A second network of another kind, where the first was trained to its end and time is left: two that err differently.
SPARE = ("transformer",)


def _blend(members: tuple[str, ...], spare: tuple[str, ...] = ()) -> Recipe:
    return BlendRecipe({name: recipe(name) for name in members}, {name: recipe(name) for name in spare})


RECIPES: dict[str, Callable[[], Recipe]] = {
    **COUNTING,
    **{kind: partial(NeuralRecipe, kind) for kind in NEURAL},
    "blend-counting": partial(_blend, tuple(name for name in BLENDED if name in COUNTING)),
    "blend": partial(_blend, BLENDED, SPARE),
}


def recipe(name: str) -> Recipe:
    """The recipe of a model by name.

    Raises ModelError, listing the names, if there is none.
    """
    if name not in RECIPES:
        raise ModelError(f"no model {name!r}; known are {', '.join(RECIPES)}")
    return RECIPES[name]()

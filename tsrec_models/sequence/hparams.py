"""Search over settings within a time budget: a grid, at random, or by TPE (Bergstra et al., 2011; by optuna)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from tsrec_models.base import ModelError
from tsrec_models.devices import resolve_device
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.neural import NeuralRecommender
from tsrec_models.sequence.training import Trainer
from tsrec_models.sequence.training_holdout import Holdout
from tsrec_models.sequence.training_report import TrainingView
from tsrec_models.sequence.training_settings import Settings

__all__ = ["SPACE", "Method", "Trial", "search", "search_settings"]

Method = Literal["grid", "random", "tpe"]

#: Values worth trying where nothing is known of a log.
SPACE: Mapping[str, Sequence[Any]] = {
    "dropout": (0.1, 0.3, 0.5),
    "input_dropout": (0.1, 0.3, 0.5),
    "lr": (1e-3, 2e-3, 4e-3),
    "l2": (0.0, 0.01, 0.1),
    "width": (64, 128),
}


@dataclass(frozen=True)
class Trial:
    """Settings tried and the score they reached; `seconds` it took."""

    settings: Settings
    score: float
    seconds: float


def search(
    objective: Callable[[Settings], float],
    base: Settings,
    space: Mapping[str, Sequence[Any]],
    *,
    method: Method,
    deadline: float,
    trials: int = 1000,
    seed: int = 0,
) -> list[Trial]:
    """Trials, best first. `base` is always the first; none starts after `deadline` (monotonic seconds).

    Raises:
        ModelError: the space is empty or names no setting, or optuna is needed and missing.
    """
    if not space or any(not values for values in space.values()):
        raise ModelError("search: give at least one setting and a value for each")
    Settings.from_dict(base.as_dict() | {name: values[0] for name, values in space.items()})
    if method == "tpe" and find_spec("optuna") is None:
        raise ModelError("search by TPE needs the package optuna: pip install optuna, or use random")
    done = [_try(objective, base)]
    if method == "tpe":
        done += _tpe(objective, base, space, deadline, trials - 1, seed)
    else:
        points = _grid(space) if method == "grid" else _random(space, seed)
        for changes in itertools.islice(points, trials - 1):
            if time.monotonic() >= deadline:
                break
            settings = replace(base, **changes)
            if all(trial.settings != settings for trial in done):
                done.append(_try(objective, settings))
    return sorted(done, key=lambda trial: -trial.score)


def search_settings(
    log: Log,
    holdout: Holdout,
    model: type[NeuralRecommender],
    base: Settings,
    *,
    method: Method,
    minutes: float,
    trials: int = 10,
    seed: int = 0,
    space: Mapping[str, Sequence[Any]] = SPACE,
) -> list[Trial]:
    """Search by short trainings of equal time, scored by NDCG at 10 on `holdout`; trials, best first."""
    share_s = 60.0 * minutes / trials

    def objective(settings: Settings) -> float:
        trainer = Trainer(log, model, settings, seed=seed, device=resolve_device("auto"))
        with TrainingView(model.name, settings.epochs, show=False, tensorboard=None, wandb=None) as view:
            trainer.run(holdout, deadline=time.monotonic() + share_s, checkpoint=None, view=view)
        return trainer.progress.best["ndcg@10"]

    deadline = time.monotonic() + 60.0 * minutes
    return search(objective, base, space, method=method, deadline=deadline, trials=trials, seed=seed)


def _try(objective: Callable[[Settings], float], settings: Settings) -> Trial:
    started = time.monotonic()
    score = objective(settings)
    return Trial(settings, score, time.monotonic() - started)


def _grid(space: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*space.values()):
        yield dict(zip(space, values, strict=True))


def _random(space: Mapping[str, Sequence[Any]], seed: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    while True:
        yield {name: values[int(rng.integers(len(values)))] for name, values in space.items()}


def _tpe(
    objective: Callable[[Settings], float],
    base: Settings,
    space: Mapping[str, Sequence[Any]],
    deadline: float,
    trials: int,
    seed: int,
) -> list[Trial]:
    import optuna  # only for those who search by it

    done: list[Trial] = []

    def one(trial: Any) -> float:
        changes = {name: trial.suggest_categorical(name, list(values)) for name, values in space.items()}
        done.append(_try(objective, replace(base, **changes)))
        return done[-1].score

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    left = deadline - time.monotonic()
    if left > 0:
        study.optimize(one, n_trials=trials, timeout=left)
    return done

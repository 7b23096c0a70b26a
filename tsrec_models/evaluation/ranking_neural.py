"""Recipes of the neural members: trained until the validation questions say stop, then let learn from these too."""

from __future__ import annotations

import importlib
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tsrec_models.artifacts import KINDS
from tsrec_models.evaluation.ranking import ScoringRecommender
from tsrec_models.evaluation.ranking_models import Task

if TYPE_CHECKING:
    from tsrec_models.sequence.training import Trainer

__all__ = ["NEURAL", "NeuralRecipe"]

#: Kinds that `tsrec_models.sequence.training` trains.
NEURAL = ("gru", "lstm", "lru", "transformer", "joint")

#: Share of the time left that training takes; the rest is for learning from the validation events.
_TRAINING_SHARE = 0.8


@dataclass
class NeuralRecipe:
    """Trains one kind of network with its default settings."""

    kind: str
    show: bool = field(default_factory=lambda: sys.stderr.isatty())
    trainer: Trainer | None = field(default=None, init=False)
    refitted: int = field(default=0, init=False)

    @property
    def notes(self) -> list[str]:
        """How training went, for people."""
        if self.trainer is None:
            return []
        progress = self.trainer.progress
        figures = " ".join(f"{name} {value:.4f}" for name, value in progress.best.items())
        epochs = f"{progress.epoch} epochs in {progress.seconds:.0f} s, best {progress.best_epoch}"
        if self.out_of_time:
            epochs += " (stopped by the clock: more time may give more)"
        learned = f"; then {self.refitted} epochs with the validation events" if self.refitted else ""
        return [f"{epochs}, on validation {figures}{learned}"]

    @property
    def out_of_time(self) -> bool:
        """Whether the clock ended the training, not validation."""
        return self.trainer is not None and self.trainer.out_of_time

    def enough(self, task: Task) -> bool:
        """Whether a user has two events before the validation questions: one to learn from, one to foretell."""
        return bool((task.validation.train.lengths >= 2).any())

    def prepare(self, task: Task) -> ScoringRecommender:
        # torch loads only for those who train
        from tsrec_models.devices import resolve_device
        from tsrec_models.sequence.training import Trainer
        from tsrec_models.sequence.training_holdout import Holdout
        from tsrec_models.sequence.training_report import TrainingView
        from tsrec_models.sequence.training_settings import Settings

        module, name = KINDS[self.kind]
        model = getattr(importlib.import_module(module), name)
        trial, settings = task.trial, Settings.for_log(task.validation.train)
        (questions,) = trial.blocks(len(trial))
        holdout = Holdout(questions.histories, questions.times, questions.targets, trial.exclude_seen)
        trainer = Trainer(task.validation.train, model, settings, seed=task.seed, device=resolve_device("auto"))
        with TrainingView(self.kind, settings.epochs, show=self.show, tensorboard=None, wandb=None) as view:
            checkpoint = None if task.checkpoints is None else task.checkpoints / self.kind
            trainer.run(holdout, deadline=task.until(_TRAINING_SHARE), checkpoint=checkpoint, view=view)
        self.trainer = trainer
        prepared: ScoringRecommender = trainer.recommender()
        return prepared

    def finish(self, task: Task) -> ScoringRecommender:
        if self.trainer is None:
            raise RuntimeError("finish before prepare")
        if self._has_time(task):
            self.trainer.refit(task.split.train, task.deadline)
            self.refitted = self.trainer.refit_epochs
        finished: ScoringRecommender = self.trainer.recommender()
        return finished

    def _has_time(self, task: Task) -> bool:
        """Whether an epoch may end in time: a few steps of a new optimizer would only disturb what was learned."""
        if task.deadline is None or self.trainer is None:
            return True
        progress = self.trainer.progress
        return task.deadline - time.monotonic() > progress.seconds / max(1, progress.epoch)

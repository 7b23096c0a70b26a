"""Fitting a neural recommender to a log: epochs, validation, early stopping, and a last pass over everything."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tsrec_models.base import ModelError
from tsrec_models.devices import Device, resolve_device
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.augment import Augmentation
from tsrec_models.sequence.init import nearest_items, ppmi_vectors
from tsrec_models.sequence.intervals import intervals_vary
from tsrec_models.sequence.network import SequenceNetwork
from tsrec_models.sequence.neural import NeuralRecommender
from tsrec_models.sequence.sampling import NegativeSampler
from tsrec_models.sequence.training_average import ParameterAverage
from tsrec_models.sequence.training_batches import Batch, training_batches
from tsrec_models.sequence.training_checkpoint import Progress, load_checkpoint, save_checkpoint
from tsrec_models.sequence.training_holdout import Holdout, leave_last_out, validate
from tsrec_models.sequence.training_loss import SparseScores, full_softmax, sampled_softmax, squared_error
from tsrec_models.sequence.training_report import TrainingView
from tsrec_models.sequence.training_settings import Settings
from tsrec_models.sequence.training_threads import choose_threads, restored_threads

__all__ = ["Trainer", "fit", "log_hash"]

#: Scores computed by one validation at most; more users are sampled down to it.
_VALIDATION_SCORES = 3e8

#: A stale validation multiplies the learning rate by this.
_LR_DECAY = 0.5

#: Gradients longer than this are cut to it.
_CLIP_NORM = 5.0

#: Share of the best run's epochs that the final pass over train and validation events takes, and its learning rate.
_REFIT_SHARE = 0.25
_REFIT_LR = 0.15

#: Similar items that may stand in for an item.
_SUBSTITUTES = 5


def fit(
    log: Log,
    *,
    model: type[NeuralRecommender],
    validation: Holdout | Literal["last_item"] | None = "last_item",
    exclude_seen: bool = True,
    settings: Settings | None = None,
    seed: int = 0,
    max_minutes: float | None = None,
    device: str = "auto",
    show: bool = False,
    checkpoint: Path | None = None,
    tensorboard: Path | None = None,
    wandb: Path | None = None,
    validated: Callable[[NeuralRecommender, Log, Holdout], None] | None = None,
) -> NeuralRecommender:
    """Train `model` on a log.

    Args:
        validation: held-out events that stop the training; `last_item` holds out each user's last event, and once the
            number of epochs is known the model also learns from these (unless `settings.refit` is off); None trains
            for `settings.epochs`.
        exclude_seen: whether validation leaves out items of the history (for `last_item`).
        max_minutes: time for everything; the best parameters so far are kept when it ends.
        checkpoint: folder of an interrupted run to go on with, or to write one to, every epoch.
        validated: called with the best model, what it learnt from and the held-out events, before it learns from
            these too: the last moment at which anything may be chosen by them.

    Returns:
        The model, with `metrics` (validation metrics of the epoch kept, epochs, seconds).

    Raises:
        ModelError: the log has no two events of one user, or fits neither the settings nor the checkpoint.
    """
    settings = settings or Settings.for_log(log)
    deadline = None if max_minutes is None else time.monotonic() + 60.0 * max_minutes
    train, holdout = leave_last_out(log, exclude_seen=exclude_seen) if validation == "last_item" else (log, validation)
    trainer = Trainer(train, model, settings, seed=seed, device=resolve_device(device))
    refit = validation == "last_item" and settings.refit
    # Part of the time is kept for the pass over the held-out events.
    stop = deadline
    if deadline is not None and refit:
        stop = deadline - 60.0 * (max_minutes or 0.0) * _REFIT_SHARE / (1.0 + _REFIT_SHARE)
    with TrainingView(model.name, settings.epochs, show=show, tensorboard=tensorboard, wandb=wandb) as view:
        trainer.run(holdout, deadline=stop, checkpoint=checkpoint, view=view)
    if validated is not None and holdout is not None:
        validated(trainer.recommender(), train, holdout)
    return trainer.refit(log, deadline) if refit else trainer.recommender()


class Trainer:
    """One training run: a network, its optimizer and how far they are."""

    def __init__(
        self,
        log: Log,
        model: type[NeuralRecommender],
        settings: Settings,
        *,
        seed: int,
        device: Device,
        with_times: bool | None = None,
    ) -> None:
        if not (log.lengths >= 2).any():
            raise ModelError("training needs at least one user with two events")
        self.log = log
        self.model = model
        self.settings = settings
        self.seed = seed
        self.device = device
        if with_times is None:
            with_times = settings.times == "on" or (settings.times == "auto" and intervals_vary(log))
        self.with_times = with_times
        torch.manual_seed(seed)
        self.network: SequenceNetwork = model.network_class(log.n_items, settings, self.with_times)
        self.network.learn_from(log)
        similar = self._initialise()
        self.network.to(device.torch_device)
        self.average: ParameterAverage[SequenceNetwork] | None = ParameterAverage(self.network, settings.average)
        self.optimizer = self._optimizer()
        self.augmentation = Augmentation(
            settings.crop,
            settings.mask,
            settings.reorder,
            settings.substitute,
            similar if settings.substitute else None,
        )
        full = settings.loss == "full" or (settings.loss == "auto" and log.n_items <= settings.full_softmax_items)
        self.sampler = None if full else NegativeSampler(np.bincount(log.items, minlength=log.n_items))
        fingerprint = json.dumps([model.name, settings.as_dict(), seed, log_hash(log)])
        self.progress = Progress(hashlib.sha256(fingerprint.encode()).hexdigest())
        self.best: dict[str, Tensor] = {}
        self.out_of_time = False  # whether `run` was ended by the clock

    def run(
        self, holdout: Holdout | None, *, deadline: float | None, checkpoint: Path | None, view: TrainingView
    ) -> None:
        """Train until validation stops improving, the epochs are done or the time is up; keep the best parameters."""
        progress = self.progress
        if checkpoint is not None and (
            saved := load_checkpoint(checkpoint, progress.fingerprint, self.network, self._judged(), self.optimizer)
        ):
            self.progress, self.best = saved
            progress = self.progress
        if holdout is not None:
            holdout = holdout.sample(max(1, int(_VALIDATION_SCORES / self.log.n_items)), self.seed)
        while progress.epoch < self.settings.epochs and progress.stale < self.settings.patience:
            started = time.monotonic()
            scale = progress.lr_scale
            loss = self._epoch(self.log, progress.epoch, scale, deadline)
            progress.epoch += 1
            figures = {"loss": loss}
            if holdout is not None:
                judged = self.model(self._judged(), self.device)
                judged.tune(holdout)
                figures |= validate(judged, holdout)
            self._judge(figures, holdout is not None)
            progress.seconds += time.monotonic() - started
            progress.history.append(figures | {"seconds": progress.seconds, "lr_scale": scale})
            view.epoch(progress.epoch, figures)
            if checkpoint is not None:
                save_checkpoint(checkpoint, progress, self.network, self._judged(), self.optimizer, self.best)
            if deadline is not None and time.monotonic() > deadline:
                self.out_of_time = True
                break
        self.network.load_state_dict(self.best)

    def refit(self, log: Log, deadline: float | None) -> NeuralRecommender:
        """Let the best parameters learn from a larger log, for a share of the epochs that made them."""
        self.network = copy.deepcopy(self.network)
        self.network.learn_from(log)
        self.average = None  # the learning rate falls to nothing: the last parameters are as steady as a mean
        self.optimizer = self._optimizer()
        epochs = self.refit_epochs
        for epoch in range(epochs):
            scale = _REFIT_LR * (1.0 - epoch / epochs)
            self._epoch(log, self.settings.epochs + epoch, scale, deadline)
            if deadline is not None and time.monotonic() > deadline:
                break
        return self.recommender()

    @property
    def refit_epochs(self) -> int:
        """Epochs that `refit` takes if it has the time."""
        return max(1, round(_REFIT_SHARE * self.progress.best_epoch))

    def recommender(self) -> NeuralRecommender:
        """The trained model, with its validation metrics."""
        result = self.model(self.network, self.device)
        progress = self.progress
        result.metrics = progress.best | {"epochs": float(progress.best_epoch), "train_s": progress.seconds}
        return result

    def _judged(self) -> SequenceNetwork:
        """The network that is validated and kept."""
        return self.network if self.average is None else self.average.network

    def _judge(self, figures: dict[str, float], validated: bool) -> None:
        progress = self.progress
        if not validated or figures["ndcg@10"] > progress.best.get("ndcg@10", -1.0):
            progress.best = figures
            progress.best_epoch = progress.epoch
            progress.stale = 0
            self.best = {name: value.detach().clone() for name, value in self._judged().state_dict().items()}
        else:
            progress.stale += 1
            progress.lr_scale *= _LR_DECAY

    def _epoch(self, log: Log, epoch: int, lr_scale: float, deadline: float | None) -> float:
        """One pass over the log; the mean loss. Its randomness depends on seed and epoch alone, so a run can resume."""
        with restored_threads() as most:
            if not self.device.is_gpu:
                choose_threads(most)
            return self._batches(log, epoch, lr_scale, deadline)

    def _batches(self, log: Log, epoch: int, lr_scale: float, deadline: float | None) -> float:
        rng = np.random.default_rng([self.seed, epoch])
        torch.manual_seed(int(rng.integers(1 << 62)))
        settings, network = self.settings, self.network
        network.train()
        total, count = 0.0, 0
        batches = training_batches(
            log,
            batch_events=settings.batch_events,
            max_length=settings.max_length,
            with_times=self.with_times,
            augmentation=self.augmentation,
            rng=rng,
        )
        for batch in batches:
            warm = min(1.0, (self.progress.steps + 1) / max(1, settings.warmup_steps))
            for group in self.optimizer.param_groups:
                group["lr"] = settings.lr * warm * lr_scale
            with self.device.precision():
                outputs, valid, added = self._outputs(batch)
                loss = self._loss(batch, outputs, valid, added, rng)
                if network.wait_head is not None and batch.log_waits is not None:
                    waits = self.device.put(batch.log_waits)[valid]
                    errors = [squared_error(network.log_wait(part), waits) for part in outputs]
                    loss = loss + settings.wait_loss * torch.stack(errors).mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP_NORM)
            self.optimizer.step()
            self.progress.steps += 1
            if self.average is not None:
                self.average.update(self.progress.steps)
            positions = int(batch.valid.sum())
            total += float(loss.detach()) * positions
            count += positions
            if deadline is not None and time.monotonic() > deadline:
                break
        self.network.eval()
        return total / max(1, count)

    def _outputs(self, batch: Batch) -> tuple[list[Tensor], Tensor, SparseScores | None]:
        """The outputs that learn, where there is a target [positions, width]; where that is [batch, length]; and what
        the network adds to single scores there, for all outputs."""
        put = self.device.put
        items, times = put(batch.items), None if batch.times is None else put(batch.times)
        valid = put(batch.valid)
        outputs = self.network.learning_outputs(items, put(batch.buckets), times)
        added = self.network.added_scores(items, valid, times)
        if added is not None:
            added = added.repeated(len(outputs))
        return [part[valid] for part in outputs], valid, added

    def _loss(
        self,
        batch: Batch,
        outputs: list[Tensor],
        valid: Tensor,
        added: SparseScores | None,
        rng: np.random.Generator,
    ) -> Tensor:
        """Softmax loss of the next items, the mean over the outputs."""
        network, put = self.network, self.device.put
        # Half of the batches are asked without a time, as a request without one will be.
        timed = self.with_times and rng.random() < 0.5
        query_buckets = put(batch.query_buckets)[valid] if timed else None
        queries = torch.cat([network.query(part, query_buckets) for part in outputs])
        targets = put(batch.targets)[valid].repeat(len(outputs))
        if self.sampler is None:
            return full_softmax(
                queries, network.output_vectors(), network.item_bias, targets, self.device.product_dtype, added
            )
        negatives = put(self.sampler.draw(self.settings.negatives, rng))
        bias = torch.zeros(network.n_items, device=queries.device) if network.item_bias is None else network.item_bias
        log_probability = put(self.sampler.log_probability) if self.settings.logq else None
        return sampled_softmax(
            queries,
            network.output_vectors(targets),
            bias[targets],
            targets,
            network.output_vectors(negatives),
            bias[negatives],
            negatives,
            log_probability,
            added,
        )

    def _initialise(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None:
        """Put PPMI vectors into the network where asked for; the nearest items, where substitution needs them."""
        settings = self.settings
        if settings.init != "ppmi" and not settings.substitute:
            return None
        vectors = ppmi_vectors(
            self.log, settings.width, decay=settings.ppmi_decay, window=settings.ppmi_window, seed=self.seed
        )
        if settings.init == "ppmi":
            with torch.no_grad():
                self.network.item.weight[:-1] = torch.from_numpy(vectors * settings.init_std)
        return nearest_items(vectors, _SUBSTITUTES) if settings.substitute else None

    def _optimizer(self) -> torch.optim.Optimizer:
        parameters = list(self.network.parameters())
        if self.settings.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=self.settings.lr, momentum=0.9, weight_decay=self.settings.l2)
        return torch.optim.AdamW(
            parameters, lr=self.settings.lr, betas=(0.9, 0.98), weight_decay=self.settings.l2, fused=True
        )


def log_hash(log: Log) -> str:
    """SHA-256 of the events: what a model was trained on."""
    digest = hashlib.sha256()
    for part in (log.users, log.items, log.times):
        digest.update(np.ascontiguousarray(part).tobytes())
    digest.update("\n".join(log.item_ids.tolist()).encode())
    return digest.hexdigest()

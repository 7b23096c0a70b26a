"""The running mean of parameters against its definition, and that a run validates and keeps it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsrec_models.devices import resolve_device
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.gru import GRU
from tsrec_models.sequence.training import Trainer
from tsrec_models.sequence.training_average import ParameterAverage
from tsrec_models.sequence.training_holdout import leave_last_out, validate
from tsrec_models.sequence.training_report import TrainingView
from tsrec_models.sequence.training_settings import Settings


def test_the_mean_is_the_plain_recursion() -> None:
    network = torch.nn.Linear(3, 2)
    average = ParameterAverage(network, 0.6)
    expected = network.weight.detach().clone().double()
    for step in range(1, 30):
        with torch.no_grad():
            network.weight.add_(torch.randn(2, 3))
        kept = min(0.6, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * network.weight.detach().double()
        average.update(step)
    torch.testing.assert_close(average.network.weight.detach().double(), expected, rtol=1e-5, atol=1e-5)


def test_a_decay_of_zero_follows_the_network() -> None:
    network = torch.nn.Linear(3, 2)
    average = ParameterAverage(network, 0.0)
    with torch.no_grad():
        network.weight.normal_()
    average.update(1)
    assert torch.equal(average.network.weight, network.weight)


def test_a_run_validates_and_keeps_the_mean() -> None:
    rng = np.random.default_rng(0)
    log = Log.from_arrays(np.repeat(np.arange(60), 6), rng.integers(0, 20, 360), n_items=20)
    train, holdout = leave_last_out(log)
    settings = Settings(width=12, hidden=16, batch_events=64, epochs=3, lr=1e-2, average=0.9, patience=3)
    trainer = Trainer(train, GRU, settings, seed=0, device=resolve_device("cpu"))
    moving = []

    class _Watch(TrainingView):
        def epoch(self, epoch: int, figures: dict[str, float]) -> None:
            moving.append(trainer.network.item.weight.detach().clone())
            assert trainer.average is not None
            judged = validate(GRU(trainer.average.network), holdout)
            assert figures["ndcg@10"] == pytest.approx(judged["ndcg@10"])

    with _Watch("gru", 3, show=False, tensorboard=None, wandb=None) as view:
        trainer.run(holdout, deadline=None, checkpoint=None, view=view)
    kept = trainer.recommender().arrays()["item.weight"]
    assert not any(np.array_equal(kept, weights.numpy()) for weights in moving)

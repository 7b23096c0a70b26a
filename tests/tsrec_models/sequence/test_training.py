"""Training as a whole: it learns, stops, resumes and keeps its limits."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.devices import resolve_device
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.gru import GRU
from tsrec_models.sequence.init import nearest_items
from tsrec_models.sequence.lru import LRU
from tsrec_models.sequence.training import Trainer, fit, log_hash
from tsrec_models.sequence.training_holdout import leave_last_out, target_ranks, validate
from tsrec_models.sequence.training_report import TrainingView
from tsrec_models.sequence.training_settings import Settings

SMALL = Settings(width=12, hidden=16, dropout=0.0, input_dropout=0.0, batch_events=128, epochs=12, lr=1e-2, mask=0.0)


def cycle_log(n_users: int = 60, n_items: int = 20, seed: int = 0) -> Log:
    """Each user goes round the items one by one from a random start: the next item is certain."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 10, n_users)
    users = np.repeat(np.arange(n_users), lengths)
    starts = np.repeat(rng.integers(0, n_items, n_users), lengths)
    position = np.arange(len(users)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return Log.from_arrays(users, (starts + position) % n_items, n_items=n_items)


@pytest.mark.parametrize("changes", [{}, {"loss": "sampled", "negatives": 64}, {"cosine": True}], ids=str)
def test_a_certain_next_item_is_learned(changes: dict[str, Any]) -> None:
    train, test = leave_last_out(cycle_log())
    model = fit(train, model=LRU, settings=replace(SMALL, **changes), device="cpu")
    assert validate(model, test)["ndcg@10"] > 0.9


def test_waits_are_foretold_where_asked_for() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(80), 8)
    items = rng.integers(0, 2, len(users))  # after item 0 a user waits a minute, after item 1 a day
    waits = np.where(items == 0, 60.0, 86400.0)
    log = Log.from_arrays(users, items, 1.7e9 + np.cumsum(waits) - waits, n_items=2)
    settings = replace(SMALL, wait_loss=1.0, epochs=25, patience=25)
    model = fit(log, model=GRU, settings=settings, device="cpu", validation=None)
    short, long = model.expected_wait(model.encode([np.array([0]), np.array([1])]))
    assert 20 < short < 200
    assert 30_000 < long < 250_000
    silent = fit(log, model=GRU, settings=replace(SMALL, epochs=1), device="cpu")
    with pytest.raises(ModelError, match="wait_loss"):
        silent.expected_wait(silent.initial_state(1))


def test_sgd_learns_too() -> None:
    train, test = leave_last_out(cycle_log())
    model = fit(train, model=LRU, settings=replace(SMALL, optimizer="sgd", lr=0.5, l2=0.0, epochs=25), device="cpu")
    assert validate(model, test)["ndcg@10"] > 0.8


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    log = cycle_log()
    whole = fit(log, model=GRU, settings=replace(SMALL, epochs=4, dropout=0.3), device="cpu")
    train, holdout = leave_last_out(log)
    settings = replace(SMALL, epochs=4, dropout=0.3)
    first = Trainer(train, GRU, settings, seed=0, device=resolve_device("cpu"))
    with TrainingView("gru", 4, show=False, tensorboard=None, wandb=None) as view:
        # A deadline in the past ends the run after one batch of the first epoch; that epoch is then over.
        first.run(holdout, deadline=None, checkpoint=None, view=view)
        interrupted = Trainer(train, GRU, settings, seed=0, device=resolve_device("cpu"))
        stop = _StopAfter(2)
        with pytest.raises(KeyboardInterrupt):
            interrupted.run(holdout, deadline=None, checkpoint=tmp_path, view=stop)  # type: ignore[arg-type]
    resumed = fit(log, model=GRU, settings=settings, device="cpu", checkpoint=tmp_path)
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(array, resumed.arrays()[name])


class _StopAfter:
    """A view at which someone presses Ctrl-C in the epoch after the given one."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def epoch(self, epoch: int, figures: dict[str, float]) -> None:
        if epoch > self.epochs:
            raise KeyboardInterrupt


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    log = cycle_log()
    fit(log, model=GRU, settings=replace(SMALL, epochs=1), device="cpu", checkpoint=tmp_path)
    with pytest.raises(ModelError, match="other data or settings"):
        fit(log, model=GRU, settings=replace(SMALL, epochs=2), device="cpu", checkpoint=tmp_path)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="not a readable checkpoint"):
        fit(cycle_log(), model=GRU, settings=replace(SMALL, epochs=1), device="cpu", checkpoint=tmp_path)


def test_the_time_limit_holds_and_a_model_comes_back() -> None:
    started = time.monotonic()
    model = fit(cycle_log(400), model=GRU, settings=replace(SMALL, epochs=100_000, patience=100_000), max_minutes=0.05)
    assert time.monotonic() - started < 30.0
    assert model.metrics["epochs"] >= 1


def test_training_stops_when_validation_does_not_improve() -> None:
    rng = np.random.default_rng(0)
    log = Log.from_arrays(np.repeat(np.arange(50), 6), rng.integers(0, 40, 300), n_items=40)
    train, holdout = leave_last_out(log)
    trainer = Trainer(train, GRU, replace(SMALL, epochs=200, patience=2), seed=0, device=resolve_device("cpu"))
    with TrainingView("gru", 200, show=False, tensorboard=None, wandb=None) as view:
        trainer.run(holdout, deadline=None, checkpoint=None, view=view)
    assert trainer.progress.epoch < 200
    figures = [epoch["ndcg@10"] for epoch in trainer.progress.history]
    assert trainer.progress.best["ndcg@10"] == max(figures)
    assert validate(trainer.recommender(), holdout)["ndcg@10"] == pytest.approx(max(figures))


def test_refitting_leaves_the_first_model_as_it_was() -> None:
    log = cycle_log()
    train, holdout = leave_last_out(log)
    trainer = Trainer(train, GRU, replace(SMALL, epochs=2), seed=0, device=resolve_device("cpu"))
    with TrainingView("gru", 2, show=False, tensorboard=None, wandb=None) as view:
        trainer.run(holdout, deadline=None, checkpoint=None, view=view)
    first = trainer.recommender()
    before = {name: array.copy() for name, array in first.arrays().items()}
    second = trainer.refit(log, None)
    for name, array in first.arrays().items():
        np.testing.assert_array_equal(array, before[name])
    assert any((second.arrays()[name] != array).any() for name, array in before.items())


def test_a_log_without_a_transition_cannot_be_learned() -> None:
    with pytest.raises(ModelError, match="two events"):
        fit(Log.from_arrays([0, 1], [0, 1]), model=GRU, validation=None)


def test_ranks_count_ties_against_the_target_and_skip_what_was_seen() -> None:
    scores = np.array([[0.5, 0.5, 0.9, 0.1], [3.0, 2.0, 1.0, 0.0]], np.float32)
    seen = [np.array([2]), np.array([0, 2])]
    np.testing.assert_array_equal(target_ranks(scores.copy(), np.array([0, 2]), seen), [1, 1])
    np.testing.assert_array_equal(target_ranks(scores.copy(), np.array([0, 2]), None), [2, 2])


def test_validation_equals_a_plain_count() -> None:
    train, holdout = leave_last_out(cycle_log())
    model = fit(train, model=GRU, settings=replace(SMALL, epochs=1), device="cpu")
    gains = []
    for history, target in zip(holdout.histories, holdout.targets, strict=True):
        ids, _ = model.topk(model.encode([history]), 10, [np.setdiff1d(history, target)])
        place = np.flatnonzero(ids[0] == target)
        gains.append(1 / np.log2(place[0] + 2) if len(place) else 0.0)
    assert validate(model, holdout)["ndcg@10"] == pytest.approx(np.mean(gains), abs=1e-6)


def test_the_hash_of_a_log_tells_events_apart() -> None:
    log = cycle_log()
    assert log_hash(log) == log_hash(cycle_log())
    assert log_hash(log) != log_hash(cycle_log(seed=1))


def test_nearest_items_leave_the_item_itself_out() -> None:
    vectors = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], np.float32)
    np.testing.assert_array_equal(nearest_items(vectors, 1)[:, 0], [1, 0, 1])

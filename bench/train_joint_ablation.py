"""The joint chain beside its parts: as many epochs for each, the same events, the same questions, several seeds.

    python bench/train_joint_ablation.py [ml-100k] [online-retail] [yoochoose] [--seeds 3] [--epochs 30] [--no-test]

Parts: LSTM alone, attention alone (a Transformer of the chain's one layer), forecasts of demand alone. Temporal
protocol, items seen not excluded. Each network trains until its validation questions stop improving, at most so many
epochs, and then learns the validation events too. Prints one JSON line a network and seed (ndcg@10 of the best epoch on
validation and on the questions), and one a data set: means over the seeds with 95 % bootstrap intervals over users, and
of the chain's gain over each part. With --no-test the questions are not asked: for choices about the chain itself.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from tsrec_models.devices import resolve_device
from tsrec_models.evaluation.bootstrap import bootstrap_difference, bootstrap_means
from tsrec_models.evaluation.protocols import Split, last_share_of_time
from tsrec_models.evaluation.ranking import ask
from tsrec_models.evaluation.ranking_metrics import accuracy
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.joint import Joint
from tsrec_models.sequence.joint_demand import forecast_demand
from tsrec_models.sequence.lstm import LSTM
from tsrec_models.sequence.neural import NeuralRecommender
from tsrec_models.sequence.training import Trainer
from tsrec_models.sequence.training_holdout import Holdout
from tsrec_models.sequence.training_report import TrainingView
from tsrec_models.sequence.training_settings import Settings
from tsrec_models.sequence.transformer import Transformer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

MODELS: dict[str, type[NeuralRecommender]] = {"lstm": LSTM, "attention": Transformer, "joint": Joint}

#: Questions of the test asked at most, and of validation after each epoch.
QUESTIONS, VALIDATION = 4000, 2000


class DemandAlone:
    """Every user gets the items whose forecast demand is highest when they ask; the state is the time of asking."""

    state_width = 1

    def __init__(self, log: Log) -> None:
        self.n_items = log.n_items
        self.demand = forecast_demand(log)

    def encode(
        self, histories: list[NDArray[np.int64]], times: list[NDArray[np.float64]] | None = None
    ) -> NDArray[np.float32]:
        assert times is not None
        bins = [(part[-1] - self.demand.start_s) / self.demand.width_s for part in times]
        return np.array(bins, np.float32)[:, None]

    def scores(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        bins = np.clip(state[:, 0].astype(int), 0, len(self.demand.factors) - 1)
        scores: NDArray[np.float32] = self.demand.factors[bins] @ self.demand.loadings.T
        return scores


def load(name: str) -> Log:
    if name == "ml-100k":
        with gzip.open(DATA / "ml-100k" / "ml-100k.inter.gz") as file:
            rows = np.loadtxt(file, skiprows=1)
        return Log.from_ids(rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 3])
    if name == "yoochoose":
        parts = []
        for part in ("train_full", "test"):
            with gzip.open(DATA / "yoochoose" / f"yoochoose-clicks-100k_{part}.txt.gz") as file:
                parts.append(np.loadtxt(file, skiprows=1))
        rows = np.concatenate(parts)
        return Log.from_ids(rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 2])
    if name != "online-retail":
        raise SystemExit(f"no data set {name!r}: ml-100k, online-retail or yoochoose")
    table = pyarrow.parquet.read_table(DATA / "online-retail" / "online_retail_2010-2011.parquet")
    known = np.nan_to_num(table["CustomerID"].to_numpy()) > 0
    when = np.array(table["InvoiceDate"].to_pylist(), dtype="datetime64[s]").astype(np.float64)
    items = np.array(table["StockCode"].to_pylist())
    return Log.from_ids(table["CustomerID"].to_numpy()[known].astype(int), items[known], when[known])


def train(kind: type[NeuralRecommender], inner: Split, seed: int, epochs: int) -> tuple[Trainer, NeuralRecommender]:
    settings = replace(Settings.for_log(inner.train), layers=1, max_length=100, epochs=epochs)
    questions = next(inner.blocks(len(inner)))
    holdout = Holdout(questions.histories, questions.times, questions.targets, inner.exclude_seen)
    trainer = Trainer(inner.train, kind, settings, seed=seed, device=resolve_device("auto"))
    with TrainingView(kind.name, settings.epochs, show=False, tensorboard=None, wandb=None) as view:
        trainer.run(holdout, deadline=None, checkpoint=None, view=view)
    return trainer, trainer.recommender()


def say(data: str, model: str, **figures: object) -> None:
    print(json.dumps({"bench": "joint_ablation", "data": data, "model": model, **figures}), flush=True)


def ablate(data: str, seeds: int, epochs: int, test: bool) -> None:
    split = last_share_of_time(load(data)).sample(QUESTIONS, 0)
    inner = split.validation().sample(VALIDATION, 0)
    gains: dict[str, list[NDArray[np.float64]]] = {name: [] for name in ("demand", *MODELS)}  # [seeds][questions]
    if test:
        gains["demand"].append(accuracy(ask(DemandAlone(split.train), split).ranks)["ndcg@10"])  # type: ignore[arg-type]
    valid = float(accuracy(ask(DemandAlone(inner.train), inner).ranks)["ndcg@10"].mean())  # type: ignore[arg-type]
    say(data, "demand", validation=round(valid, 5))
    for seed in range(seeds):
        for name, kind in MODELS.items():
            started = time.process_time()
            trainer, model = train(kind, inner, seed, epochs)
            figures = {
                "validation": round(trainer.progress.best["ndcg@10"], 5),
                "best_epoch": trainer.progress.best_epoch,
                "epochs": trainer.progress.epoch,
            }
            if test:
                model = trainer.refit(split.train, None)
                gains[name].append(accuracy(ask(model, split).ranks)["ndcg@10"])
                figures["ndcg@10"] = round(float(gains[name][-1].mean()), 5)
            say(data, name, seed=seed, **figures, cpu_s=round(time.process_time() - started))
    if not test:
        return
    means = {name: np.mean(values, axis=0) for name, values in gains.items()}
    intervals = bootstrap_means(np.stack(list(means.values()), axis=1), split.users, seed=0)
    for (name, values), (low, high) in zip(means.items(), intervals, strict=True):
        line = {"ndcg@10": round(float(values.mean()), 5), "interval": [round(float(low), 5), round(float(high), 5)]}
        if name != "joint":
            difference = bootstrap_difference(means["joint"], values, split.users)
            line["joint_gains"] = [round(float(end), 5) for end in difference]
        say(data, name, seeds=len(gains[name]), questions=len(split), **line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=["ml-100k"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--no-test", action="store_true")
    arguments = parser.parse_args()
    for data in arguments.data:
        ablate(data, arguments.seeds, arguments.epochs, not arguments.no_test)


if __name__ == "__main__":
    main()

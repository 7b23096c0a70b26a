"""The joint chain beside its parts: as many epochs for each, the same events, the same questions, several seeds.

    python bench/train_joint_ablation.py [ml-100k] [online-retail] [online-retail-autumn] [yoochoose] [ml-1m]
                                         [--seeds 3] [--epochs 30] [--exclude-seen] [--no-test] [--keep FOLDER]
                                         [--networks lstm,attention,demand,attention-2,joint]

Parts: LSTM alone, attention alone (a Transformer of the chain's one layer), demand alone (the market's and the user's
own, weighed by the same training); as a control, a Transformer of two layers, which has about as many parameters as the
chain; and the chain with one part taken out (`joint-without-lstm`, `-attention`, `-demand`, `-own-demand`). Temporal
protocol, items seen not excluded, or with --exclude-seen from every list, as where nobody takes one twice;
MovieLens-1M, which has no times, by the last event of each user, without items seen. --keep wants a folder for each.
Each network trains until its validation questions stop improving, at most so many epochs, and then learns the
validation events too. Prints one JSON line a network and seed (ndcg@10 of the best epoch on validation and on the
questions, parameters, processor time), and one a data set: means over the seeds with 95 % bootstrap intervals over
users, and of the chain's gain over each part. With --no-test the questions are not asked: for choices about the chain
itself. --keep writes each network's answers into a folder and goes on from those, and from the epochs, that are there.
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
from joint_parts import DemandAlone, WithoutAttention, WithoutDemand, WithoutLSTM, WithoutOwnDemand
from numpy.typing import NDArray

from tsrec_models.devices import resolve_device
from tsrec_models.evaluation.bootstrap import bootstrap_difference, bootstrap_means
from tsrec_models.evaluation.protocols import Split, last_share_of_time, leave_one_out
from tsrec_models.evaluation.ranking import ask
from tsrec_models.evaluation.ranking_metrics import accuracy
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.joint import Joint
from tsrec_models.sequence.lstm import LSTM
from tsrec_models.sequence.neural import NeuralRecommender
from tsrec_models.sequence.training import Trainer
from tsrec_models.sequence.training_holdout import Holdout
from tsrec_models.sequence.training_report import TrainingView
from tsrec_models.sequence.training_settings import Settings
from tsrec_models.sequence.transformer import Transformer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

#: Networks and their layers.
MODELS: dict[str, tuple[type[NeuralRecommender], int]] = {
    "lstm": (LSTM, 1),
    "attention": (Transformer, 1),
    "demand": (DemandAlone, 1),
    "attention-2": (Transformer, 2),
    "joint": (Joint, 1),
    "joint-without-lstm": (WithoutLSTM, 1),
    "joint-without-lstm-2": (WithoutLSTM, 2),
    "joint-without-attention": (WithoutAttention, 1),
    "joint-without-demand": (WithoutDemand, 1),
    "joint-without-own-demand": (WithoutOwnDemand, 1),
}

#: `online-retail-autumn` begins on 1 October 2011: its last ten weeks, a quarter of the time of the whole year's run.
AUTUMN_S = float(np.datetime64("2011-10-01", "s").astype(np.int64))

#: Questions of the test asked at most, and of validation after each epoch.
QUESTIONS, VALIDATION = 4000, 2000


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
    if name == "ml-1m":
        with gzip.open(DATA / "ml-1m" / "ml-1m.txt.gz") as file:
            rows = np.loadtxt(file, dtype=np.int64)
        return Log.from_ids(rows[:, 0], rows[:, 1], None)
    if name not in ("online-retail", "online-retail-autumn"):
        raise SystemExit(f"no data set {name!r}: ml-100k, online-retail, online-retail-autumn, yoochoose or ml-1m")
    table = pyarrow.parquet.read_table(DATA / "online-retail" / "online_retail_2010-2011.parquet")
    known = np.nan_to_num(table["CustomerID"].to_numpy()) > 0
    when = np.array(table["InvoiceDate"].to_pylist(), dtype="datetime64[s]").astype(np.float64)
    if name == "online-retail-autumn":
        known &= when >= AUTUMN_S
    items = np.array(table["StockCode"].to_pylist())
    return Log.from_ids(table["CustomerID"].to_numpy()[known].astype(int), items[known], when[known])


def train(name: str, inner: Split, seed: int, epochs: int, checkpoint: Path | None) -> Trainer:
    kind, layers = MODELS[name]
    settings = replace(Settings.for_log(inner.train), layers=layers, max_length=100, epochs=epochs)
    questions = next(inner.blocks(len(inner)))
    holdout = Holdout(questions.histories, questions.times, questions.targets, inner.exclude_seen)
    trainer = Trainer(inner.train, kind, settings, seed=seed, device=resolve_device("auto"))
    with TrainingView(kind.name, settings.epochs, show=False, tensorboard=None, wandb=None) as view:
        trainer.run(holdout, deadline=None, checkpoint=checkpoint, view=view)
    return trainer


def say(data: str, model: str, **figures: object) -> None:
    print(json.dumps({"bench": "joint_ablation", "data": data, "model": model, **figures}), flush=True)


def gains_of(
    data: str, name: str, seed: int, split: Split, inner: Split, arguments: argparse.Namespace
) -> NDArray[np.float64]:
    """ndcg@10 of each question [questions] (of no question with --no-test), by one network of one seed."""
    kept = None if arguments.keep is None else arguments.keep / f"{data}-{name}-{seed}.npy"
    if kept is not None and kept.exists():
        return np.asarray(np.load(kept), np.float64)
    started = time.process_time()
    checkpoint = None if kept is None else kept.with_suffix(".training")
    trainer = train(name, inner, seed, arguments.epochs, checkpoint)
    figures = {
        "validation": round(trainer.progress.best["ndcg@10"], 5),
        "best_epoch": trainer.progress.best_epoch,
        "epochs": trainer.progress.epoch,
        "parameters": sum(part.numel() for part in trainer.network.parameters() if part.requires_grad),
    }
    gains = np.zeros(0)
    if not arguments.no_test:
        gains = accuracy(ask(trainer.refit(split.train, None), split).ranks)["ndcg@10"]
        figures["ndcg@10"] = round(float(gains.mean()), 5)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, gains)
    say(data, name, seed=seed, **figures, cpu_s=round(time.process_time() - started))
    return gains


def ablate(data: str, arguments: argparse.Namespace) -> None:
    log = load(data)
    whole = last_share_of_time(log, exclude_seen=arguments.exclude_seen) if log.has_times else leave_one_out(log)
    split = whole.sample(QUESTIONS, 0)
    inner = split.validation().sample(VALIDATION, 0)
    names = arguments.networks.split(",")
    gains: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}  # [seeds][questions]
    for seed in range(arguments.seeds):
        for name in names:
            gains[name].append(gains_of(data, name, seed, split, inner, arguments))
    if arguments.no_test:
        return
    means = {name: np.mean(values, axis=0) for name, values in gains.items()}
    intervals = bootstrap_means(np.stack(list(means.values()), axis=1), split.users, seed=0)
    for (name, values), (low, high) in zip(means.items(), intervals, strict=True):
        line = {"ndcg@10": round(float(values.mean()), 5), "interval": [round(float(low), 5), round(float(high), 5)]}
        if name != "joint" and "joint" in means:
            difference = bootstrap_difference(means["joint"], values, split.users)
            line["joint_gains"] = [round(float(end), 5) for end in difference]
        say(data, name, seeds=len(gains[name]), questions=len(split), **line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=["ml-100k"])
    parser.add_argument("--networks", default="lstm,attention,demand,attention-2,joint")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--exclude-seen", action="store_true")
    parser.add_argument("--no-test", action="store_true")
    parser.add_argument("--keep", type=Path, default=None)
    arguments = parser.parse_args()
    if unknown := set(arguments.networks.split(",")) - set(MODELS):
        parser.error(f"--networks: {', '.join(sorted(unknown))} is not one of {', '.join(MODELS)}")
    for data in arguments.data:
        ablate(data, arguments)


if __name__ == "__main__":
    main()

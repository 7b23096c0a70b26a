"""The joint chain beside its parts, each trained for the same time on the same events, asked the same questions.

    python bench/train_joint_ablation.py MINUTES [ml-100k] [online-retail]

Parts: LSTM alone, attention alone (a Transformer of the chain's one layer), forecasts of demand alone. Temporal
protocol, items seen not excluded. Prints one JSON line a model: NDCG at 10 with a 95 % bootstrap interval over users.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from tsrec_models.devices import resolve_device
from tsrec_models.evaluation.protocols import Split, last_share_of_time
from tsrec_models.evaluation.ranking import ask, report
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
QUESTIONS, VALIDATION = 4000, 1000


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
    table = pyarrow.parquet.read_table(DATA / "online-retail" / "online_retail_2010-2011.parquet")
    known = np.nan_to_num(table["CustomerID"].to_numpy()) > 0
    when = np.array(table["InvoiceDate"].to_pylist(), dtype="datetime64[s]").astype(np.float64)
    items = np.array(table["StockCode"].to_pylist())
    return Log.from_ids(table["CustomerID"].to_numpy()[known].astype(int), items[known], when[known])


def train(kind: type[NeuralRecommender], split: Split, minutes: float) -> tuple[NeuralRecommender, int]:
    inner = split.validation().sample(VALIDATION, 0)
    settings = Settings(**(Settings.for_log(inner.train).as_dict() | {"layers": 1, "max_length": 100}))
    questions = next(inner.blocks(len(inner)))
    holdout = Holdout(questions.histories, questions.times, questions.targets, inner.exclude_seen)
    trainer = Trainer(inner.train, kind, settings, seed=0, device=resolve_device("auto"))
    with TrainingView(kind.name, settings.epochs, show=False, tensorboard=None, wandb=None) as view:
        trainer.run(holdout, deadline=time.monotonic() + 60.0 * minutes, checkpoint=None, view=view)
    return trainer.refit(split.train, None), trainer.progress.best_epoch


def main() -> None:
    minutes = float(sys.argv[1])
    for name in sys.argv[2:] or ["ml-100k"]:
        split = last_share_of_time(load(name)).sample(QUESTIONS, 0)
        figures = report(ask(DemandAlone(split.train), split), split, seed=0)  # type: ignore[arg-type]
        print(json.dumps({"bench": "joint_ablation", "data": name, "model": "demand", **figures}), flush=True)
        for label, kind in MODELS.items():
            model, epochs = train(kind, split, minutes)
            figures = report(ask(model, split), split, seed=0)
            line = {"bench": "joint_ablation", "data": name, "model": label, "epochs": epochs, **figures}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()

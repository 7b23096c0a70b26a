"""Items nobody took yet: are they found by their features?

    python bench/cold_items.py [--data ../shared/data] [--minutes 20] [--set ml-100k|online-retail]
                               [--model lru|gru|lstm|transformer|ppmi]

A tenth of the items, drawn at random, is taken out of the log before anything is learnt. Then, for each time a user
took one of these, the cold items are ranked by the user's history before: by the model with vectors from features, by
the popularity of items of the same category or words (a ridge on log counts), at random (its expected value), and by
their own true counts, which nobody knows of a new item. Networks train until their validation stops improving or the
minutes are over. `ppmi` is the start of training alone (vectors of co-occurrence, a user is the mean of the last ten
items): no network. Prints a JSON line, intervals (95 %) by bootstrap over users.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tsrec_models.artifacts import KINDS
from tsrec_models.evaluation.bootstrap import bootstrap_difference, bootstrap_means
from tsrec_models.evaluation.ranking_neural import NEURAL
from tsrec_models.preparation.log import Log
from tsrec_models.preparation.reading import read_log
from tsrec_models.sequence.content import ContentMap, item_content
from tsrec_models.sequence.init import ppmi_vectors

COLD, QUESTIONS = 0.1, 4000
DEMO = Path(__file__).resolve().parents[1] / "stream_app" / "demo" / "data"

Features = tuple[list[str | None], list[str | None], list[float | None]]


def ml_100k(data: Path) -> tuple[Log, Features]:
    with gzip.open(data / "ml-100k" / "ml-100k.inter.gz", "rt") as lines:
        rows = [line.split("\t") for line in lines][1:]
    log = Log.from_ids([r[0] for r in rows], [r[1] for r in rows], [float(r[3]) for r in rows])
    with (data / "ml-100k" / "ml-100k.item").open() as lines:
        known = {r[0]: r for r in csv.reader(lines, delimiter="\t")}
    found = [known.get(str(item), ["", "", "", ""]) for item in log.item_ids]
    # A film has several genres; its decade stands beside them as words do.
    titles: list[str | None] = [f"{r[3]} {r[2][:3]}0s" for r in found]
    return log, (titles, [r[3] or None for r in found], [None] * len(found))


def online_retail(_: Path) -> tuple[Log, Features]:
    log = read_log(DEMO / "purchases.parquet").log
    known = {row["item_id"]: row for row in pq.read_table(DEMO / "items.parquet").to_pylist()}
    found = [known.get(str(item), {}) for item in log.item_ids]
    return log, ([r.get("title") for r in found], [None] * len(found), [r.get("price") for r in found])


class Mean:
    """A user is the mean of the last ten items' vectors."""

    def __init__(self, log: Log) -> None:
        self.vectors = ppmi_vectors(log, 64, decay=0.7, window=8, seed=0)
        self.vectors = np.hstack([self.vectors, np.zeros((log.n_items, 1), np.float32)]).astype(np.float32)

    def item_vectors(self) -> NDArray[np.float32]:
        return self.vectors

    def encode(self, histories: list[NDArray[np.int64]], times: Any) -> NDArray[np.float32]:
        return np.stack([self.vectors[history[-10:]].mean(axis=0) for history in histories])

    def queries(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        return state


def trained(train: Log, kind: str, seed: int, minutes: float) -> tuple[Any, dict[str, Any]]:
    """The model, and how its training went."""
    if kind == "ppmi":
        return Mean(train), {}
    # torch loads only for those who train
    from tsrec_models.sequence.training import fit

    module, name = KINDS[kind]
    started = time.process_time()
    model = fit(train, model=getattr(importlib.import_module(module), name), seed=seed, max_minutes=minutes,
                device="cpu")  # fmt: skip
    figures = {name: round(value, 4) for name, value in model.metrics.items()}
    return model, {"training": figures, "cpu_s": round(time.process_time() - started)}


@dataclass(frozen=True)
class Occasions:
    """Times at which a user took a cold item: what came before, and which of the cold items it was."""

    users: NDArray[np.int64]
    histories: list[NDArray[np.int64]]
    times: list[NDArray[np.float64]]
    targets: NDArray[np.int64]  # among the cold items


def occasions(log: Log, cold: NDArray[np.bool_], draw: np.random.Generator) -> Occasions:
    place = np.cumsum(cold) - 1
    users, histories, times, targets = [], [], [], []
    for row in draw.permutation(np.flatnonzero(cold[log.items])).tolist():
        user = log.users[row]
        before = slice(log.indptr[user], row)
        keep = ~cold[log.items[before]]
        if keep.sum() < 3:
            continue
        users.append(user)
        histories.append(log.items[before][keep][-50:])
        times.append(log.times[before][keep][-50:])
        targets.append(place[log.items[row]])
        if len(targets) == QUESTIONS:
            break
    return Occasions(np.array(users), histories, times, np.array(targets))


def found(scores: NDArray[Any], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Whether each answer is among the best ten, and its reciprocal rank: [questions, 2]; ties share their places."""
    own = np.take_along_axis(scores, targets[:, None], 1)
    above = (scores > own).sum(axis=1) + 0.5 * ((scores == own).sum(axis=1) - 1)
    return np.stack([above < 10, 1 / (above + 1)], axis=1).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--set", dest="name", choices=["ml-100k", "online-retail"], default="ml-100k")
    parser.add_argument("--model", choices=["ppmi", *NEURAL], default="lru")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    log, told = {"ml-100k": ml_100k, "online-retail": online_retail}[args.name](args.data)
    draw = np.random.default_rng(args.seed)
    cold = np.zeros(log.n_items, np.bool_)
    cold[draw.choice(log.n_items, int(COLD * log.n_items), replace=False)] = True
    train = log.select(~cold[log.items])
    model, training = trained(train, args.model, args.seed, args.minutes)
    warm = np.unique(train.items)
    features = item_content(*told)
    content = ContentMap.fit(features[warm], model.item_vectors()[warm])
    vectors = content.vectors(features[np.flatnonzero(cold)])
    counts = np.bincount(train.items, minlength=log.n_items)[warm]
    by_words = ContentMap.fit(features[warm], np.log1p(counts).astype(np.float32)[:, None])
    popular = by_words.vectors(features[np.flatnonzero(cold)])[:, 0]
    asked = occasions(log, cold, draw)
    true = np.bincount(log.items[cold[log.items]], minlength=log.n_items)[cold]

    n, flat = int(cold.sum()), np.ones((len(asked.targets), 1))
    results = {
        "features": found(model.queries(model.encode(asked.histories, asked.times)) @ vectors.T, asked.targets),
        "popularity_by_words": found(flat * popular, asked.targets),
        "true_counts": found(flat * true, asked.targets),
    }
    line: dict[str, Any] = {"bench": "cold_items", "set": args.name, "model": args.model, "seed": args.seed, "cold": n}
    line |= {"questions": len(asked.targets), "explained": round(content.explained, 3)} | training
    for name, values in results.items():
        line[name] = {"recall@10": round(float(values[:, 0].mean()), 4), "mrr": round(float(values[:, 1].mean()), 4)}
        line[name]["interval"] = bootstrap_means(values, asked.users)[0].round(4).tolist()
    gain = bootstrap_difference(results["features"][:, 0], results["popularity_by_words"][:, 0], asked.users)
    line |= {"gain_over_popularity": [round(end, 4) for end in gain], "random_recall@10": round(10 / n, 4)}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()

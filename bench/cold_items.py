"""Items nobody took yet: are they found by their features?

    python bench/cold_items.py [--data ../shared/data] [--minutes 3] [--set ml-100k|online-retail] [--model gru|ppmi]

A tenth of the items, drawn at random, is taken out of the log before anything is learnt. Then, for each time a user
took one of these, the cold items are ranked by the user's history before: by the model with vectors from features, by
the popularity of items of the same category or words (a ridge on log counts), at random (its expected value), and by
their own true counts, which nobody knows of a new item. `ppmi` is the start of training alone (vectors of
co-occurrence, a user is the mean of the last ten items): no network. Prints a JSON line.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--set", dest="name", choices=["ml-100k", "online-retail"], default="ml-100k")
    parser.add_argument("--model", choices=["gru", "ppmi"], default="gru")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    log, told = {"ml-100k": ml_100k, "online-retail": online_retail}[args.name](args.data)
    draw = np.random.default_rng(args.seed)
    cold = np.zeros(log.n_items, np.bool_)
    cold[draw.choice(log.n_items, int(COLD * log.n_items), replace=False)] = True
    train = log.select(~cold[log.items])
    model: Any
    if args.model == "ppmi":
        model = Mean(train)
    else:
        from tsrec_models.sequence.gru import GRU
        from tsrec_models.sequence.training import fit

        model = fit(train, model=GRU, seed=args.seed, max_minutes=args.minutes, device="cpu")
    warm = np.unique(train.items)
    features = item_content(*told)
    content = ContentMap.fit(features[warm], model.item_vectors()[warm])
    vectors = content.vectors(features[np.flatnonzero(cold)])
    counts = np.bincount(train.items, minlength=log.n_items)[warm]
    by_words = ContentMap.fit(features[warm], np.log1p(counts).astype(np.float32)[:, None])
    popular = by_words.vectors(features[np.flatnonzero(cold)])[:, 0]
    place = np.cumsum(cold) - 1
    histories, times, targets = [], [], []
    for row in draw.permutation(np.flatnonzero(cold[log.items])).tolist():
        user = log.users[row]
        before = slice(log.indptr[user], row)
        keep = ~cold[log.items[before]]
        if keep.sum() < 3:
            continue
        histories.append(log.items[before][keep][-50:])
        times.append(log.times[before][keep][-50:])
        targets.append(place[log.items[row]])
        if len(targets) == QUESTIONS:
            break
    target = np.array(targets)
    scores = model.queries(model.encode(histories, times)) @ vectors.T
    n = int(cold.sum())
    true = np.bincount(log.items[cold[log.items]], minlength=log.n_items)[cold]

    def found(scores: NDArray[Any]) -> dict[str, float]:
        own = np.take_along_axis(scores, target[:, None], 1)
        above = (scores > own).sum(axis=1) + 0.5 * ((scores == own).sum(axis=1) - 1)
        share = above < 10
        return {"recall@10": round(float(share.mean()), 4), "mrr": round(float((1 / (above + 1)).mean()), 4),
                "half_width": round(float(1.96 * share.std() / np.sqrt(len(share))), 4)}  # fmt: skip

    flat = np.ones((len(target), 1))
    line: dict[str, Any] = {"bench": "cold_items", "set": args.name, "model": args.model, "cold": n}
    line |= {"questions": len(target), "explained": round(content.explained, 3), "features": found(scores)}
    line |= {"popularity_by_words": found(flat * popular), "random_recall@10": round(10 / n, 4)}
    line["true_counts"] = found(flat * true)
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()

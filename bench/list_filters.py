"""What filters and orders do to lists, on the demo's purchases with the model it ships; and whether reasons are true.

    python bench/list_filters.py [--users 1500]

Rules learn each user's purchases but the last; lists of ten are made for that last one, items bought before left out.
For each setting: hit rate, NDCG, how many different items are shown at all, the share of places that go to the half of
the items sold least (the tail makes a fifth of sales), likeness of the items of a list (mean cosine), list length.
Then the deletion test: how far the log-share of the item the model names first falls when the 1, 2, 3 past items that
leave-one-out names are deleted, against as many at random. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from stream_app.agents.profiles import RECENT
from stream_app.composing import Candidates, Order, Rules, compose
from stream_app.list_making import CANDIDATES
from stream_app.listing import serving_rules
from tsrec_models.artifacts import load_artifact
from tsrec_models.preparation.log import Log
from tsrec_models.preparation.reading import read_log
from tsrec_models.sequence.filters_order import popularity_classes
from tsrec_models.sequence.reasons import deletion_test, leave_one_out
from tsrec_models.sequence.rules import EMPTY
from tsrec_models.sequence.rules_recommender import RulesRecommender
from tsrec_models.sequence.training_holdout import leave_last_out

DEMO = Path(__file__).resolve().parents[1] / "stream_app" / "demo" / "data"

SETTINGS: list[dict[str, float]] = [
    {},
    *({"minimum_score": value} for value in (0.01, 0.02, 0.04)),
    *({"diversity": value} for value in (0.1, 0.3, 0.5)),
    *({"calibration": value} for value in (0.1, 0.3, 0.5)),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1500)
    parser.add_argument("--cases", type=int, default=150)
    args = parser.parse_args()
    artifact = load_artifact(DEMO / "model", device="cpu")
    read = read_log(DEMO / "purchases.parquet").log
    # The log in the model's numbering; what it does not know comes after.
    names = {name: i for i, name in enumerate(artifact.item_ids)}
    numbers = np.array([names.setdefault(str(name), len(names)) for name in read.item_ids])
    log = Log.from_arrays(read.users, numbers[read.items], read.times, n_items=len(names))
    known = artifact.model.n_items
    train, holdout = leave_last_out(log)
    holdout = holdout.sample(args.users, 0)
    rules = RulesRecommender.fit(train, serving_rules(train)).rules
    histories = [history[-RECENT:] for history in holdout.histories]
    assert holdout.times is not None
    times = [stamps[-RECENT:] for stamps in holdout.times]
    kept = [history < known for history in histories]
    state = artifact.model.encode([h[k] for h, k in zip(histories, kept, strict=True)],
                                  [t[k] for t, k in zip(times, kept, strict=True)])  # fmt: skip
    seen = np.full((len(histories), RECENT), EMPTY, np.int64)
    for row, history in zip(seen, histories, strict=True):
        row[: len(history)] = history[::-1]
    counts = np.bincount(train.items, minlength=log.n_items)
    popular = np.argsort(-counts, kind="stable")[:200]
    candidates = Candidates(
        artifact.model.topk(state, CANDIDATES, [row[row >= 0] for row in seen]),
        rules.topk(seen[:, : rules.settings.window], CANDIDATES, now=np.array([stamps[-1] for stamps in times])),
        (popular, counts[popular].astype(np.float32)),
    )
    weight = float(artifact.manifest.settings.get("neural_weight", 0.5))
    vectors = np.zeros((log.n_items, artifact.model.item_vectors().shape[1] - 1), np.float32)
    vectors[:known] = artifact.model.item_vectors()[:, :-1]
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    classes = popularity_classes(counts.astype(float))
    for setting in SETTINGS:
        order = Order(None, classes, seen) if "calibration" in setting else Order(vectors)
        lists = compose(
            candidates, Rules(10, weight, **setting), seen=seen, allowed=np.ones(log.n_items, np.bool_),
            category=np.full(log.n_items, -1, np.int32), order=order if "minimum_score" not in setting else None,
        )  # fmt: skip
        hit = lists.items == holdout.targets[:, None]
        shown = lists.items[lists.items >= 0]
        pairs = unit[np.maximum(lists.items, 0)]
        likeness = np.einsum("nid,njd->nij", pairs, pairs)[:, *np.triu_indices(10, 1)]
        both = (lists.items >= 0)[:, np.triu_indices(10, 1)[0]] & (lists.items >= 0)[:, np.triu_indices(10, 1)[1]]
        rate = hit.any(axis=1)
        print(json.dumps({
            "bench": "list_filters", **setting, "users": len(rate), "hr@10": round(float(rate.mean()), 4),
            "half_width": round(float(1.96 * rate.std() / np.sqrt(len(rate))), 4),
            "ndcg@10": round(float((hit / np.log2(np.arange(10) + 2)).sum(axis=1).mean()), 4),
            "items_shown": len(np.unique(shown)), "tail_share": round(float((classes[shown] == 2).mean()), 3),
            "likeness": round(float(likeness[both].mean()), 3), "length": round(len(shown) / len(rate), 2),
            "hits_per_item_shown": round(float(rate.sum() / len(shown)), 4),
        }), flush=True)  # fmt: skip
    draw = np.random.default_rng(1)
    cases = []
    for row in draw.permutation(len(histories))[: args.cases].tolist():
        history = histories[row][kept[row]][-20:]
        if len(history) < 5:
            continue
        first = artifact.model.topk(artifact.model.encode([history]), 1, [history])[0][0]
        cases.append((history, int(first[0]), leave_one_out(artifact.model, history, first)[0]))
    result = deletion_test(artifact.model, cases)
    print(json.dumps({
        "bench": "deletion", "model": artifact.manifest.version, "cases": result.cases, "holds": result.holds,
        "fall_named": result.named.round(3).tolist(), "fall_random": result.random.round(3).tolist(),
    }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

"""Numenta benchmark on the groups at hand, and the detector's speed. Prints JSON lines.

python bench/nab.py [--data ../shared/data/nab]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tsrec_models.evaluation.anomaly import evaluate, read_corpus
from tsrec_models.evaluation.nab import PROFILES, best_threshold
from tsrec_models.risk.anomaly import AnomalyDetector
from tsrec_models.risk.changepoint import ChangePoints


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data/nab"))
    folder = parser.parse_args().data
    figures, files = evaluate(read_corpus(folder, folder / "labels" / "combined_windows.json"))
    print(json.dumps({"bench": "nab", **asdict(figures)}))
    for group in sorted({file.name.partition("/")[0] for file in files}):
        members = [file for file in files if file.name.startswith(group + "/")]
        if any(file.windows for file in members):
            score, threshold = best_threshold(members, PROFILES["standard"])
            print(json.dumps({"bench": "nab", "group": group, "standard": round(score, 1), "threshold": threshold}))
    rng = np.random.default_rng(1)
    values = rng.standard_normal((200, 1000))
    for seasons in (True, False):
        bins = {} if seasons else {"day_bins": 0, "week_bins": 0}
        detector = AnomalyDetector(1000, **bins)
        detector.update(values[0], np.zeros(1000))
        begin = time.perf_counter()
        for t in range(1, 200):
            detector.update(values[t], np.full(1000, 60.0 * t))
        ns = 1e9 * (time.perf_counter() - begin) / (199 * 1000)
        print(json.dumps({"bench": "detector", "seasons": seasons, "series": 1000, "ns_per_value": round(ns)}))
    changes = ChangePoints(1000)
    changes.update(values[0])
    begin = time.perf_counter()
    for t in range(1, 200):
        changes.update(values[t])
    ns = 1e9 * (time.perf_counter() - begin) / (199 * 1000)
    print(json.dumps({"bench": "changepoint", "series": 1000, "ns_per_value": round(ns)}))


if __name__ == "__main__":
    main()

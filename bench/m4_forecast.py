"""M4 hourly and weekly: MASE, sMAPE, coverage and time of our automatic ARIMA, statsforecast's AutoARIMA beside it.

    python bench/m4_forecast.py Weekly
    python bench/m4_forecast.py Hourly --series 40 --peer /path/to/venv/bin/python

statsforecast needs other versions of what this project pins, so it runs under an interpreter of its own:

    python3.11 -m venv /path/to/venv && /path/to/venv/bin/pip install statsforecast

`--series N` takes N series evenly spread over the file (0: all); both take the same ones, one thread, one series after
the other, compilation paid before the clock starts. Prints a JSON line for each and one with the ratios.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "m4"
PERIOD = {"Hourly": 24, "Weekly": 1}  # as in the competition
HORIZON = {"Hourly": 48, "Weekly": 13}
Z90 = 1.6448536269514722


def read(path: Path) -> list[np.ndarray]:
    """Series of an M4 file, one a line."""
    with gzip.open(path, "rt") as lines:
        rows = csv.reader(lines)
        next(rows)
        return [np.array([float(v) for v in row[1:] if v not in ("", "NA")]) for row in rows]


def chosen(group: str, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Past and future of the series asked for."""
    pairs = list(zip(read(DATA / f"{group}-train.csv.gz"), read(DATA / f"{group}-test.csv.gz"), strict=True))
    if count:
        pairs = [pairs[i] for i in np.unique(np.linspace(0, len(pairs) - 1, count).astype(int))]
    return pairs


def score(pairs: list[tuple[np.ndarray, np.ndarray]], means: list, halves: list, period: int) -> dict[str, float]:
    """Averages over series."""
    mase, smape, covered = [], [], []
    for (past, future), mean, half in zip(pairs, means, halves, strict=True):
        error = np.abs(future - mean)
        mase.append(error.mean() / np.abs(past[period:] - past[:-period]).mean())
        smape.append((200 * error / (np.abs(future) + np.abs(mean))).mean())
        covered.append((error <= half).mean())
    return {"mase": float(np.mean(mase)), "smape": float(np.mean(smape)), "model_coverage": float(np.mean(covered))}


def ours(pairs: list[tuple[np.ndarray, np.ndarray]], group: str) -> dict[str, object]:
    from tsrec_models.arima import estimate

    period, h = PERIOD[group], HORIZON[group]

    def run(past: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bank = estimate([past], period=period).bank()
        bank.filter(past[:, None])
        forecast = bank.forecast(h)
        return forecast.mean[0], Z90 * np.sqrt(forecast.variance[0])

    run(pairs[0][0][:150])
    start = time.process_time()
    results = [run(past) for past, _ in pairs]
    seconds = time.process_time() - start
    return {
        "model": "tsrec",
        **score(pairs, [r[0] for r in results], [r[1] for r in results], period),
        "cpu_s": seconds,
    }


def peer(pairs: list[tuple[np.ndarray, np.ndarray]], group: str) -> dict[str, object]:
    from statsforecast.models import AutoARIMA

    period, h = PERIOD[group], HORIZON[group]

    def run(past: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        forecast = AutoARIMA(season_length=period).fit(past).predict(h, level=[90])
        return forecast["mean"], forecast["hi-90"] - forecast["mean"]

    run(pairs[0][0][:150])
    start = time.process_time()
    results = [run(past) for past, _ in pairs]
    seconds = time.process_time() - start
    return {
        "model": "statsforecast AutoARIMA",
        **score(pairs, [r[0] for r in results], [r[1] for r in results], period),
        "cpu_s": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("group", choices=list(PERIOD))
    parser.add_argument("--series", type=int, default=0, help="0: all")
    parser.add_argument("--peer", help="interpreter that has statsforecast")
    parser.add_argument("--as-peer", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    pairs = chosen(args.group, args.series)
    about = {"group": args.group, "series": len(pairs)}
    if args.as_peer:
        print(json.dumps({**about, **peer(pairs, args.group)}))
        return
    mine = {**about, **ours(pairs, args.group)}
    print(json.dumps(mine), flush=True)
    if args.peer:
        command = [args.peer, __file__, args.group, "--series", str(args.series), "--as-peer"]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        theirs = json.loads(output.splitlines()[-1])
        print(json.dumps(theirs))
        ratios = {"mase_ratio": mine["mase"] / theirs["mase"], "times_as_fast": theirs["cpu_s"] / mine["cpu_s"]}
        print(json.dumps({**about, **ratios}))


if __name__ == "__main__":
    sys.exit(main())

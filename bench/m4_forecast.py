"""M4 hourly and weekly: MASE, sMAPE, coverage and time of our automatic ARIMA, statsforecast's AutoARIMA beside it.

    python bench/m4_forecast.py Weekly
    python bench/m4_forecast.py Hourly --peer /path/to/venv/bin/python --results hourly.jsonl --until 03:00

statsforecast needs other versions of what this project pins, so it runs under an interpreter of its own:

    python3.11 -m venv /path/to/venv && /path/to/venv/bin/pip install statsforecast

Series come in a random order of a fixed seed, so that the first N of them (`--series N`, or what was done by `--until`)
are a fair sample. Each is forecast by ours and then by the peer's before the next one begins, one thread, compilation
paid before; a line a series goes to `--results`, and what stands there is not computed again. Prints a JSON line a
model, and one with the ratio of mean MASE, its 95 % interval (bootstrap over series) and how many times as fast.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "m4"
PERIOD = {"Hourly": 24, "Weekly": 1}  # as in the competition
HORIZON = {"Hourly": 48, "Weekly": 13}
Z90 = 1.6448536269514722
ORDER_SEED = 20181  # of the order in which series are taken
RESAMPLES = 10_000

Forecast = tuple[np.ndarray, np.ndarray]  # mean and half of the 90 % interval, one a step
Pair = tuple[np.ndarray, np.ndarray]  # past and future


def read(path: Path) -> list[np.ndarray]:
    """Series of an M4 file, one a line."""
    with gzip.open(path, "rt") as lines:
        rows = csv.reader(lines)
        next(rows)
        return [np.array([float(v) for v in row[1:] if v not in ("", "NA")]) for row in rows]


def read_pairs(group: str) -> list[Pair]:
    return list(zip(read(DATA / f"{group}-train.csv.gz"), read(DATA / f"{group}-test.csv.gz"), strict=True))


def ours(group: str) -> Callable[[np.ndarray], Forecast]:
    from tsrec_models.arima import estimate

    def run(past: np.ndarray) -> Forecast:
        bank = estimate([past], period=PERIOD[group]).bank()
        bank.filter(past[:, None])
        forecast = bank.forecast(HORIZON[group])
        return forecast.mean[0], Z90 * np.sqrt(forecast.variance[0])

    return run


def theirs(group: str) -> Callable[[np.ndarray], Forecast]:
    from statsforecast.models import AutoARIMA

    def run(past: np.ndarray) -> Forecast:
        forecast = AutoARIMA(season_length=PERIOD[group]).fit(past).predict(HORIZON[group], level=[90])
        return forecast["mean"], forecast["hi-90"] - forecast["mean"]

    return run


def score(pair: Pair, run: Callable[[np.ndarray], Forecast], period: int) -> dict[str, float]:
    """One series forecast and judged."""
    past, future = pair
    start = time.process_time()
    mean, half = run(past)
    seconds = time.process_time() - start
    error = np.abs(future - mean)
    return {
        "mase": float(error.mean() / np.abs(past[period:] - past[:-period]).mean()),
        "smape": float((200 * error / (np.abs(future) + np.abs(mean))).mean()),
        "model_coverage": float((error <= half).mean()),
        "cpu_s": seconds,
    }


def serve_peer(group: str, pairs: list[Pair]) -> None:
    """The peer's side: a number of a series a line in, its score a line out."""
    run = theirs(group)
    run(pairs[0][0][:150])
    for line in sys.stdin:
        print(json.dumps(score(pairs[int(line)], run, PERIOD[group])), flush=True)


@contextmanager
def peer_of(interpreter: str, group: str) -> Iterator[Callable[[int], dict[str, float]]]:
    command = [interpreter, __file__, group, "--as-peer"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout

        def ask(series: int) -> dict[str, float]:
            process.stdin.write(f"{series}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:
                raise RuntimeError(f"the peer ended at series {series}")
            return json.loads(answer)

        yield ask
        process.stdin.close()


def summary(lines: list[dict], model: str) -> dict[str, float | str]:
    means = {
        name: float(np.mean([line[model][name] for line in lines])) for name in ("mase", "smape", "model_coverage")
    }
    return {"model": model, "series": len(lines), **means, "cpu_s": sum(line[model]["cpu_s"] for line in lines)}


def comparison(lines: list[dict]) -> dict[str, object]:
    mine, other = (np.array([line[model]["mase"] for line in lines]) for model in ("tsrec", "AutoARIMA"))
    draws = np.random.default_rng(0).integers(len(lines), size=(RESAMPLES, len(lines)))
    ratios = mine[draws].mean(axis=1) / other[draws].mean(axis=1)
    cpu = [sum(line[model]["cpu_s"] for line in lines) for model in ("tsrec", "AutoARIMA")]
    return {
        "series": len(lines),
        "mase_ratio": mine.mean() / other.mean(),
        "mase_ratio_95": [float(np.quantile(ratios, q)) for q in (0.025, 0.975)],
        "series_better_or_equal": int((mine <= other).sum()),
        "times_as_fast": cpu[1] / cpu[0],
    }


def deadline(clock: str | None) -> datetime:
    """The next moment at which the wall clock shows `clock`."""
    if clock is None:
        return datetime.max
    hours, minutes = map(int, clock.split(":"))
    moment = datetime.now().replace(hour=hours, minute=minutes, second=0)
    return moment if moment > datetime.now() else moment + timedelta(days=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("group", choices=list(PERIOD))
    parser.add_argument("--series", type=int, default=0, help="the first N of the random order; 0: all")
    parser.add_argument("--peer", help="interpreter that has statsforecast")
    parser.add_argument("--results", type=Path, help="a line a series; continued if it exists")
    parser.add_argument("--until", help="HH:MM of the wall clock: begin no series after it")
    parser.add_argument("--as-peer", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    pairs = read_pairs(args.group)
    if args.as_peer:
        serve_peer(args.group, pairs)
        return
    order = np.random.default_rng(ORDER_SEED).permutation(len(pairs))[: args.series or None]
    asked = {"tsrec", "AutoARIMA"} if args.peer else {"tsrec"}
    done: list[dict] = []
    if args.results and args.results.exists():
        lines = map(json.loads, args.results.read_text().splitlines())
        done = [line for line in lines if line["group"] == args.group and asked <= line.keys()]
    known = {line["series"] for line in done}
    until = deadline(args.until)
    run = ours(args.group)
    run(pairs[0][0][:150])
    with open(args.results or "/dev/null", "a") as results:

        def go(ask: Callable[[int], dict[str, float]] | None) -> None:
            for series in map(int, order):
                if series in known or datetime.now() >= until:
                    continue
                line: dict = {"group": args.group, "series": series}
                line["tsrec"] = score(pairs[series], run, PERIOD[args.group])
                if ask is not None:
                    line["AutoARIMA"] = ask(series)
                done.append(line)
                results.write(json.dumps(line) + "\n")
                results.flush()

        if args.peer:
            with peer_of(args.peer, args.group) as ask:
                go(ask)
        else:
            go(None)
    print(json.dumps({"group": args.group, **summary(done, "tsrec")}))
    if args.peer:
        print(json.dumps({"group": args.group, **summary(done, "AutoARIMA")}))
        print(json.dumps({"group": args.group, **comparison(done)}))


if __name__ == "__main__":
    main()

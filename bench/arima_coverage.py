"""Coverage of 90 % intervals in each quarter of changing variance, Binance and TAQ bars and M4; plain ARIMA beside it.

    python bench/arima_coverage.py [--every 8] [--only M4]

Parameters come from the first quarter of each series, coverage from the rest, one step ahead unless stated. Bars are
closes, in logarithms, of the seconds that have trades. `--every N` takes every Nth M4 series. JSON lines.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Callable

import numpy as np
from m4_forecast import DATA, read

from tsrec_models.arima import Order
from tsrec_models.evaluation.forecast import roll
from tsrec_models.risk.bar_models import BarModels
from tsrec_models.risk.bars import TimeBars

BINANCE = DATA.parent / "binance-trades" / "trades.csv.gz"
TAQ = DATA.parent / "taq"


def tripled(n: int, seed: int) -> np.ndarray:
    """AR(1) whose innovations' variance triples half-way."""
    e = np.random.default_rng(seed).normal(size=n)
    e[n // 2 :] *= np.sqrt(3.0)
    y = np.zeros(n)
    for t in range(1, n):
        y[t] = 0.6 * y[t - 1] + e[t]
    return y


def bars(width_ms: int) -> list[np.ndarray]:
    """Log closes, in basis points, of the markets' bars that have trades."""
    closes: dict[str, dict[int, float]] = defaultdict(dict)
    with gzip.open(BINANCE, "rt") as lines:
        for row in csv.DictReader(lines):
            closes[row["market"] + row["symbol"]][int(row["trade_time_ms"]) // width_ms] = float(row["price"])
    return [1e4 * np.log([c[t] for t in sorted(c)]) for c in closes.values()]


def taq(width_s: int) -> list[np.ndarray]:
    """Log closes, in basis points, of the bars with trades of the three TAQ symbols; overnight jumps included."""
    closes: dict[str, dict[tuple[str, int], float]] = defaultdict(dict)
    for name in ("sampleTData.csv.gz", "sampleMultiTradeData.csv.gz"):
        with gzip.open(TAQ / name, "rt") as lines:
            for row in csv.DictReader(lines):
                day, clock = row["DT"].split(" ")
                hour, minute, second = clock.split(":")
                at = int((3600 * int(hour) + 60 * int(minute) + float(second)) // width_s)
                closes[row["SYMBOL"]][day, at] = float(row["PRICE"])
    return [1e4 * np.log([c[t] for t in sorted(c)]) for c in closes.values()]


def in_stream(width_s: float) -> None:
    """The same of the bars of the stream: its models, refits and intervals, from the 40th return of a market on."""
    with gzip.open(BINANCE, "rt") as lines:
        trades = [
            (r["market"] + r["symbol"], float(r["price"]), int(r["trade_time_ms"])) for r in csv.DictReader(lines)
        ]
    names = sorted({name for name, _, _ in trades})
    rows = np.array([names.index(name) for name, _, _ in trades])
    price, ts = np.array([p for _, p, _ in trades]), np.array([t for _, _, t in trades]) / 1e3
    clock, models = TimeBars(width_s, 1.0), BarModels()
    state = np.zeros((len(names), clock.width))
    clock.clear(state, np.arange(len(names)))
    closed, _ = clock.add(state, rows, price, np.ones(len(rows)), np.zeros(len(rows), np.int8), ts)
    outcome = models.step(np.zeros((len(names), models.width)), closed)
    held = [outcome.held[outcome.rows == row] for row in range(len(names))]
    held = [one[np.isfinite(one)] for one in held]
    quarters = [np.concatenate([np.array_split(one, 4)[k] for one in held]) for k in range(4)]
    line = {"case": f"Binance {width_s:g} s, in the stream", "series": len(names), "horizon": 1}
    line |= {"bars": sum(map(len, held)), "quarters": [round(float(q.mean()), 4) for q in quarters]}
    print(json.dumps({**line, "coverage": round(float(np.concatenate(held).mean()), 4)}), flush=True)


def report(case: str, series: list[np.ndarray], horizon: int, period: int, order: Order | None = None) -> None:
    rolling = roll(series, horizon, 0.9, order, np.full(len(series), period))
    each = [float(np.nanmean(c)) for c in rolling.covered]
    line = {
        "case": case,
        "series": len(series),
        "horizon": horizon,
        "quarters": [round(q, 4) for q in rolling.coverage_quarters()],
        "coverage": round(rolling.coverage(), 4),
        "plain_quarters": [round(q, 4) for q in rolling.plain_quarters()],
        "series_5_95": [round(float(q), 3) for q in np.quantile(each, [0.05, 0.95])],
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose names begin so")
    args = parser.parse_args()
    weekly = lambda: read(DATA / "Weekly-train.csv.gz")[:: args.every]  # noqa: E731
    hourly = lambda: read(DATA / "Hourly-train.csv.gz")[:: args.every]  # noqa: E731
    daily = Order(1, 0, 1, 0, 1, 1, 24)
    cases: tuple[tuple[str, Callable[[], list[np.ndarray]], int, int, Order | None], ...] = (
        ("variance triples", lambda: [tripled(1200, seed) for seed in range(20)], 1, 1, None),
        ("variance triples", lambda: [tripled(1200, seed) for seed in range(20)], 5, 1, None),
        ("TAQ 60 s", lambda: taq(60), 1, 1, None),
        ("TAQ 10 s", lambda: taq(10), 1, 1, None),
        ("Binance 1 s", lambda: bars(1000), 1, 1, None),
        ("Binance 5 s", lambda: bars(5000), 1, 1, None),
        ("M4 weekly", weekly, 1, 1, None),
        ("M4 weekly", weekly, 13, 1, None),
        ("M4 hourly", hourly, 1, 24, daily),
        ("M4 hourly", hourly, 24, 24, daily),
    )
    for case, series, horizon, period, order in cases:
        if case.lower().startswith(args.only.lower()):
            report(case, series(), horizon, period, order)
    if "binance".startswith(args.only.lower()):
        for width_s in (2.0, 5.0, 10.0):
            in_stream(width_s)


if __name__ == "__main__":
    main()

"""Coverage of 90 % intervals in each quarter of changing variance, Binance bars and M4; plain ARIMA beside it.

    python bench/arima_coverage.py [--every 1]

Parameters come from the first quarter of each series, coverage from the rest, one step ahead unless stated. Bars are
closes, in logarithms, of the seconds that have trades. `--every N` takes every Nth M4 series. JSON lines.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from collections import defaultdict

import numpy as np
from m4_forecast import DATA, read

from tsrec_models.arima import Order
from tsrec_models.evaluation.forecast import roll

BINANCE = DATA.parent / "binance-trades" / "trades.csv.gz"


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
    args = parser.parse_args()
    report("variance triples", [tripled(1200, seed) for seed in range(20)], 1, 1)
    report("variance triples", [tripled(1200, seed) for seed in range(20)], 5, 1)
    report("binance 1 s", bars(1000), 1, 1)
    report("binance 5 s", bars(5000), 1, 1)
    weekly = read(DATA / "Weekly-train.csv.gz")[:: args.every]
    hourly = read(DATA / "Hourly-train.csv.gz")[:: args.every]
    report("M4 weekly", weekly, 1, 1)
    report("M4 weekly", weekly, 13, 1)
    report("M4 hourly", hourly, 1, 24, Order(1, 0, 1, 0, 1, 1, 24))
    report("M4 hourly", hourly, 24, 24, Order(1, 0, 1, 0, 1, 1, 24))


if __name__ == "__main__":
    main()

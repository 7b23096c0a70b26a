"""What order imbalance and volume of the bar before are worth in forecasting the next return of the demo's markets.

    python bench/bar_regressors.py [--bar-s 1 2]

Models of the stream (`BarModels`, its own warm-up and refits, parameters from the past alone) over the real trades,
with and without regressors: squared error of the forecasts over that of "no change", by market. JSON lines.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tsrec_models.risk.bar_models import BarModels, BarModelSettings
from tsrec_models.risk.bars import BUY, SELL, Bars, TimeBars

TRADES = Path(__file__).resolve().parents[1] / "stream_app" / "demo" / "data" / "trades.parquet"
SETS: tuple[tuple[str, ...], ...] = ((), ("imbalance",), ("volume",), ("imbalance", "volume"))


def bars_of(width_s: float) -> tuple[list[str], Bars]:
    """Markets, and all their closed bars."""
    table = pq.read_table(TRADES)
    names, rows = np.unique(np.array(table["symbol"].to_pylist()), return_inverse=True)
    side = np.where(np.array(table["side"].to_pylist()) == "buy", BUY, SELL).astype(np.int8)
    price, quantity = (np.asarray(table[name], np.float64) for name in ("price", "quantity"))
    ts = np.asarray(table["ts_ms"], np.float64) / 1e3
    order = np.argsort(ts, kind="stable")
    made = TimeBars(width_s, 1.0)
    state = made.initial_rows(len(names))
    closed, _ = made.add(state, rows[order], price[order], quantity[order], side[order], ts[order])
    return names.tolist(), closed


def errors(bars: Bars, n: int, regressors: tuple[str, ...]) -> list[float]:
    """By market: squared error of forecasts over that of "no change", on the returns that were forecast."""
    models = BarModels(BarModelSettings(regressors=regressors))
    outcome = models.step(np.zeros((n, models.width)), bars)
    out = []
    for row in range(n):
        mine = outcome.rows == row
        mean, returns = outcome.mean[mine][:-1], outcome.returns[mine][1:]
        told = np.isfinite(mean) & np.isfinite(returns)
        out.append(float(np.sum((returns[told] - mean[told]) ** 2) / np.sum(returns[told] ** 2)))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bar-s", type=float, nargs="+", default=[1.0, 2.0])
    for width_s in parser.parse_args().bar_s:
        names, bars = bars_of(width_s)
        for regressors in SETS:
            ratios = errors(bars, len(names), regressors)
            line = {"bench": "bar_regressors", "bar_s": width_s, "regressors": regressors, "bars": len(bars)}
            line |= {"mean": round(float(np.mean(ratios)), 4)}
            print(json.dumps({**line, "by_market": dict(zip(names, np.round(ratios, 4).tolist(), strict=True))}))


if __name__ == "__main__":
    main()

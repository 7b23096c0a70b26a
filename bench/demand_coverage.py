"""Demand of a shop's items, a day ahead: error and kept intervals, by quarter of the days; JSON.

    python bench/demand_coverage.py [--file later|earlier] [--items 100] [--window-s 86400]

Order lines of the UK gift shop (2010-11, or the year before) are counted by item and window, as the stream's
`demand_counts` does. After each window the `--items` wanted most over the past 30 are forecast by `forecast_demand`,
the function that the stream runs, from the past alone; the naive forecast is "as in the window before". Days on which
nothing at all was sold are windows like others.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tsrec_models.arima.demand import MIN_PAST, forecast_demand

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "online-retail"
FILES = {"later": "online_retail_2010-2011.parquet", "earlier": "online_retail_II_2009-2010.parquet"}
LATEST, KEPT = 30, 120


def counts_of(path: Path, window_s: float, lines: int) -> np.ndarray:
    """Order lines [windows, items]."""
    table = pq.read_table(path)
    names = {name.lower().replace(" ", "").replace("_", ""): name for name in table.column_names}
    when = table[names["invoicedate"]]
    seconds = pc.cast(pc.cast(when, "timestamp[s]"), "int64").to_numpy()
    code = pc.dictionary_encode(pc.cast(table[names["stockcode"]], "string")).combine_chunks().indices.to_numpy()
    order = np.argsort(seconds, kind="stable")[:lines]
    window = (seconds[order] // window_s).astype(int)
    counts = np.zeros((window[-1] - window[0] + 1, code.max() + 1))
    np.add.at(counts, (window - window[0], code[order]), 1.0)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", choices=list(FILES), default="later")
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--lines", type=int, default=150_000, help="the first ones")
    parser.add_argument("--window-s", type=float, default=86_400.0)
    args = parser.parse_args()
    counts = counts_of(DATA / FILES[args.file], args.window_s, args.lines)
    held, error, naive = [], [], []
    began = time.process_time()
    for now in range(MIN_PAST, len(counts)):
        past = counts[max(now - KEPT, 0) : now]
        seen = past.cumsum(axis=0) > 0
        latest = past[-LATEST:].sum(axis=0)
        chosen = np.argsort(-latest, kind="stable")[: args.items]
        chosen = chosen[(latest[chosen] > 0) & (seen[:, chosen].sum(axis=0) >= MIN_PAST)]
        if not len(chosen):
            continue
        found = forecast_demand(np.where(seen, past, np.nan)[:, chosen])
        actual = counts[now, chosen]
        held.append((found.lower <= actual) & (actual <= found.upper))
        error.append(np.abs(found.mean - actual))
        naive.append(np.abs(past[-1, chosen] - actual))
    spent = time.process_time() - began
    forecasts = sum(map(len, held))
    quarters = [
        np.concatenate(part).mean() for part in (held[k * len(held) // 4 : (k + 1) * len(held) // 4] for k in range(4))
    ]
    line = {
        "bench": "demand_coverage", "file": args.file, "windows": len(held), "forecasts": forecasts,
        "coverage": round(float(np.concatenate(held).mean()), 4), "quarters": [round(float(q), 4) for q in quarters],
        "mean_absolute_error": round(float(np.concatenate(error).mean()), 3),
        "as_before": round(float(np.concatenate(naive).mean()), 3),
        "cpu_ms_a_forecast": round(1e3 * spent / forecasts, 3),
    }  # fmt: skip
    print(json.dumps(line))


if __name__ == "__main__":
    main()

"""One-step VaR and ES of every daily series at hand, by model and window. Prints a JSON line a series, setting, level.

python bench/var_backtests.py [--data ../shared/data/market-daily] [--only sp500,nasdaq] [--models gjr+path,gjr,path]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsrec_models.risk.backtests import backtest
from tsrec_models.risk.var_walkforward import walk_forward

LEVELS = (0.95, 0.975, 0.99)


def series(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Closes by name: the index files' close, and every column of the two wide files."""
    out: dict[str, NDArray[np.float64]] = {}
    for name in ("sp500", "nasdaq", "sp500_index", "stocks"):
        with gzip.open(folder / f"{name}.csv.gz", "rt") as file:
            rows = list(csv.reader(file))
        header = rows[0]
        columns = {name: header.index("Close")} if "Close" in header else {c: header.index(c) for c in header[1:]}
        for column, at in columns.items():
            out["sp500_1990" if column == "SP500" else column] = np.array([float(row[at]) for row in rows[1:]])
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data/market-daily"))
    parser.add_argument("--only", default="")
    parser.add_argument("--models", default="gjr+path")
    parser.add_argument("--windows", default="500")
    arguments = parser.parse_args()
    wanted = {name for name in arguments.only.split(",") if name}
    for name, closes in series(arguments.data).items():
        if wanted and name not in wanted:
            continue
        returns = np.diff(np.log(closes))
        for models in arguments.models.split(","):
            for window in map(int, arguments.windows.split(",")):
                forecast = walk_forward(returns, LEVELS, window=window, models=models.split("+"))
                for j, level in enumerate(LEVELS):
                    result = backtest(forecast.returns, forecast.var[:, j], forecast.es[:, j], level)
                    line = {"series": name, "models": models, "window": window, "level": level, "days": result.days}
                    line |= {"hits": result.hits, "expected": round(result.expected, 1)}
                    for key in ("kupiec_p", "independence_p", "conditional_coverage_p", "es_z2", "fz0"):
                        line[key] = round(getattr(result, key), 3)
                    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()

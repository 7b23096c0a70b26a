"""Market-risk work of one worker, trades a second: bars, volatility, FHS, backtest. Prints a JSON line a setting.

python bench/var_stream.py [--trades 2000000] [--symbols 500]
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from tsrec_models.risk.var import MarketRisk


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trades", type=int, default=2_000_000)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--batch", type=int, default=4096)
    arguments = parser.parse_args()
    n, symbols = arguments.trades, arguments.symbols
    rng = np.random.default_rng(1)
    rows = rng.integers(0, symbols, n)
    prices = 100.0 * np.exp(0.01 * np.cumsum(rng.standard_normal(n)) / np.sqrt(n))
    quantities, sides = rng.exponential(1.0, n), rng.choice(np.array([-1, 1], np.int8), n)
    for bar_s, rate in ((60.0, 1000.0), (1.0, 1000.0), (1.0, 100.0)):
        times = np.cumsum(rng.exponential(1.0 / rate, n))  # trades a second of event time, over all symbols
        risk = MarketRisk(bar_s=bar_s, lateness_s=bar_s)
        state = risk.initial_rows(symbols)
        risk.update(state, rows[:10], prices[:10], quantities[:10], sides[:10], times[:10])  # compiles
        state = risk.initial_rows(symbols)
        bars, start = 0, time.perf_counter()
        for at in range(0, n, arguments.batch):
            part = slice(at, at + arguments.batch)
            bars += len(risk.update(state, rows[part], prices[part], quantities[part], sides[part], times[part]))
        seconds = time.perf_counter() - start
        print(
            json.dumps(
                {
                    "bench": "market_risk",
                    "bar_s": bar_s,
                    "symbols": symbols,
                    "trades": n,
                    "bars": bars,
                    "trades_per_s": round(n / seconds),
                    "row_bytes": state.shape[1] * 8,
                }
            )
        )


if __name__ == "__main__":
    main()

"""Nanoseconds of one ARIMA(2,1,2) update, 10,000 series a batch, one thread; statsmodels beside it.

    python bench/arima_update.py [--series 10000] [--rounds 200]

Prints one JSON line a case: exact (covariance moves), steady (gain settled), both for the whole bank in order and
for a shuffled half of the rows, a bank in which a tenth of the values is missing, and one value appended in
statsmodels.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from tsrec_models.arima import ArimaBank, Coefficients, Order


def bank(n: int, steady_error: float) -> ArimaBank:
    """ARIMA(2,1,2) with coefficients of its own for every series; steady_error 0 keeps it exact for ever."""
    rng = np.random.default_rng(0)
    ar = np.stack([rng.uniform(0.1, 0.5, n), rng.uniform(-0.3, 0.2, n)], axis=1)
    ma = np.stack([rng.uniform(-0.5, 0.3, n), rng.uniform(-0.2, 0.2, n)], axis=1)
    model = Coefficients(Order(2, 1, 2), rng.uniform(0.5, 2.0, n), ar, ma)
    return ArimaBank.of([model], steady_error=steady_error)


def per_update_ns(update: Callable[[int], object], updates: int, rounds: int) -> dict[str, float]:
    """Best and median nanoseconds an update over `rounds` calls."""
    times = []
    for i in range(rounds):
        start = time.perf_counter()
        update(i)
        times.append((time.perf_counter() - start) / updates * 1e9)
    return {"best_ns": round(min(times), 2), "median_ns": round(float(np.median(times)), 2)}


def statsmodels_extend(values: np.ndarray, rounds: int) -> dict[str, float]:
    """The same update as `results.extend` of statsmodels' SARIMAX, one series."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    results = SARIMAX(values[:200], order=(2, 1, 2)).filter([0.3, 0.1, -0.2, 0.1, 1.0])

    def one(i: int) -> None:
        nonlocal results
        results = results.extend(values[200 + i : 201 + i])

    return per_update_ns(one, 1, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=200)
    args = parser.parse_args()
    n = args.series
    rng = np.random.default_rng(1)
    values = rng.normal(size=(32, n)).cumsum(axis=0)
    gappy = np.where(rng.uniform(size=values.shape) < 0.1, np.nan, values)
    some = rng.permutation(n)[: n // 2]
    for name, steady_error in (("exact", 0.0), ("steady", 1e-6)):
        filters = bank(n, steady_error)
        for t in range(100):
            filters.update(values[t % 32])
        settled = float(filters.steady().mean())
        whole = per_update_ns(lambda t, f=filters: f.update(values[t % 32]), n, args.rounds)
        part = per_update_ns(lambda t, f=filters: f.update(values[t % 32, some], some), n // 2, args.rounds)
        print(json.dumps({"case": name, "series": n, "steady_share": settled, **whole}))
        print(json.dumps({"case": f"{name}, shuffled half", "series": n // 2, **part}))
    filters = bank(n, 1e-10)
    result = per_update_ns(lambda t: filters.update(gappy[t % 32]), n, args.rounds)
    print(json.dumps({"case": "a tenth missing", "series": n, **result}))
    filters = bank(n, 1e-10)
    filters.filter(values)
    result = per_update_ns(lambda t: filters.forecast(1), n, max(args.rounds // 10, 1))
    print(json.dumps({"case": "forecast(1)", "series": n, **result}))
    one = statsmodels_extend(rng.normal(size=400).cumsum(), min(args.rounds, 200))
    print(json.dumps({"case": "statsmodels extend", "series": 1, **one}))


if __name__ == "__main__":
    main()

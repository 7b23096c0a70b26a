"""Speed of the decayed sequential rules, one thread: events learned, and top tens served, per second.

    python bench/rules_speed.py [--items 3800] [--events 1000000] [--users 200000]

Items are drawn from a Zipf-like law, so that rows are as unevenly full as in a shop. Prints a JSON line a measure.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from tsrec_models.sequence.rules import Rules, RuleSettings


def measure(name: str, n: int, run: Callable[[], object], repeats: int = 3) -> None:
    best = min(_seconds(run) for _ in range(repeats))
    print(json.dumps({"measure": name, "n": n, "per_s": round(n / best), "us_each": round(best / n * 1e6, 3)}))


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=3_800)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--recent", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    popularity = 1.0 / np.arange(1, options.items + 1) ** 0.8
    draw = np.cumsum(popularity / popularity.sum())

    def items(*shape: int) -> np.ndarray:
        return np.minimum(np.searchsorted(draw, rng.random(shape)), options.items - 1).astype(np.int64)

    previous, new = items(options.events, options.recent), items(options.events)
    times = np.sort(rng.uniform(0, 86_400 * 30, options.events))
    recent = items(options.users, options.recent)
    seen = list(recent)
    for slots in (64, 128):
        rules = Rules(options.items, RuleSettings(window=options.recent, slots=slots))
        rules.update(previous[:10], new[:10], times[:10])  # compiles

        def learn(rules: Rules, size: int) -> None:
            for s in range(0, options.events, size):
                rules.update(previous[s : s + size], new[s : s + size], times[s : s + size])

        def serve(rules: Rules, size: int, n: int) -> None:
            for s in range(0, n, size):
                rules.topk(recent[s : s + size], 10, seen[s : s + size], times[s : s + size])

        what = f"{slots} slots, window {options.recent}"
        measure(f"learn, {what}, batches of 1000", options.events, partial(learn, rules, 1000), repeats=1)
        serve(rules, 10, 10)  # compiles
        for size in (1, 256, 4096):
            n = min(options.users, 20_000 if size == 1 else options.users)
            measure(f"top 10 of {options.items}, {what}, batches of {size}", n, partial(serve, rules, size, n))


if __name__ == "__main__":
    main()

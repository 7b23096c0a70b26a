"""Speed of the decayed sequential rules, one thread: events learned, and top tens served, per second.

    python bench/rules_speed.py [--items 3800] [--events 1000000] [--users 200000]

Items are drawn from a Zipf-like law, so that rows are as unevenly full as in a shop. Prints a JSON line a measure.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

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
    for slots in (64, 128):
        settings = RuleSettings(window=options.recent, slots=slots)
        rules = Rules(options.items, settings)
        rules.update(previous[:10], new[:10], times[:10])  # compiles
        measure(
            f"learn, {slots} slots, window {options.recent}, batches of 1000",
            options.events,
            lambda rules=rules: [
                rules.update(previous[s : s + 1000], new[s : s + 1000], times[s : s + 1000])
                for s in range(0, options.events, 1000)
            ],
            repeats=1,
        )
        recent = items(options.users, options.recent)
        seen = [row for row in recent]
        rules.topk(recent[:10], 10, seen[:10])
        for size in (1, 256, 4096):
            n = min(options.users, 20_000 if size == 1 else options.users)
            measure(
                f"top 10 of {options.items}, {slots} slots, {options.recent} recent excluded, batches of {size}",
                n,
                lambda rules=rules, size=size, n=n: [
                    rules.topk(recent[s : s + size], 10, seen[s : s + size], times[s : s + size])
                    for s in range(0, n, size)
                ],
            )


if __name__ == "__main__":
    main()

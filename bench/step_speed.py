"""Speed of neural recommenders on one thread: steps, exact top ten, and a Transformer's step beside re-encoding.

    python bench/step_speed.py

Prints one JSON line a figure. The best of several repeats: on a shared machine the others measure the neighbours.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from tsrec_models.sequence.gru import GRU
from tsrec_models.sequence.joint import Joint
from tsrec_models.sequence.lru import LRU
from tsrec_models.sequence.lstm import LSTM
from tsrec_models.sequence.neural import NeuralRecommender
from tsrec_models.sequence.training_settings import Settings
from tsrec_models.sequence.transformer import Transformer

ITEMS = 3400
BATCH = 1024
HISTORY = 200
START_S = 1.7e9

#: Read by the libraries when they are loaded, so the bench starts itself anew with it.
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def best_s(call: Callable[[], object], repeats: int = 30) -> float:
    """Shortest wall time of a call in seconds, after one to warm up."""
    call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)


def build(kind: type[NeuralRecommender], with_times: bool = False, **changes: int) -> NeuralRecommender:
    """A model with random parameters; speed does not depend on them."""
    torch.manual_seed(0)
    return kind(kind.network_class(ITEMS, Settings(**changes), with_times))  # type: ignore[arg-type]


def steps(model: NeuralRecommender, label: str) -> None:
    rng = np.random.default_rng(0)
    items, times = rng.integers(0, ITEMS, BATCH), np.full(BATCH, START_S)
    table, rows = model.initial_state(BATCH), np.arange(BATCH)
    for _ in range(60):  # fills the windows of those that have one
        model.step_rows(table, rows, rng.integers(0, ITEMS, BATCH), times)
    copied = best_s(lambda: model.step(table, items, times + 60.0))
    in_place = best_s(lambda: model.step_rows(table, rows, items, times + 60.0))
    report(
        f"{label} step, batch {BATCH}",
        users_per_s=round(BATCH / copied),
        in_place_users_per_s=round(BATCH / in_place),
        state_bytes=4 * model.state_width,
    )


def top_ten(model: NeuralRecommender) -> None:
    rng = np.random.default_rng(0)
    state = model.step(model.initial_state(BATCH), rng.integers(0, ITEMS, BATCH), np.full(BATCH, START_S))
    seen = [rng.integers(0, ITEMS, 50) for _ in range(BATCH)]
    report(
        f"exact top 10 of {ITEMS}, 50 excluded", users_per_s=round(BATCH / best_s(lambda: model.topk(state, 10, seen)))
    )


def against_encoding(with_times: bool) -> None:
    model = build(Transformer, with_times, window=HISTORY)
    rng = np.random.default_rng(0)
    users = 8
    histories = [rng.integers(0, ITEMS, HISTORY) for _ in range(users)]
    stamps = [START_S + 60.0 * np.arange(HISTORY) for _ in range(users)]
    table = model.encode(histories, stamps)
    now = np.full(users, START_S + 60.0 * HISTORY)
    items, rows = rng.integers(0, ITEMS, users), np.arange(users)
    inputs = torch.from_numpy(np.stack(histories)), torch.zeros(users, HISTORY, dtype=torch.long)
    clock = torch.from_numpy(np.stack(stamps)) if with_times else None

    def forward() -> None:
        with torch.inference_mode():
            model.network(*inputs, clock)

    plain = best_s(forward, 10)
    encode = best_s(lambda: model.encode(histories, stamps), 10)
    step = best_s(lambda: model.step_rows(table, rows, items, now), 100)
    label = "aware of times" if with_times else "order only"
    report(
        f"Transformer, window {HISTORY}, {label}: step in place against re-encoding {HISTORY}",
        ratio=round(encode / step, 1),
        ratio_to_bare_network=round(plain / step, 1),
        step_us_a_user=round(1e6 * step / users, 1),
        encode_us_a_user=round(1e6 * encode / users, 1),
    )


def report(what: str, **figures: float) -> None:
    print(json.dumps({"bench": "step_speed", "what": what, **figures}), flush=True)


def main() -> None:
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
    torch.set_num_threads(1)
    gru = build(GRU)
    steps(gru, "GRU, hidden 64")
    steps(build(LSTM), "LSTM, hidden 64")
    steps(build(LRU), "LRU, 2 layers of 64")
    steps(build(Transformer), "Transformer, 2 layers of 64, window 50")
    steps(build(Joint, True, layers=1), "joint, LSTM 64 and 1 layer of 64, window 50, with times")
    top_ten(gru)
    for with_times in (False, True):
        against_encoding(with_times)


if __name__ == "__main__":
    main()

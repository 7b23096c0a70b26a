"""A user's own demand, against a plain loop over the events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.intervals import interval_buckets
from tsrec_models.sequence.joint import Joint
from tsrec_models.sequence.joint_network import JointNetwork
from tsrec_models.sequence.joint_own_demand import MEMORY, PLACES, OwnDemand
from tsrec_models.sequence.training import fit
from tsrec_models.sequence.training_settings import Settings
from tsrec_models.sequence.transformer_network import elapsed_buckets

ITEMS = 11
SMALL = Settings(width=8, hidden=6, heads=2, layers=1, window=5)


def moved(own: OwnDemand) -> OwnDemand:
    with torch.no_grad():
        for part in own.parameters():
            part.copy_(torch.randn(part.shape, generator=torch.Generator().manual_seed(len(part))))
    return own


def plainly(own: OwnDemand, items: NDArray[np.int64], times: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """What is added to the score of each item after a history, event by event."""
    by_place, by_time = own.responses()
    out = np.zeros(ITEMS)
    for j, item in enumerate(items[-MEMORY:].tolist()):
        ago = min(len(items), MEMORY) - j
        place = 0
        while 2 ** (place + 1) <= ago:
            place += 1
        if item < ITEMS:
            out[item] += by_place[place]
            if times is not None:
                out[item] += by_time[interval_buckets(np.array([times[-1] - times[-MEMORY:][j]]))[0]]
    return out


def history(n: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    # Whole seconds on whole days' clocks: the state keeps times to 8 ms.
    return rng.integers(0, ITEMS + 1, n), 1.7e9 + np.cumsum(rng.exponential(40_000.0, n).round())


@pytest.mark.parametrize("with_times", [True, False], ids=["times", "order only"])
def test_training_adds_at_every_event_what_the_events_before_say(with_times: bool) -> None:
    own = moved(OwnDemand(with_times))
    items, times = history(40)
    valid = torch.ones(2, 40, dtype=torch.bool)
    valid[0, 30:] = False
    valid[1, ::3] = False
    both = torch.from_numpy(np.stack([items, items[::-1].copy()]))
    clock = torch.from_numpy(np.stack([times, times]))
    added = own(both, valid, elapsed_buckets(clock) if with_times else None, ITEMS)
    found = torch.zeros(int(valid.sum()), ITEMS)
    found.index_put_((added.rows(), added.items), added.values.detach(), accumulate=True)
    expected = [
        plainly(own, both[row, : at + 1].numpy(), times[: at + 1] if with_times else None)
        for row in range(2)
        for at in range(40)
        if valid[row, at]
    ]
    np.testing.assert_allclose(found.numpy(), np.stack(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [1, 20, MEMORY + 30])
@pytest.mark.parametrize("with_times", [True, False], ids=["times", "order only"])
def test_serving_adds_what_the_remembered_events_say(with_times: bool, length: int) -> None:
    torch.manual_seed(0)
    network = JointNetwork(ITEMS, SMALL, with_times).eval()
    before = Joint(network)
    items, times = history(length)
    plain = before.scores(before.encode([items], [times]))
    moved(network.own_demand)
    model = Joint(network)
    state = model.encode([items], [times])
    expected = plain[0] + plainly(network.own_demand, items, times if with_times else None)
    np.testing.assert_allclose(model.scores(state)[0], expected, rtol=1e-4, atol=1e-4)
    ids, best = model.topk(state, 3)
    np.testing.assert_array_equal(ids[0], np.argsort(-expected, kind="stable")[:3])
    np.testing.assert_allclose(best[0], np.sort(expected)[::-1][:3], rtol=1e-4, atol=1e-4)


def test_stepping_past_the_memory_equals_encoding() -> None:
    torch.manual_seed(0)
    network = JointNetwork(ITEMS, SMALL, True).eval()
    moved(network.own_demand)
    model = Joint(network)
    items, times = history(MEMORY + 40)
    table = model.encode([items[:250]], [times[:250]])
    for at in range(250, len(items)):
        model.step_rows(table, np.array([0]), items[at : at + 1], times[at : at + 1])
    np.testing.assert_allclose(table, model.encode([items], [times]), rtol=2e-4, atol=2e-5)


def test_places_double_until_the_memory_ends() -> None:
    assert 2 ** (PLACES - 1) == MEMORY


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_a_log_in_which_nothing_is_taken_twice_teaches_that(loss: str) -> None:
    rng = np.random.default_rng(1)
    rows = [rng.permutation(40)[:20] for _ in range(60)]
    users = np.repeat(np.arange(60), 20)
    log = Log.from_arrays(users, np.concatenate(rows), 1.7e9 + np.arange(1200.0) * 100, n_items=40)
    settings = replace(SMALL, epochs=15, batch_events=128, loss=loss, negatives=20)
    model = fit(log, model=Joint, validation=None, settings=settings, seed=0, device="cpu")
    state = model.encode(rows, [1.7e9 + np.arange(20.0) * 100] * 60)
    ids, _ = model.topk(state, 10)
    again = np.mean([np.isin(ids[row], rows[row]).mean() for row in range(60)])
    assert again < 0.1  # half would be chance


def test_a_model_from_before_there_was_own_demand_is_read_and_has_none() -> None:
    network = JointNetwork(ITEMS, SMALL, True).eval()
    model = Joint(network)
    arrays = {name: array for name, array in model.arrays().items() if "own_demand" not in name}
    read = Joint.from_arrays(model.config(), arrays, "cpu")
    items, times = history(20)
    np.testing.assert_array_equal(
        read.scores(read.encode([items], [times])), model.scores(model.encode([items], [times]))
    )
    with pytest.raises(ModelError, match="do not fit a joint"):
        Joint.from_arrays(model.config(), model.arrays() | {"own_demand.by_place": np.zeros(3, np.float32)}, "cpu")

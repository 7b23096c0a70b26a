"""The ablation's chains with a part taken out answer by what they learned, and by nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

import joint_parts

from tsrec_models.preparation.log import Log
from tsrec_models.sequence.intervals import interval_buckets
from tsrec_models.sequence.joint_own_demand import OwnDemand
from tsrec_models.sequence.training_settings import Settings

ITEMS = 17
SMALL = Settings(width=8, hidden=6, heads=2, layers=1, window=5)
KINDS = [
    joint_parts.DemandAlone,
    joint_parts.WithoutAttention,
    joint_parts.WithoutDemand,
    joint_parts.WithoutLSTM,
    joint_parts.WithoutOwnDemand,
]


def build(kind: Any) -> Any:
    """A model whose learning parameters have all moved."""
    torch.manual_seed(0)
    network = kind.network_class(ITEMS, SMALL, True)
    rng = np.random.default_rng(0)
    users, times = np.repeat(np.arange(30), 20), 1.7e9 + rng.random(600) * 1e6
    network.learn_from(Log.from_arrays(users, rng.integers(0, ITEMS, 600), times, n_items=ITEMS))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn_like(parameter)
    return kind(network)


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_asked_as_it_was_trained(kind: Any) -> None:
    model = build(kind)
    rng = np.random.default_rng(5)
    items = rng.integers(0, ITEMS, (3, 14))
    times = 1.7e9 + np.cumsum(rng.exponential(40_000.0, (3, 14)).round(), axis=1)
    clock, shown = torch.from_numpy(times), torch.from_numpy(items)
    last = torch.zeros(items.shape, dtype=torch.bool)
    last[:, -1] = True
    network = model.network
    with torch.no_grad():
        buckets = torch.from_numpy(interval_buckets(np.diff(times, axis=1, prepend=np.nan)))
        outputs = [part[:, -1] for part in network.learning_outputs(shown, buckets, clock)]
        output = outputs[0] if len(outputs) == 1 else torch.lerp(outputs[0], outputs[1], network.share)
        expected = network.query(output, None) @ network.output_vectors().T + network.item_bias
        added = network.added_scores(shown, last, clock)
        if added is not None:
            expected.index_put_((added.rows(), added.items), added.values, accumulate=True)
    found = model.scores(model.encode(list(items), list(times)))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [joint_parts.WithoutLSTM, joint_parts.WithoutAttention, joint_parts.DemandAlone])
def test_what_is_taken_out_does_not_count(kind: Any) -> None:
    model = build(kind)
    items, times = np.arange(9) % ITEMS, 1.7e9 + np.arange(9.0) * 1000
    before = model.scores(model.encode([items], [times]))
    network = model.network
    out = {
        joint_parts.WithoutLSTM: [network.lstm],
        joint_parts.WithoutAttention: [network.blocks],
        joint_parts.DemandAlone: [network.lstm, network.blocks],
    }[kind]
    with torch.no_grad():
        for part in out:
            for parameter in part.parameters():
                parameter += torch.randn_like(parameter)
    again = kind(network)
    np.testing.assert_allclose(again.scores(again.encode([items], [times])), before, rtol=1e-5, atol=1e-5)


def test_without_own_demand_nothing_is_added_to_single_items() -> None:
    own: OwnDemand = build(joint_parts.WithoutOwnDemand).network.own_demand
    assert not any(part.any() for part in own.responses())

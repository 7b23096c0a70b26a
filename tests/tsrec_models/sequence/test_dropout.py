"""Dropout drops as often as it says, keeps the mean, and is out of the way when nothing trains."""

from __future__ import annotations

import pytest
import torch

from tsrec_models.sequence.dropout import Dropout


@pytest.mark.parametrize("probability", [0.1, 0.2, 0.5, 0.9])
def test_the_share_dropped_is_the_probability_and_the_mean_stays(probability: float) -> None:
    torch.manual_seed(0)
    out = Dropout(probability)(torch.ones(401, 503))
    dropped = float((out == 0).float().mean())
    assert dropped == pytest.approx(probability, abs=0.006)  # rounding 1/512, five standard errors 0.005
    assert float(out.mean()) == pytest.approx(1.0, abs=0.04)
    assert len(out.unique()) == 2


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(200_003)) != 0).float()
    for shift in (1, 2, 3, 4, 7, 8, 16):
        pairs = torch.stack([kept[:-shift], kept[shift:]])
        assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.012


def test_gradients_pass_where_values_did() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 33, requires_grad=True)
    out = Dropout(0.3)(x)
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x.detach(), out.detach())


def test_nothing_changes_without_training_or_probability() -> None:
    x = torch.randn(5, 7)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_a_seed_decides_what_is_dropped() -> None:
    layer, x = Dropout(0.4), torch.ones(999)
    torch.manual_seed(3)
    first = layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)

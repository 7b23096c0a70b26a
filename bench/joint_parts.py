"""The joint chain with fewer of its parts, for `train_joint_ablation.py`: trained and served by the same code."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from tsrec_models.sequence.joint import Joint
from tsrec_models.sequence.joint_demand import RANK
from tsrec_models.sequence.joint_network import JointNetwork
from tsrec_models.sequence.training_holdout import Holdout
from tsrec_models.sequence.training_loss import SparseScores
from tsrec_models.sequence.training_settings import Settings

__all__ = ["DemandAlone", "WithoutAttention", "WithoutDemand", "WithoutLSTM", "WithoutOwnDemand"]


class _WithoutLSTMNetwork(JointNetwork):
    """No LSTM states enter attention, nor the representation."""

    def __init__(self, n_items: int, settings: Settings, with_times: bool) -> None:
        super().__init__(n_items, settings, with_times)
        self.share.zero_()
        _freeze(self.lstm, self.project, self.project_out)  # `project` is and remains zero

    def learning_outputs(self, items: Tensor, buckets: Tensor, times: Tensor | None = None) -> list[Tensor]:
        x = self.item(items)
        if self.interval is not None:
            x = x + self.interval(buckets)
        x = self.input_drop(self.norm_in(x))
        demand = x.new_zeros(*items.shape, RANK) if times is None else self.demand_at(times)
        hidden = x.new_zeros(*items.shape, self.settings.hidden)
        mixed, _ = self.attend(self.stage_inputs(x, hidden, items, demand), times)
        return [torch.cat([mixed, demand], dim=-1)]


class _WithoutAttentionNetwork(JointNetwork):
    """The representation is what the LSTM says."""

    def __init__(self, n_items: int, settings: Settings, with_times: bool) -> None:
        super().__init__(n_items, settings, with_times)
        self.share.fill_(1.0)
        _freeze(self.blocks, self.norm_out, self.project, self.demand_in)

    def learning_outputs(self, items: Tensor, buckets: Tensor, times: Tensor | None = None) -> list[Tensor]:
        x = self.item(items)
        if self.interval is not None:
            x = x + self.interval(buckets)
        hidden, _ = self.lstm(self.input_drop(self.norm_in(x)))
        demand = x.new_zeros(*items.shape, RANK) if times is None else self.demand_at(times)
        return [torch.cat([self.project_out(self.output_drop(hidden)), demand], dim=-1)]


class _DemandAloneNetwork(_WithoutAttentionNetwork):
    """Nothing but demand, the market's and the user's own, and popularity."""

    def __init__(self, n_items: int, settings: Settings, with_times: bool) -> None:
        super().__init__(n_items, settings, with_times)
        nn.init.zeros_(self.project_out.weight)
        nn.init.zeros_(self.project_out.bias)
        _freeze(self.lstm, self.project_out, self.norm_in)

    def learning_outputs(self, items: Tensor, buckets: Tensor, times: Tensor | None = None) -> list[Tensor]:
        nothing = self.item.weight.new_zeros(*items.shape, self.settings.width)
        demand = nothing[..., :RANK] if times is None else self.demand_at(times)
        return [torch.cat([nothing, demand], dim=-1)]


class _WithoutOwnDemandNetwork(JointNetwork):
    """The market's demand, not the user's own."""

    def __init__(self, n_items: int, settings: Settings, with_times: bool) -> None:
        super().__init__(n_items, settings, with_times)
        _freeze(self.own_demand)  # responses are and remain zero

    def added_scores(self, items: Tensor, valid: Tensor, times: Tensor | None) -> SparseScores | None:
        return None


class _WithoutDemandNetwork(_WithoutOwnDemandNetwork):
    """Neither the market's demand nor the user's own."""

    def demand_at(self, times: Tensor) -> Tensor:
        return self.factors.new_zeros(*times.shape, RANK)


class _Fixed(Joint):
    """The LSTM's share is given, not chosen."""

    def tune(self, holdout: Holdout) -> None:
        return


class WithoutLSTM(_Fixed):
    network_class: ClassVar[type[JointNetwork]] = _WithoutLSTMNetwork


class WithoutAttention(_Fixed):
    network_class: ClassVar[type[JointNetwork]] = _WithoutAttentionNetwork


class DemandAlone(_Fixed):
    network_class: ClassVar[type[JointNetwork]] = _DemandAloneNetwork


class WithoutDemand(Joint):
    network_class: ClassVar[type[JointNetwork]] = _WithoutDemandNetwork


class WithoutOwnDemand(Joint):
    network_class: ClassVar[type[JointNetwork]] = _WithoutOwnDemandNetwork


def _freeze(*parts: nn.Module) -> None:
    for part in parts:
        part.requires_grad_(False)

"""What GRU and LSTM share: the network around the cell, and its weights as arrays for the kernels of a step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tsrec_models.sequence.intervals import N_BUCKETS
from tsrec_models.sequence.network import SequenceNetwork
from tsrec_models.sequence.training_settings import Settings

__all__ = ["RecurrentNetwork", "input_tables", "projection"]


class RecurrentNetwork(SequenceNetwork):
    """A gated recurrent layer over item vectors plus interval vectors, and a projection back to item width."""

    def __init__(self, n_items: int, settings: Settings, with_times: bool) -> None:
        super().__init__(n_items, settings, with_times)
        self.interval = nn.Embedding(N_BUCKETS, settings.width) if with_times else None
        if self.interval is not None:
            nn.init.zeros_(self.interval.weight)
        self.cell = self.make_cell(settings.width, settings.hidden)
        self.project = nn.Linear(settings.hidden, settings.width)

    def make_cell(self, width: int, hidden: int) -> nn.RNNBase:
        """The recurrent layer, batch first."""
        raise NotImplementedError

    def forward(self, items: Tensor, buckets: Tensor, times: Tensor | None = None) -> Tensor:
        inputs = self.item(items)  # [batch, length, width]
        if self.interval is not None:
            inputs = inputs + self.interval(buckets)
        hidden, _ = self.cell(self.input_drop(inputs))  # [batch, length, hidden]
        outputs: Tensor = self.project(self.output_drop(hidden))
        return outputs


def input_tables(
    network: RecurrentNetwork,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Weights of a step: item parts, interval parts, recurrent weights, recurrent bias.

    What each item and each interval adds to the gates, [n_items + 1, gates] with the input bias and [buckets, gates],
    is looked up instead of multiplied. The recurrent weights are [h, gates], their bias [gates].
    """
    cell = dict(network.cell.named_parameters())
    weight = cell["weight_ih_l0"]
    with torch.no_grad():
        items = network.item.weight @ weight.T + cell["bias_ih_l0"]
        times = torch.zeros(N_BUCKETS, len(weight))
        if network.interval is not None:
            times = network.interval.weight @ weight.T
    return to_array(items), to_array(times), to_array(cell["weight_hh_l0"].T), to_array(cell["bias_hh_l0"])


def projection(network: RecurrentNetwork) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights [h, width] and bias [width] from hidden values to outputs."""
    return to_array(network.project.weight.T), to_array(network.project.bias)


def to_array(tensor: Tensor) -> NDArray[np.float32]:
    """A float32 copy on the host, contiguous."""
    return np.array(tensor.detach().float().cpu().numpy(), np.float32, order="C")

"""GRU recommender (GRU4Rec: Hidasi et al., 2016), with item vectors tied between input and output."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import nn

from tsrec_models.sequence.gates import sigmoid, tanh
from tsrec_models.sequence.neural import NeuralRecommender
from tsrec_models.sequence.recurrent import RecurrentNetwork, input_tables, projection

__all__ = ["GRU", "GRUNetwork"]


class GRUNetwork(RecurrentNetwork):
    """The network of `GRU`."""

    def make_cell(self, width: int, hidden: int) -> nn.RNNBase:
        return nn.GRU(width, hidden, batch_first=True)


@njit(cache=True, fastmath={"contract", "nsz", "arcp"})  # type: ignore[untyped-decorator]
def _gru_gates(
    hidden: NDArray[np.float32],
    recurrent: NDArray[np.float32],
    item_table: NDArray[np.float32],
    items: NDArray[np.int64],
    time_table: NDArray[np.float32],
    buckets: NDArray[np.int64],
    candidate_bias: NDArray[np.float32],
    result: NDArray[np.float32],
) -> None:
    """Gates r, z, n of Cho et al. (2014) from `recurrent` = hidden @ W_hh [batch, 3 h] and looked-up input parts."""
    batch, h = hidden.shape
    for row in range(batch):
        x = item_table[items[row]]
        t = time_table[buckets[row]]
        g = recurrent[row]
        for j in range(h):
            reset = sigmoid(x[j] + t[j] + g[j])
            update = sigmoid(x[h + j] + t[h + j] + g[h + j])
            candidate = tanh(x[2 * h + j] + t[2 * h + j] + reset * (g[2 * h + j] + candidate_bias[j]))
            result[row, j] = candidate + update * (hidden[row, j] - candidate)


class GRU(NeuralRecommender):
    """One GRU layer; a step is one product [batch, h] x [h, 3 h] and a pass over the gates."""

    name: ClassVar[str] = "gru"
    network_class = GRUNetwork
    network: GRUNetwork

    @property
    def hidden_width(self) -> int:
        return self.settings.hidden

    def compile(self) -> None:
        super().compile()
        h = self.settings.hidden
        self._item_table, self._time_table, self._recurrent, bias = input_tables(self.network)
        # The candidate's recurrent bias lies inside the reset gate; the others simply add up.
        self._item_table[:, : 2 * h] += bias[: 2 * h]
        self._candidate_bias = bias[2 * h :].copy()
        self._project, self._project_bias = projection(self.network)

    def step_hidden(
        self, hidden: NDArray[np.float32], items: NDArray[np.int64], buckets: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        result = np.empty(hidden.shape, np.float32)
        recurrent = hidden @ self._recurrent
        _gru_gates(hidden, recurrent, self._item_table, items, self._time_table, buckets, self._candidate_bias, result)
        return result

    def outputs(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        return hidden @ self._project + self._project_bias

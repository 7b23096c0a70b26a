"""LSTM recommender (Hochreiter and Schmidhuber, 1997), with item vectors tied between input and output."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import nn

from tsrec_models.sequence.gates import sigmoid, tanh
from tsrec_models.sequence.neural import NeuralRecommender
from tsrec_models.sequence.recurrent import RecurrentNetwork, input_tables, projection

__all__ = ["LSTM", "LSTMNetwork", "lstm_gates"]


class LSTMNetwork(RecurrentNetwork):
    """The network of `LSTM`."""

    def make_cell(self, width: int, hidden: int) -> nn.RNNBase:
        return nn.LSTM(width, hidden, batch_first=True)


@njit(cache=True, fastmath={"contract", "nsz", "arcp"})  # type: ignore[untyped-decorator]
def lstm_gates(
    state: NDArray[np.float32],
    recurrent: NDArray[np.float32],
    item_table: NDArray[np.float32],
    items: NDArray[np.int64],
    time_table: NDArray[np.float32],
    buckets: NDArray[np.int64],
    result: NDArray[np.float32],
) -> None:
    """Gates i, f, g, o from `recurrent` = h @ W_hh [batch, 4 h] and looked-up input parts; state rows are [h, c]."""
    batch = state.shape[0]
    h = state.shape[1] // 2
    for row in range(batch):
        x = item_table[items[row]]
        t = time_table[buckets[row]]
        r = recurrent[row]
        for j in range(h):
            enter = sigmoid(x[j] + t[j] + r[j])
            forget = sigmoid(x[h + j] + t[h + j] + r[h + j])
            candidate = tanh(x[2 * h + j] + t[2 * h + j] + r[2 * h + j])
            leave = sigmoid(x[3 * h + j] + t[3 * h + j] + r[3 * h + j])
            cell = forget * state[row, h + j] + enter * candidate
            result[row, h + j] = cell
            result[row, j] = leave * tanh(cell)


class LSTM(NeuralRecommender):
    """One LSTM layer; a step is one product [batch, h] x [h, 4 h] and a pass over the gates."""

    name: ClassVar[str] = "lstm"
    network_class = LSTMNetwork
    network: LSTMNetwork

    @property
    def hidden_width(self) -> int:
        return 2 * self.settings.hidden

    def compile(self) -> None:
        super().compile()
        self._item_table, self._time_table, self._recurrent, bias = input_tables(self.network)
        self._item_table += bias
        self._project, self._project_bias = projection(self.network)

    def step_hidden(
        self, hidden: NDArray[np.float32], items: NDArray[np.int64], buckets: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        result = np.empty(hidden.shape, np.float32)
        recurrent = hidden[:, : self.settings.hidden] @ self._recurrent
        lstm_gates(hidden, recurrent, self._item_table, items, self._time_table, buckets, result)
        return result

    def outputs(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        return hidden[:, : self.settings.hidden] @ self._project + self._project_bias

"""The joint chain as a recommender: LSTM, ARIMA demand and attention over time steps, one event a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.sequence.intervals import CLOCK_WIDTH, unpack_clock
from tsrec_models.sequence.joint_demand import RANK
from tsrec_models.sequence.joint_network import JointNetwork
from tsrec_models.sequence.layer_kernels import norm_rows
from tsrec_models.sequence.lstm import lstm_gates
from tsrec_models.sequence.recurrent import to_array
from tsrec_models.sequence.transformer import Transformer

__all__ = ["Joint"]


class Joint(Transformer):
    """A state row is that of `Transformer`, with the LSTM's h and c before the last output."""

    name: ClassVar[str] = "joint"
    network_class = JointNetwork
    network: JointNetwork  # type: ignore[assignment]

    @property
    def hidden_width(self) -> int:
        return super().hidden_width + 2 * self.settings.hidden

    def compile(self) -> None:
        super().compile()
        lstm = dict(self.network.lstm.named_parameters())
        self._enter = to_array(lstm["weight_ih_l0"].T)
        self._recurrent = to_array(lstm["weight_hh_l0"].T)
        self._gate_bias = to_array(lstm["bias_ih_l0"] + lstm["bias_hh_l0"])
        self._project = to_array(self.network.project.weight.T)
        self._demand_in = to_array(self.network.demand_in.weight.T)
        self._stage_bias = to_array(self.network.project.bias + self.network.demand_in.bias)
        self._loadings = to_array(self.network.loadings)
        self._no_time = np.zeros((1, len(self._gate_bias)), np.float32)

    def encode(
        self, histories: Sequence[NDArray[np.int64]], times: Sequence[NDArray[np.float64]] | None = None
    ) -> NDArray[np.float32]:
        """State [batch, state_width] of whole histories, by stepping: an LSTM has no shorter way."""
        if times is None:
            times = [np.arange(len(history), dtype=np.float64) for history in histories]
        if len(times) != len(histories):
            raise ModelError(f"encode: {len(histories)} histories but {len(times)} lists of times")
        state = self.initial_state(len(histories))
        lengths = np.array([len(history) for history in histories], np.int64)
        for t in range(int(lengths.max(initial=0))):
            rows = np.flatnonzero(lengths > t)
            items = np.array([histories[row][t] for row in rows.tolist()], np.int64)
            self.step_rows(state, rows, items, np.array([times[row][t] for row in rows.tolist()], np.float64))
        return state

    def stage_inputs(
        self, table: NDArray[np.float32], rows: NDArray[np.int64], items: NDArray[np.int64], times: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        h, width = self.settings.hidden, self.settings.width
        gates = norm_rows(self._embedded(table, rows, items, times), *self._norm_in) @ self._enter
        gates += self._gate_bias
        columns = slice(self.state_width - width - 2 * h, self.state_width - width)
        before = np.ascontiguousarray(table[rows, columns])
        after = np.empty_like(before)
        none = np.zeros(len(rows), np.int64)
        lstm_gates(before, before[:, :h] @ self._recurrent, gates, np.arange(len(rows)), self._no_time, none, after)
        table[rows, columns] = after
        demand = self._demand_at(times)
        of_item = (demand * self._loadings[items]).sum(axis=1, keepdims=True)
        x = after[:, :h] @ self._project
        x += np.concatenate([demand, of_item], axis=1) @ self._demand_in
        x += self._stage_bias
        return x

    def outputs_at(self, state: NDArray[np.float32], at: NDArray[np.float64] | None) -> NDArray[np.float32]:
        when = unpack_clock(state[:, :CLOCK_WIDTH])
        if at is not None:
            when = np.asarray(at, np.float64)
        return np.concatenate([self.outputs(state[:, CLOCK_WIDTH:]), self._demand_at(when)], axis=1)

    def _demand_at(self, times: NDArray[np.float64]) -> NDArray[np.float32]:
        """Demand factors [batch, RANK] at `times` [batch]; zeros where a time is not known."""
        if not self.with_times:
            return np.zeros((len(times), RANK), np.float32)
        known = ~np.isnan(times)
        result = np.zeros((len(times), RANK), np.float32)
        with torch.inference_mode():
            found = self.network.demand_at(self.device.put(np.where(known, times, 0.0)))
        result[known] = self.device.get(found)[known]
        return result

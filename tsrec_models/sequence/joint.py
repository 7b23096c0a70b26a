"""The joint chain as a recommender: LSTM, ARIMA demand and attention over time steps, one event a step."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tsrec_models.sequence.intervals import CLOCK_WIDTH, pack_clock, unpack_clock
from tsrec_models.sequence.joint_demand import RANK
from tsrec_models.sequence.joint_network import SHARES, JointNetwork
from tsrec_models.sequence.joint_own_demand import MEMORY, OWN_WIDTH, OwnDemand, add_own_demand, remember
from tsrec_models.sequence.lstm import lstm_gates
from tsrec_models.sequence.recurrent import to_array
from tsrec_models.sequence.training_holdout import Holdout, encoded_blocks, ndcg, target_ranks
from tsrec_models.sequence.transformer import Transformer

__all__ = ["Joint"]


class Joint(Transformer):
    """A state row is that of `Transformer`, with, before the last output, the latest events' items and times for own
    demand, and the LSTM's h and c."""

    name: ClassVar[str] = "joint"
    network_class = JointNetwork
    network: JointNetwork  # type: ignore[assignment]

    @property
    def hidden_width(self) -> int:
        return super().hidden_width + OWN_WIDTH + 2 * self.settings.hidden

    @property
    def _own_columns(self) -> slice:
        end = self._lstm_columns.start
        return slice(end - OWN_WIDTH, end)

    @property
    def _lstm_columns(self) -> slice:
        end = self.state_width - self.settings.width
        return slice(end - 2 * self.settings.hidden, end)

    @classmethod
    def from_arrays(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], device: str = "auto") -> Self:
        """As every network's; a chain from before there was own demand is one whose responses are zero."""
        if not any(name.startswith("own_demand.") for name in arrays):
            none = OwnDemand(config["with_times"]).state_dict()
            arrays = arrays | {f"own_demand.{name}": value.numpy() for name, value in none.items()}
        return super().from_arrays(config, arrays, device)

    def compile(self) -> None:
        super().compile()
        lstm = dict(self.network.lstm.named_parameters())
        self._enter = to_array(lstm["weight_ih_l0"].T)
        self._recurrent = to_array(lstm["weight_hh_l0"].T)
        self._gate_bias = to_array(lstm["bias_ih_l0"] + lstm["bias_hh_l0"])
        self._project = to_array(self.network.project.weight.T)
        self._demand_in = to_array(self.network.demand_in.weight.T)
        self._project_out = to_array(self.network.project_out.weight.T)
        self._out_bias = to_array(self.network.project_out.bias)
        self._share = np.float32(self.network.share.item())
        self._stage_bias = to_array(self.network.project.bias + self.network.demand_in.bias)
        self._loadings = to_array(self.network.loadings)
        self._by_place, self._by_time = self.network.own_demand.responses()
        self._no_time = np.zeros((1, len(self._gate_bias)), np.float32)

    def stage_inputs(
        self, table: NDArray[np.float32], rows: NDArray[np.int64], items: NDArray[np.int64], times: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        h = self.settings.hidden
        x = self._entered(table, rows, items, times)
        remember(table, rows, self._own_columns.start, items, pack_clock(times), MEMORY)
        gates = x @ self._enter
        gates += self._gate_bias
        before = np.ascontiguousarray(table[rows, self._lstm_columns])
        after = np.empty_like(before)
        none = np.zeros(len(rows), np.int64)
        lstm_gates(before, before[:, :h] @ self._recurrent, gates, np.arange(len(rows)), self._no_time, none, after)
        table[rows, self._lstm_columns] = after
        demand = self._demand_at(times)
        of_item = (demand * self._loadings[items]).sum(axis=1, keepdims=True)
        x += after[:, :h] @ self._project
        x += np.concatenate([demand, of_item], axis=1) @ self._demand_in
        x += self._stage_bias
        return x

    def stage_output(
        self, table: NDArray[np.float32], rows: NDArray[np.int64], output: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        output += self._share * (self._lstm_says(table[rows, self._lstm_columns]) - output)
        return output

    def add_scores(self, state: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
        own, clock = state[:, self._own_columns], state[:, :CLOCK_WIDTH]
        add_own_demand(own, clock, self._by_place, self._by_time, scores)

    def _lstm_says(self, lstm: NDArray[np.float32]) -> NDArray[np.float32]:
        """The LSTM's own representation [batch, width] of its states [batch, 2 hidden]."""
        says: NDArray[np.float32] = lstm[:, : self.settings.hidden] @ self._project_out + self._out_bias
        return says

    def tune(self, holdout: Holdout) -> None:
        """Choose the LSTM's share in the representation by ndcg@10; of equal ones, the smallest."""
        self._set_share(0.0)
        gains = np.zeros(len(SHARES))
        for state, targets, seen in encoded_blocks(self, holdout):
            mixed = state[:, -self.settings.width :].copy()
            alone = self._lstm_says(state[:, self._lstm_columns])
            for index, share in enumerate(SHARES):
                state[:, -self.settings.width :] = mixed + np.float32(share) * (alone - mixed)
                gains[index] += ndcg(target_ranks(self.scores(state), targets, seen)).sum()
        self._set_share(SHARES[int(np.argmax(gains))])

    def _set_share(self, share: float) -> None:
        self.network.share.fill_(share)
        self._share = np.float32(share)

    def _encode_events(
        self,
        hidden: NDArray[np.float32],
        items: NDArray[np.int64],
        buckets: NDArray[np.int64],
        times: NDArray[np.float64],
        lengths: NDArray[np.int64],
        at: NDArray[np.int64],
        kept_times: NDArray[np.float64],
    ) -> tuple[Tensor, list[Tensor]]:
        """The LSTM goes through whole histories and leaves its last state in `hidden`; attention sees events `at`."""
        self._remember_all(hidden, items, times, lengths)
        network, put, h, width = self.network, self.device.put, self.settings.hidden, self.settings.width
        x = network.item(put(items))
        if network.interval is not None:
            x = x + network.interval(put(buckets))
        x = network.norm_in(x)
        packed = pack_padded_sequence(x, torch.from_numpy(lengths), batch_first=True)
        states, (last, cell) = network.lstm(packed)
        hidden[:, -width - 2 * h : -width] = self.device.get(torch.cat([last[0], cell[0]], dim=1).float())
        states, _ = pad_packed_sequence(states, batch_first=True, total_length=items.shape[1])
        demand = put(self._demand_at(kept_times.ravel())).view(*at.shape, RANK)
        cut = put(at)[:, :, None]
        x, states = (torch.take_along_dim(part, cut, dim=1) for part in (x, states))
        inputs = network.stage_inputs(x, states, put(np.take_along_axis(items, at, axis=1)), demand)
        mixed, cached = network.attend(inputs, put(kept_times) if self.with_times else None)
        return network.stage_output(mixed, states), cached

    def _remember_all(
        self,
        hidden: NDArray[np.float32],
        items: NDArray[np.int64],
        times: NDArray[np.float64],
        lengths: NDArray[np.int64],
    ) -> None:
        """Write the latest MEMORY events of histories [batch, longest] into `hidden`, as stepping would have."""
        start = self._own_columns.start - CLOCK_WIDTH
        own = hidden[:, start : start + OWN_WIDTH]
        own[:, 0], own[:, 1] = lengths % MEMORY, np.minimum(lengths, MEMORY)
        places = np.arange(items.shape[1])[None]
        row, at = np.nonzero((places < lengths[:, None]) & (places >= lengths[:, None] - MEMORY))
        clock = pack_clock(times[row, at])
        column = 2 + 3 * (at % MEMORY)
        own[row, column] = items[row, at]
        own[row, column + 1], own[row, column + 2] = clock[:, 0], clock[:, 1]

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

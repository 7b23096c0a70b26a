"""Linear recurrent recommender: LRU blocks (Orvieto et al., 2023; LRURec: Yue et al., 2024).

A step multiplies each layer's state by a diagonal: no matrix of the state, no attention over the past.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tsrec_models.sequence.dropout import Dropout
from tsrec_models.sequence.fitted import Entry, FeedForward, Norm
from tsrec_models.sequence.intervals import N_BUCKETS
from tsrec_models.sequence.lru_scan import linear_scan, scan_in_place
from tsrec_models.sequence.network import SequenceNetwork
from tsrec_models.sequence.neural import NeuralRecommender
from tsrec_models.sequence.recurrent import to_array
from tsrec_models.sequence.training_settings import Settings

__all__ = ["LRU", "LRUNetwork"]

#: Moduli of the diagonal at the start: memories of five to a hundred events.
_MIN_RADIUS, _MAX_RADIUS = 0.8, 0.99
_MAX_PHASE = math.pi / 10

#: Hidden values of the feed-forward part per input value.
_EXPANSION = 2

#: Events encoded at once: a layer's values of them stay in a third-level cache.
_ENCODED_EVENTS = 8192


class LRUBlock(nn.Module):
    """Recurrence and feed-forward, each normalised before and added to its input."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        radius = torch.sqrt(torch.rand(hidden) * (_MAX_RADIUS**2 - _MIN_RADIUS**2) + _MIN_RADIUS**2)
        self.log_decay = nn.Parameter(torch.log(-torch.log(radius)))
        self.log_phase = nn.Parameter(torch.log(torch.rand(hidden) * _MAX_PHASE + 1e-4))
        self.norm = nn.LayerNorm(width)
        self.enter = nn.Linear(width, 2 * hidden)
        self.leave = nn.Linear(2 * hidden, width)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, _EXPANSION * width)
        self.shrink = nn.Linear(_EXPANSION * width, width)
        self.drop = Dropout(dropout)

    def diagonal(self) -> Tensor:
        """The recurrence's diagonal [2, h] (real, imaginary); its modulus is below one whatever the parameters."""
        radius, phase = torch.exp(-torch.exp(self.log_decay)), torch.exp(self.log_phase)
        return torch.stack([radius * torch.cos(phase), radius * torch.sin(phase)])

    def input_scale(self) -> Tensor:
        """sqrt(1 - |a|^2) [h]: keeps the state's variance whatever the memory's length."""
        return torch.sqrt(-torch.expm1(-2 * torch.exp(self.log_decay)))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        entering = self.enter(self.norm(x)).view(batch, length, 2, -1) * self.input_scale()
        states = linear_scan(self.diagonal(), entering).flatten(2)  # [batch, length, 2 h]
        x = x + self.drop(self.leave(states))
        wide = functional.gelu(self.expand(self.norm2(x)), approximate="tanh")
        result: Tensor = x + self.drop(self.shrink(self.drop(wide)))
        return result


class LRUNetwork(SequenceNetwork):
    """Blocks over normalised item vectors plus interval vectors."""

    def __init__(self, n_items: int, settings: Settings, with_times: bool) -> None:
        super().__init__(n_items, settings, with_times)
        width = settings.width
        self.interval = nn.Embedding(N_BUCKETS, width) if with_times else None
        if self.interval is not None:
            nn.init.zeros_(self.interval.weight)
        self.norm_in = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(LRUBlock(width, settings.hidden, settings.dropout) for _ in range(settings.layers))
        self.norm_out = nn.LayerNorm(width)

    def forward(self, items: Tensor, buckets: Tensor, times: Tensor | None = None) -> Tensor:
        x = self.item(items)
        if self.interval is not None:
            x = x + self.interval(buckets)
        x = self.input_drop(self.norm_in(x))
        for block in self.blocks:
            x = block(x)
        result: Tensor = self.norm_out(x)
        return result


@njit(cache=True, fastmath={"contract", "nsz"})  # type: ignore[untyped-decorator]
def _recur_rows(
    a: NDArray[np.float32],
    before: NDArray[np.float32],
    offset: int,
    entering: NDArray[np.float32],
    bias: NDArray[np.float32],
    after: NDArray[np.float32],
) -> NDArray[np.float32]:
    """One step of a layer, whose state is `before[:, offset : offset + 2 h]`; writes `after` and returns the states."""
    batch, h = before.shape[0], a.shape[1]
    states = np.empty((batch, 2 * h), np.float32)
    for row in range(batch):
        for j in range(h):
            re, im = before[row, offset + j], before[row, offset + h + j]
            states[row, j] = a[0, j] * re - a[1, j] * im + entering[row, j] + bias[j]
            states[row, h + j] = a[0, j] * im + a[1, j] * re + entering[row, h + j] + bias[h + j]
        after[row, offset : offset + 2 * h] = states[row]
    return states


class _Layer:
    """A block's weights as the kernels read them."""

    def __init__(self, block: LRUBlock) -> None:
        with torch.no_grad():
            scale = block.input_scale().repeat(2)
            self.a = to_array(block.diagonal())
            self.norm = Norm(block.norm)
            self.enter = to_array((block.enter.weight * scale[:, None]).T)
            self.enter_bias = to_array(block.enter.bias * scale)
            self.leave, self.leave_bias = to_array(block.leave.weight.T), to_array(block.leave.bias)
            self.feed_forward = FeedForward(block)


class LRU(NeuralRecommender):
    """Linear recurrent blocks; a state row holds each layer's complex state and the last output."""

    name: ClassVar[str] = "lru"
    network_class = LRUNetwork
    network: LRUNetwork

    @property
    def hidden_width(self) -> int:
        return 2 * self.settings.hidden * self.settings.layers + self.settings.width

    def compile(self) -> None:
        super().compile()
        network = self.network
        self._entry, self._norm_out = Entry(network), Norm(network.norm_out)
        self._layers = [_Layer(block) for block in network.blocks if isinstance(block, LRUBlock)]

    def step_hidden(
        self, hidden: NDArray[np.float32], items: NDArray[np.int64], buckets: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        result = np.empty(hidden.shape, np.float32)
        x = self._entry(items, buckets)
        for index, layer in enumerate(self._layers):
            entering = layer.norm(x) @ layer.enter
            offset = index * 2 * self.settings.hidden
            states = _recur_rows(layer.a, hidden, offset, entering, layer.enter_bias, result)
            x += states @ layer.leave
            x += layer.leave_bias
            layer.feed_forward.add_to(x)
        result[:, -self.settings.width :] = self._norm_out(x)
        return result

    def encode_hidden(
        self,
        items: NDArray[np.int64],
        buckets: NDArray[np.int64],
        times: NDArray[np.float64],
        lengths: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Hidden rows of padded histories [batch, length], longest first: a layer at a time over whole histories."""
        hidden = np.empty((len(items), self.hidden_width), np.float32)
        first = 0
        while first < len(items):
            longest = int(lengths[first])
            rows = slice(first, first + max(1, _ENCODED_EVENTS // longest))
            self._encode_block(items[rows, :longest], buckets[rows, :longest], lengths[rows] - 1, hidden[rows])
            first = rows.stop
        return hidden

    def _encode_block(
        self,
        items: NDArray[np.int64],
        buckets: NDArray[np.int64],
        last: NDArray[np.int64],
        hidden: NDArray[np.float32],
    ) -> None:
        """Write into `hidden` [batch, hidden_width] the rows after event `last` [batch] of histories [batch, length].

        Events beyond a row's last are computed too and not looked at: the recurrence never looks ahead.
        """
        batch, length = items.shape
        h, rows = self.settings.hidden, np.arange(batch)
        x = self._entry(items.ravel(), buckets.ravel())
        for index, layer in enumerate(self._layers):
            states = layer.norm(x) @ layer.enter
            states += layer.enter_bias
            scan_in_place(layer.a, states.reshape(batch, length, 2, h))
            hidden[:, index * 2 * h : (index + 1) * 2 * h] = states.reshape(batch, length, 2 * h)[rows, last]
            if index == len(self._layers) - 1:  # nothing above needs the events before the last
                x = x.reshape(batch, length, -1)[rows, last]
                states = states.reshape(batch, length, 2 * h)[rows, last]
            x += states @ layer.leave
            x += layer.leave_bias
            layer.feed_forward.add_to(x)
        hidden[:, -self.settings.width :] = self._norm_out(x)

    def outputs(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(hidden[:, -self.settings.width :])

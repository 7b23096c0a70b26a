"""The causal Transformer as a recommender whose step costs one event: keys and values of the window are the state."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tsrec_models.sequence.fitted import Entry, FeedForward, Norm
from tsrec_models.sequence.intervals import CLOCK_WIDTH, N_BUCKETS, pack_clock, unpack_clock
from tsrec_models.sequence.neural import STEP_BLOCK, NeuralRecommender
from tsrec_models.sequence.recurrent import to_array
from tsrec_models.sequence.transformer_kernels import attend_rings, elapsed_in_rings, move_rings
from tsrec_models.sequence.transformer_network import TransformerBlock, TransformerNetwork

__all__ = ["Transformer"]

#: Columns before the rings: slot of the next event, and events kept.
_RING_WIDTH = 2

#: Floats of attention scores held at once while histories are encoded.
_ENCODE_SCORES = 1 << 24

#: Events encoded at once.
_ENCODE_EVENTS = 1 << 17


class _Layer:
    """A block's weights as the kernels read them."""

    def __init__(self, block: TransformerBlock) -> None:
        self.norm = Norm(block.norm)
        self.qkv, self.qkv_bias = to_array(block.qkv.weight.T), to_array(block.qkv.bias)
        self.distance_bias = to_array(block.distance_bias)
        heads = len(self.distance_bias)
        time_bias = np.zeros((heads, N_BUCKETS), np.float32)
        self.time_bias = time_bias if block.time_bias is None else to_array(block.time_bias)
        self.merge, self.merge_bias = to_array(block.merge.weight.T), to_array(block.merge.bias)
        self.feed_forward = FeedForward(block)


class Transformer(NeuralRecommender):
    """Causal Transformer with a sliding window.

    A state row holds the clock, the ring's position, the times of the window's events (where times are used), each
    layer's keys and values [2, window, width], and the last output: 51 KB a user at the default sizes. `step_rows`
    writes one key and one value a layer into a table in place; `step` has to copy the rows first.
    """

    name: ClassVar[str] = "transformer"
    network_class = TransformerNetwork
    network: TransformerNetwork

    @property
    def hidden_width(self) -> int:
        return self._cache_column - CLOCK_WIDTH + self.settings.layers * self._layer_width + self.settings.width

    @property
    def _layer_width(self) -> int:
        return 2 * self.settings.window * self.settings.width

    @property
    def _cache_column(self) -> int:
        return CLOCK_WIDTH + _RING_WIDTH + (2 * self.settings.window if self.with_times else 0)

    def compile(self) -> None:
        super().compile()
        network = self.network
        self._entry, self._norm_out = Entry(network), Norm(network.norm_out)
        self._layers = [_Layer(block) for block in network.blocks if isinstance(block, TransformerBlock)]

    def step(
        self, state: NDArray[np.float32], items: NDArray[np.int64], times: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        self._check_state(state)
        result = np.array(state, np.float32, order="C")
        self.step_rows(result, np.arange(len(state)), items, times)
        return result

    def step_rows(
        self, table: NDArray[np.float32], rows: NDArray[np.int64], items: NDArray[np.int64], times: NDArray[np.float64]
    ) -> None:
        self._check_state(table)
        items, times = self._known(items), np.asarray(times, np.float64)
        for first in range(0, len(rows), STEP_BLOCK):
            block = slice(first, first + STEP_BLOCK)
            self._step_block(table, rows[block], items[block], times[block])

    def _step_block(
        self, table: NDArray[np.float32], rows: NDArray[np.int64], items: NDArray[np.int64], times: NDArray[np.float64]
    ) -> None:
        window = self.settings.window
        if self.with_times:
            elapsed = elapsed_in_rings(table, rows, CLOCK_WIDTH, times, window)
        else:
            elapsed = np.zeros((len(rows), window), np.int64)
        x = self.stage_inputs(table, rows, items, times)
        mixed = np.empty_like(x)
        for index, layer in enumerate(self._layers):
            qkv = layer.norm(x) @ layer.qkv
            qkv += layer.qkv_bias
            offset = self._cache_column + index * self._layer_width
            attend_rings(table, rows, offset, qkv, elapsed, layer.distance_bias, layer.time_bias, CLOCK_WIDTH, mixed)
            x += mixed @ layer.merge
            x += layer.merge_bias
            layer.feed_forward.add_to(x)
        output = self.stage_output(table, rows, self._norm_out(x))
        move_rings(table, rows, CLOCK_WIDTH, window, pack_clock(times), self.with_times, output)

    def stage_inputs(
        self, table: NDArray[np.float32], rows: NDArray[np.int64], items: NDArray[np.int64], times: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """What the blocks get for one event of each of `rows`: [batch, width]."""
        return self._entered(table, rows, items, times)

    def stage_output(
        self, table: NDArray[np.float32], rows: NDArray[np.int64], output: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The output [batch, width] of `rows` made from what the blocks give."""
        return output

    def _entered(
        self, table: NDArray[np.float32], rows: NDArray[np.int64], items: NDArray[np.int64], times: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Normalised vectors of items and of the intervals since each row's last event: [batch, width]."""
        buckets = self._buckets(times, unpack_clock(table[rows, :CLOCK_WIDTH])) if self.with_times else None
        return self._entry(items, buckets)

    def encode_hidden(
        self,
        items: NDArray[np.int64],
        buckets: NDArray[np.int64],
        times: NDArray[np.float64],
        lengths: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        # A layer sees `window` events, so attention's part of the state depends on the last layers * window events.
        reach = self.settings.layers * self.settings.window
        hidden = np.zeros((len(items), self.hidden_width), np.float32)
        first = 0
        while first < len(items):
            longest = int(lengths[first])
            length = min(longest, reach)
            most = min(_ENCODE_SCORES // (self.settings.heads * length * length), _ENCODE_EVENTS // longest)
            rows = slice(first, first + max(1, most))
            block = items[rows, :longest], buckets[rows, :longest], times[rows, :longest]
            self._encode_block(hidden[rows], *block, lengths[rows], length)
            first = rows.stop
        return hidden

    def _encode_block(
        self,
        hidden: NDArray[np.float32],
        items: NDArray[np.int64],
        buckets: NDArray[np.int64],
        times: NDArray[np.float64],
        lengths: NDArray[np.int64],
        length: int,
    ) -> None:
        """Write `hidden` rows of histories [batch, longest], of which attention needs the last `length` events."""
        window, width = self.settings.window, self.settings.width
        # Those events, at the left; rows are sorted, so none is longer than the first.
        start = np.maximum(lengths - self.settings.layers * window, 0)
        at = np.minimum(start[:, None] + np.arange(length)[None], items.shape[1] - 1)
        stamps = np.take_along_axis(times, at, axis=1)
        clock = pack_clock(stamps.ravel())
        kept_times = unpack_clock(clock).reshape(stamps.shape)
        with self.device.inference():
            outputs, cached = self._encode_events(hidden, items, buckets, times, lengths, at, kept_times)
            layers = [self.device.get(part.float()) for part in cached]
            last_outputs = self.device.get(outputs.float())
        clock = clock.reshape(*stamps.shape, 2)
        batch = np.arange(len(items))
        column = self._cache_column - CLOCK_WIDTH
        hidden[:, 0] = lengths % window
        hidden[:, 1] = np.minimum(lengths, window)
        hidden[:, -width:] = last_outputs[batch, lengths - 1 - start]
        for back in range(1, min(window, length) + 1):
            rows = batch[lengths >= back]
            position = lengths[rows] - back  # of the event in its history
            slot, at = position % window, position - start[rows]
            if self.with_times:
                hidden[rows, _RING_WIDTH + 2 * slot] = clock[rows, at, 0]
                hidden[rows, _RING_WIDTH + 2 * slot + 1] = clock[rows, at, 1]
            for index, keys_values in enumerate(layers):
                layer = column + index * self._layer_width
                ring = hidden[:, layer : layer + self._layer_width].reshape(len(hidden), 2, window, width)
                ring[rows, 0, slot] = keys_values[rows, at, :width]
                ring[rows, 1, slot] = keys_values[rows, at, width:]

    def outputs(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(hidden[:, -self.settings.width :])

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
        """Outputs, and keys and values of each layer, at events `at` [batch, length], whose times are `kept_times`."""
        put = self.device.put
        cut_items, cut_buckets = np.take_along_axis(items, at, axis=1), np.take_along_axis(buckets, at, axis=1)
        return self.network.encode(put(cut_items), put(cut_buckets), put(kept_times) if self.with_times else None)

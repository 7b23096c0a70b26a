"""Fitted parts that the block networks share, as arrays that a step multiplies: how events enter, and the feed-forward.

`lru` and `transformer` differ in what stands between: a recurrence, or attention over cached keys.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tsrec_models.sequence.layer_kernels import gelu_rows, norm_rows
from tsrec_models.sequence.recurrent import to_array

__all__ = ["Entry", "FeedForward", "Norm"]


class _Enters(Protocol):
    item: nn.Embedding
    interval: nn.Embedding | None
    norm_in: nn.LayerNorm


class _Widens(Protocol):
    norm2: nn.LayerNorm
    expand: nn.Linear
    shrink: nn.Linear


class Norm:
    """A layer normalisation of rows."""

    def __init__(self, layer: nn.LayerNorm) -> None:
        self.scale, self.shift = to_array(layer.weight), to_array(layer.bias)

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalised rows [batch, width] of x [batch, width]."""
        rows: NDArray[np.float32] = norm_rows(x, self.scale, self.shift)
        return rows


class Entry:
    """Item vectors plus interval vectors, normalised."""

    def __init__(self, network: _Enters) -> None:
        self.items = to_array(network.item.weight)
        self.intervals = None if network.interval is None else to_array(network.interval.weight)
        self.norm = Norm(network.norm_in)

    def __call__(self, items: NDArray[np.int64], buckets: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """Rows [batch, width] of items [batch] and `buckets` [batch] of intervals, which may be None without times."""
        x: NDArray[np.float32] = np.take(self.items, items, axis=0)
        if self.intervals is not None:
            x += self.intervals[buckets]
        return self.norm(x)


class FeedForward:
    """A block's second half: normalise, widen, GELU, narrow, added to what came in."""

    def __init__(self, block: _Widens) -> None:
        self.norm = Norm(block.norm2)
        self.expand, self.expand_bias = to_array(block.expand.weight.T), to_array(block.expand.bias)
        self.shrink, self.shrink_bias = to_array(block.shrink.weight.T), to_array(block.shrink.bias)

    def add_to(self, x: NDArray[np.float32]) -> None:
        """x [batch, width] becomes the block's output, in place."""
        wide = self.norm(x) @ self.expand
        gelu_rows(wide, self.expand_bias)
        x += wide @ self.shrink
        x += self.shrink_bias

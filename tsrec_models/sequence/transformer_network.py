"""Causal Transformer over the last `window` events (SASRec: Kang and McAuley, 2018), aware of time as TiSASRec (2020).

Positions and intervals enter as biases of attention by distance and by elapsed time, never as absolute positions: a
cached key stays valid while the window slides on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsrec_models.sequence.dropout import Dropout
from tsrec_models.sequence.intervals import N_BUCKETS
from tsrec_models.sequence.network import SequenceNetwork
from tsrec_models.sequence.training_settings import Settings

__all__ = ["EXPANSION", "TransformerBlock", "TransformerNetwork"]

#: Hidden values of the feed-forward part per input value.
EXPANSION = 2


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each normalised before and added to its input."""

    def __init__(self, settings: Settings, with_times: bool) -> None:
        super().__init__()
        width = settings.width
        self.heads = settings.heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.distance_bias = nn.Parameter(torch.zeros(settings.heads, settings.window))
        self.time_bias = nn.Parameter(torch.zeros(settings.heads, N_BUCKETS)) if with_times else None
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, EXPANSION * width)
        self.shrink = nn.Linear(EXPANSION * width, width)
        self.drop = Dropout(settings.dropout)

    def forward(self, x: Tensor, distance: Tensor, outside: Tensor, elapsed: Tensor | None) -> tuple[Tensor, Tensor]:
        """New values and this layer's keys and values [batch, length, 2 width].

        distance [length, length] from query to key, clipped to the window; outside [length, length] bool, where a key
        must not be seen; elapsed [batch, length, length] interval buckets from key to query.
        """
        batch, length, width = x.shape
        query, key, value = self.qkv(self.norm(x)).split(width, dim=-1)
        split = (batch, length, self.heads, width // self.heads)
        bias = self.distance_bias[:, distance].masked_fill(outside, -torch.inf)  # [heads, length, length]
        if self.time_bias is not None and elapsed is not None:
            bias = bias + self.time_bias[:, elapsed].transpose(0, 1)  # [batch, heads, length, length]
        mixed = functional.scaled_dot_product_attention(
            query.view(split).transpose(1, 2),
            key.view(split).transpose(1, 2),
            value.view(split).transpose(1, 2),
            attn_mask=bias.expand(batch, -1, -1, -1),
        )
        x = x + self.drop(self.merge(mixed.transpose(1, 2).reshape(batch, length, width)))
        wide = functional.gelu(self.expand(self.norm2(x)), approximate="tanh")
        x = x + self.drop(self.shrink(self.drop(wide)))
        return x, torch.cat([key, value], dim=-1)


class TransformerNetwork(SequenceNetwork):
    """Blocks over normalised item vectors plus interval vectors."""

    def __init__(self, n_items: int, settings: Settings, with_times: bool) -> None:
        super().__init__(n_items, settings, with_times)
        width = settings.width
        self.interval = nn.Embedding(N_BUCKETS, width) if with_times else None
        if self.interval is not None:
            nn.init.zeros_(self.interval.weight)
        self.norm_in = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(TransformerBlock(settings, with_times) for _ in range(settings.layers))
        self.norm_out = nn.LayerNorm(width)

    def forward(self, items: Tensor, buckets: Tensor, times: Tensor | None = None) -> Tensor:
        return self.encode(items, buckets, times)[0]

    def encode(self, items: Tensor, buckets: Tensor, times: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Outputs [batch, length, width], and each layer's keys and values [batch, length, 2 width]."""
        x = self.item(items)
        if self.interval is not None:
            x = x + self.interval(buckets)
        return self.attend(self.input_drop(self.norm_in(x)), times)

    def attend(self, x: Tensor, times: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """The blocks over inputs [batch, length, width]; results as of `encode`."""
        position = torch.arange(x.shape[1], device=x.device)
        distance = position[:, None] - position[None]
        window = self.settings.window
        outside = (distance < 0) | (distance >= window)
        elapsed = None if times is None or not self.with_times else elapsed_buckets(times)
        cached = []
        for block in self.blocks:
            x, keys_values = block(x, distance.clamp(0, window - 1), outside, elapsed)
            cached.append(keys_values)
        return self.norm_out(x), cached


def elapsed_buckets(times: Tensor) -> Tensor:
    """Interval buckets from each event back to each event: [batch, length, length] of times [batch, length]."""
    elapsed = (times[:, :, None] - times[:, None]).clamp(0.0, 2.0**30 - 1.5)
    return torch.frexp(1.0 + elapsed)[1].long()

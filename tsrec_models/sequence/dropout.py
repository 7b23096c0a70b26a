"""Dropout with a byte of randomness a value: on a CPU, drawing a float a value costs as much as a layer's product."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Dropout"]

#: Values of a byte: probabilities are rounded to multiples of 1 / _LEVELS.
_LEVELS = 256


class Dropout(nn.Module):
    """`torch.nn.Dropout` (Srivastava et al., 2014) with `probability` rounded to a multiple of 1/256 on a CPU."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self._dropped = min(_LEVELS - 1, round(_LEVELS * probability))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self._dropped == 0:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.probability, training=True)
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self._dropped
        result: Tensor = x * (kept * (_LEVELS / (_LEVELS - self._dropped)))
        return result

    def extra_repr(self) -> str:
        return f"probability={self.probability}"

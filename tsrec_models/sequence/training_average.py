"""The running mean of a network's parameters, which foretells better than the parameters of any one step.

Steps of stochastic descent circle round a minimum; their mean lies nearer to it (Polyak and Juditsky, 1992).
"""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch

__all__ = ["ParameterAverage"]

#: Some network.
N = TypeVar("N", bound=torch.nn.Module)


class ParameterAverage(Generic[N]):
    """Keeps `network`, a copy whose parameters are the exponential moving average of another's.

    After step t the past counts min(`decay`, (1 + t) / (10 + t)): a short run is averaged over its last tenth, not over
    its beginnings. A `decay` of 0 follows the other network without a mean.
    """

    def __init__(self, network: N, decay: float) -> None:
        self.network: N = copy.deepcopy(network).eval()
        self.decay = decay
        self._source: list[torch.Tensor] = list(network.parameters())
        self._mean: list[torch.Tensor] = list(self.network.parameters())

    def update(self, step: int) -> None:
        """Take in the other network's parameters after its step `step`, the first being 1."""
        kept = min(self.decay, (1.0 + step) / (10.0 + step))
        with torch.no_grad():
            torch._foreach_lerp_(self._mean, self._source, 1.0 - kept)

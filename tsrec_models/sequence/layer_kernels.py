"""Layer normalisation and GELU of a few rows, in place of torch's, whose overhead would exceed a step's arithmetic."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.sequence.gates import tanh

__all__ = ["gelu_rows", "norm_rows"]

#: tanh form of GELU (Hendrycks and Gimpel, 2016), the same in training and here.
_GELU_SCALE = np.float32(math.sqrt(2 / math.pi))
_GELU_CUBE = np.float32(0.044715)
_HALF, _ONE = np.float32(0.5), np.float32(1.0)

#: torch.nn.LayerNorm's.
_NORM_EPS = np.float32(1e-5)


@njit(cache=True, fastmath={"contract", "nsz", "reassoc"})  # type: ignore[untyped-decorator]
def norm_rows(x: NDArray[np.float32], scale: NDArray[np.float32], shift: NDArray[np.float32]) -> NDArray[np.float32]:
    """Layer normalisation of rows [batch, width]."""
    batch, width = x.shape
    result = np.empty_like(x)
    inverse = _ONE / np.float32(width)
    for row in range(batch):
        mean = np.float32(0.0)
        for j in range(width):
            mean += x[row, j]
        mean *= inverse
        variance = np.float32(0.0)
        for j in range(width):
            variance += (x[row, j] - mean) * (x[row, j] - mean)
        factor = _ONE / np.sqrt(variance * inverse + _NORM_EPS)
        for j in range(width):
            result[row, j] = (x[row, j] - mean) * factor * scale[j] + shift[j]
    return result


@njit(cache=True, fastmath={"contract", "nsz"})  # type: ignore[untyped-decorator]
def gelu_rows(x: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """x = GELU(x + bias), in place."""
    for row in range(x.shape[0]):
        for j in range(x.shape[1]):
            v = x[row, j] + bias[j]
            x[row, j] = _HALF * v * (_ONE + tanh(_GELU_SCALE * (v + _GELU_CUBE * v * v * v)))

"""The order of a seasonal ARIMA model and the polynomials its coefficients multiply out to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError

__all__ = ["Order", "difference_coefficients", "multiply_out"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Order:
    """(p, d, q)(P, D, Q)_s, in the notation of Box and Jenkins; `mean` adds a constant to the differenced series.

    Raises ModelError for a negative part, or seasonal parts without a period of at least 2.
    """

    p: int
    d: int
    q: int
    P: int = 0
    D: int = 0
    Q: int = 0
    s: int = 1
    mean: bool = False

    def __post_init__(self) -> None:
        if min(self.p, self.d, self.q, self.P, self.D, self.Q) < 0:
            raise ModelError(f"ARIMA order {self}: every part must be 0 or more")
        if (self.P or self.D or self.Q) and self.s < 2:
            raise ModelError(f"ARIMA order {self}: seasonal parts need a period s of at least 2")

    @property
    def n_lags(self) -> int:
        """Past values that differencing looks back on: d + s D."""
        return self.d + self.s * self.D

    @property
    def n_states(self) -> int:
        """Width of Harvey's state of the differenced series: max(p + s P, q + s Q + 1)."""
        return max(self.p + self.s * self.P, self.q + self.s * self.Q + 1)

    @property
    def n_coefficients(self) -> int:
        """Free coefficients apart from the innovation variance and regressors."""
        return self.p + self.q + self.P + self.Q + int(self.mean)

    def __str__(self) -> str:
        text = f"({self.p},{self.d},{self.q})"
        if self.P or self.D or self.Q:
            text += f"({self.P},{self.D},{self.Q})[{self.s}]"
        return text + (" with mean" if self.mean else "")


def difference_coefficients(order: Order) -> Floats:
    """Coefficients delta [n_lags] with w_t = y_t - sum_j delta_j y_{t-j}, w = (1-B)^d (1-B^s)^D y."""
    polynomial = np.ones(1)
    for _ in range(order.d):
        polynomial = np.convolve(polynomial, [1.0, -1.0])
    seasonal = np.zeros(order.s + 1)
    seasonal[0], seasonal[-1] = 1.0, -1.0
    for _ in range(order.D):
        polynomial = np.convolve(polynomial, seasonal)
    return -polynomial[1:]


def multiply_out(plain: Floats, seasonal: Floats, s: int, sign: float) -> Floats:
    """Coefficients [n, p + s P] of the product of a plain [n, p] and a seasonal [n, P] lag polynomial.

    `sign` is -1 for autoregressive polynomials, 1 - sum c_i B^i, and +1 for moving averages, 1 + sum c_i B^i.
    """
    n, p = plain.shape
    product = np.zeros((n, p + s * seasonal.shape[1] + 1))
    product[:, 0] = 1.0
    product[:, 1 : p + 1] = sign * plain
    base = product[:, : p + 1].copy()
    for j in range(seasonal.shape[1]):
        product[:, s * (j + 1) : s * (j + 1) + p + 1] += sign * seasonal[:, j : j + 1] * base
    return sign * product[:, 1:]

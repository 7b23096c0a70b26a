"""The diagonal linear recurrence s_t = a * s_(t-1) + u_t over a batch of sequences, complex, with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["linear_scan", "scan_by_doubling", "scan_in_place"]


@njit(cache=True, fastmath={"contract", "nsz"})  # type: ignore[untyped-decorator]
def _forward(a_re: NDArray[np.float32], a_im: NDArray[np.float32], states: NDArray[np.float32]) -> None:
    """In place over `states` [batch, length, 2, h] (real, imaginary), which hold the inputs before."""
    batch, length, _, h = states.shape
    for b in range(batch):
        for t in range(1, length):
            for j in range(h):
                re, im = states[b, t - 1, 0, j], states[b, t - 1, 1, j]
                states[b, t, 0, j] += a_re[j] * re - a_im[j] * im
                states[b, t, 1, j] += a_re[j] * im + a_im[j] * re


@njit(cache=True, fastmath={"contract", "nsz"})  # type: ignore[untyped-decorator]
def _backward(
    a_re: NDArray[np.float32],
    a_im: NDArray[np.float32],
    states: NDArray[np.float32],
    grad: NDArray[np.float32],
    grad_a: NDArray[np.float32],
) -> None:
    """Turn `grad` from the gradient of the states into that of the inputs, in place; add up that of a in `grad_a`."""
    batch, length, _, h = grad.shape
    for b in range(batch):
        for t in range(length - 2, -1, -1):
            for j in range(h):
                re, im = grad[b, t + 1, 0, j], grad[b, t + 1, 1, j]
                grad[b, t, 0, j] += a_re[j] * re + a_im[j] * im
                grad[b, t, 1, j] += a_re[j] * im - a_im[j] * re
        for t in range(1, length):
            for j in range(h):
                re, im = grad[b, t, 0, j], grad[b, t, 1, j]
                before_re, before_im = states[b, t - 1, 0, j], states[b, t - 1, 1, j]
                grad_a[0, j] += before_re * re + before_im * im
                grad_a[1, j] += before_re * im - before_im * re


def scan_in_place(a: NDArray[np.float32], states: NDArray[np.float32]) -> None:
    """Turn inputs [batch, length, 2, h] into the states of the recurrence with a [2, h], for those who only encode."""
    _forward(a[0], a[1], states)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, inputs: Tensor) -> Tensor:
        states = inputs.detach().float().contiguous().clone()
        a = a.detach().float().contiguous()
        _forward(a[0].numpy(), a[1].numpy(), states.numpy())
        ctx.save_for_backward(a, states)
        return states

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        a, states = ctx.saved_tensors
        grad = grad.contiguous().clone()
        grad_a = torch.zeros_like(a)
        _backward(a[0].numpy(), a[1].numpy(), states.detach().numpy(), grad.numpy(), grad_a.numpy())
        return grad_a, grad


def linear_scan(a: Tensor, inputs: Tensor) -> Tensor:
    """States [batch, length, 2, h] of s_t = a * s_(t-1) + u_t for inputs of that shape and a [2, h] (real, imaginary).

    One pass over time by a kernel on a CPU; log(length) passes over everything on other devices.
    """
    if inputs.device.type != "cpu":
        return scan_by_doubling(a, inputs)
    apply: Callable[..., Tensor] = _Scan.apply
    return apply(a, inputs)


def scan_by_doubling(a: Tensor, inputs: Tensor) -> Tensor:
    """The same by Hillis and Steele's scan: after k rounds each state holds its last 2^k inputs."""
    power = torch.complex(a[0].float(), a[1].float())
    states = torch.complex(inputs[:, :, 0].float(), inputs[:, :, 1].float())
    shift = 1
    while shift < states.shape[1]:
        states = torch.cat([states[:, :shift], states[:, shift:] + power * states[:, :-shift]], dim=1)
        power = power * power
        shift *= 2
    return torch.stack([states.real, states.imag], dim=2)

"""Where a neural model runs: the device, the copies to and from it, and the precision of its arithmetic.

On a GPU all inference runs on one CUDA stream through pinned buffers, so that copies overlap with the host's own work,
and matrices are multiplied in half precision. On a CPU the recommenders use their own kernels instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tsrec_models.base import ModelError

__all__ = ["Device", "resolve_device"]


@dataclass(frozen=True)
class Device:
    """A torch device, with the one stream that inference uses and the dtype of mixed precision (None: float32)."""

    torch_device: torch.device
    half: torch.dtype | None = None
    #: dtype of the large products of training: half precision only where the hardware multiplies it faster.
    product_dtype: torch.dtype = torch.float32
    stream: Any = field(default=None, compare=False)

    @property
    def is_gpu(self) -> bool:
        return self.torch_device.type != "cpu"

    def put(self, array: NDArray[Any]) -> torch.Tensor:
        """Copy an array to the device; on a GPU through pinned memory and without waiting."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.torch_device.type != "cuda":
            return tensor.to(self.torch_device)
        return tensor.pin_memory().to(self.torch_device, non_blocking=True)

    def get(self, tensor: torch.Tensor) -> NDArray[Any]:
        """Copy a tensor back to the host and wait for it."""
        result: NDArray[Any] = tensor.detach().cpu().numpy()
        return result

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Run the body without gradients, on the inference stream, in mixed precision where the device has it."""
        with torch.inference_mode(), self.precision():
            if self.stream is None:
                yield
                return
            with torch.cuda.stream(self.stream):
                yield

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Mixed precision where the device has it, float32 elsewhere."""
        if self.half is None:
            yield
            return
        with torch.autocast(self.torch_device.type, dtype=self.half):
            yield


def resolve_device(name: str = "auto") -> Device:
    """The device called `name`: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, `mps`.

    Raises:
        ModelError: the name is unknown, or this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cpu":
        # bfloat16 products without the instructions for them are emulated, and slower than float32.
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return Device(device, product_dtype=torch.bfloat16 if fast else torch.float32)
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise ModelError("device 'mps' is not available on this machine: use auto or cpu")
        return Device(device)
    if device.type != "cuda":
        raise ModelError(f"device {name!r} is not supported: use auto, cpu, cuda, cuda:N or mps")
    if not torch.cuda.is_available():
        raise ModelError(f"device {name!r} asked for, but torch sees no GPU: use device=auto or cpu")
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise ModelError(f"device {name!r} asked for, but torch sees {torch.cuda.device_count()} GPU(s)")
    half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return Device(device, half=half, product_dtype=half, stream=torch.cuda.Stream(device))  # type: ignore[no-untyped-call]

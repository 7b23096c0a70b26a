"""A training run on disk, so that an interrupted one goes on where it was. Tensors as safetensors, the rest as JSON."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tsrec_models.base import ModelError

__all__ = ["Progress", "load_checkpoint", "save_checkpoint"]


@dataclass
class Progress:
    """How far a run is. `fingerprint` ties it to its data and settings."""

    fingerprint: str
    epoch: int = 0
    steps: int = 0
    best_epoch: int = 0
    best: dict[str, float] = field(default_factory=dict)
    stale: int = 0
    lr_scale: float = 1.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(
    folder: Path,
    progress: Progress,
    network: torch.nn.Module,
    average: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
) -> None:
    """Write the run to `folder`; a crash while writing leaves the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in slots.items() if torch.is_tensor(value)}
    metadata = {"progress": json.dumps(asdict(progress))}
    partial = folder / "checkpoint.safetensors.partial"
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, partial, metadata)
    os.replace(partial, folder / "checkpoint.safetensors")


def load_checkpoint(
    folder: Path,
    fingerprint: str,
    network: torch.nn.Module,
    average: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
) -> tuple[Progress, dict[str, Tensor]] | None:
    """Put a saved run back into the networks and the optimizer; its progress and best parameters, or None without one.

    Raises:
        ModelError: the checkpoint is damaged, or belongs to other data or settings.
    """
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return None
    try:
        tensors = load_file(path)
        progress = Progress(**json.loads(_metadata(path)["progress"]))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: not a readable checkpoint ({error}); delete it to start again") from error
    if progress.fingerprint != fingerprint:
        raise ModelError(f"{path}: made from other data or settings; choose another folder or delete it to start again")
    network.load_state_dict(_part(tensors, "network."))
    average.load_state_dict(_part(tensors, "average."))
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimizer.").items():
        index, slot = name.split(".", 1)
        slots.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress, _part(tensors, "best.")


def _metadata(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

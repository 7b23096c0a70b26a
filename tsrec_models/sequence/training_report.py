"""What a training run shows while it goes: a progress bar and, where wanted, TensorBoard or Weights & Biases logs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tsrec_models.base import ModelError

__all__ = ["TrainingView", "require_loggers"]


def require_loggers(tensorboard: Path | None, wandb: Path | None) -> None:
    """To be asked before anything that takes time.

    Raises:
        ModelError: logs are wanted whose package is not installed.
    """
    if tensorboard is not None and find_spec("tensorboard") is None:
        raise ModelError("TensorBoard logs need the package tensorboard: pip install tensorboard")
    if wandb is not None and find_spec("wandb") is None:
        raise ModelError("Weights & Biases logs need the package wandb: pip install wandb")


class TrainingView:
    """Shows epochs on stderr and writes each epoch's figures to the loggers asked for."""

    def __init__(self, name: str, epochs: int, *, show: bool, tensorboard: Path | None, wandb: Path | None) -> None:
        require_loggers(tensorboard, wandb)
        self._writer = _tensorboard_writer(tensorboard) if tensorboard is not None else None
        self._wandb = _wandb_run(name, wandb) if wandb is not None else None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
            disable=not show,
        )
        self._task = self._progress.add_task(f"training {name}", total=epochs, figures="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._writer is not None:
            self._writer.close()
        if self._wandb is not None:
            self._wandb.finish()

    def epoch(self, epoch: int, figures: dict[str, float]) -> None:
        """One epoch is over; `figures` are its loss and validation metrics."""
        text = "  ".join(f"{name} {value:.4f}" for name, value in figures.items() if name in ("loss", "ndcg@10"))
        self._progress.update(self._task, completed=epoch, figures=text)
        if self._writer is not None:
            for name, value in figures.items():
                self._writer.add_scalar(name, value, epoch)
        if self._wandb is not None:
            self._wandb.log(figures, step=epoch)


def _tensorboard_writer(folder: Path) -> Any:
    # Only for those who want its logs: tensorboard takes a second to load, as wandb does below.
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))


def _wandb_run(name: str, folder: Path) -> Any:
    import wandb  # type: ignore[import-not-found]

    folder.mkdir(parents=True, exist_ok=True)
    return wandb.init(project="tsrec", name=name, dir=str(folder), mode="offline")

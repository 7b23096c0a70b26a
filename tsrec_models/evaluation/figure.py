"""Figures as PNG files: refused before the work begins where they could not be written after it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tsrec_models.base import ModelError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_figure", "check_folder", "new_figure", "save_figure"]


def check_figure(path: Path | None) -> None:
    """Raises ModelError where `path` cannot become a figure; None is no wish for one."""
    if path is None:
        return
    if importlib.util.find_spec("matplotlib") is None:
        raise ModelError("a figure is drawn with `matplotlib`: pip install matplotlib")
    if path.suffix.lower() != ".png":
        raise ModelError(f"{path}: a figure is a PNG file, its name must end in .png")
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ModelError(f"{path}: cannot be written; its folder must exist and be writable")


def check_folder(path: Path | None) -> None:
    """Makes the folder `path` for what is to be saved; raises ModelError where it cannot be made or written to."""
    if path is None:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{path}: no folder can be made there ({error})") from error
    if not os.access(path, os.W_OK):
        raise ModelError(f"{path}: cannot be written to")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: Path, dpi: int) -> None:
    """Raises ModelError where it cannot be written."""
    try:
        figure.savefig(path, dpi=dpi, format="png")
    except OSError as error:
        raise ModelError(f"{path}: cannot be written ({error})") from error

"""The figure of `tsrec evaluate anomaly`: each series, its labelled windows, and what was detected."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tsrec_models.evaluation.anomaly import Series
from tsrec_models.evaluation.figure import new_figure, save_figure
from tsrec_models.evaluation.nab import Labelled, probation

__all__ = ["plot"]

_MOST = 60  # series in one figure; more are too small to read


def plot(corpus: list[Series], files: list[Labelled], threshold: float, path: Path) -> None:
    """Write a PNG of the first sixty series; detections in the unscored start are left out."""
    shown = list(zip(corpus, files, strict=True))[:_MOST]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure(6 * columns, 1.8 * rows)
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axis, (series, file) in zip(axes, shown, strict=False):
        axis.plot(series.values, linewidth=0.4, color="0.4")
        for first, last in series.windows:
            axis.axvspan(first, last, color="tab:orange", alpha=0.3)
        start = probation(len(series.values))
        hits = np.flatnonzero(file.scores >= threshold)
        hits = hits[hits >= start]
        axis.scatter(hits, series.values[hits], color="tab:red", s=10, zorder=3)
        axis.axvline(start, color="tab:green", linewidth=0.6)
        axis.set_title(series.name, fontsize=7)
        axis.tick_params(labelsize=6)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    save_figure(figure, path, 90)

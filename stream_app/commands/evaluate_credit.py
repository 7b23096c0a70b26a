"""`tsrec evaluate credit FILE --label COLUMN`: credit scoring on your own applications, five-fold."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import numpy as np

from stream_app.commands._last_line import last_line
from stream_app.errors import UsageError
from tsrec_models.evaluation.credit import CreditFigures, cross_validate
from tsrec_models.evaluation.credit_reading import Applications, read_applications
from tsrec_models.evaluation.figure import check_figure, check_folder, new_figure, save_figure
from tsrec_models.risk.credit import CreditScorer
from tsrec_models.risk.fairness import gaps, group_rates

__all__ = ["command"]


@click.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--label", required=True, metavar="COLUMN", help="The outcome: a column with two values.")
@click.option("--bad", metavar="VALUE", help="Which of them is bad. Default: bad, default, 1 …, else the rarer one.")
@click.option("--drop", metavar="COLUMN,...", default="", help="Columns that are no features: ids, later outcomes.")
@click.option("--group", metavar="COLUMN", help="Also print how this column's groups are treated.")
@click.option("--without-group", is_flag=True, help="Do not let the model see the column of --group.")
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--plot", type=click.Path(path_type=Path), help="Write the figure to this PNG.")
@click.option("--save", type=click.Path(path_type=Path), help="Fit on all rows and save the scorer to this folder.")
def command(
    path: Path,
    label: str,
    bad: str | None,
    drop: str,
    group: str | None,
    without_group: bool,
    folds: int,
    seed: int,
    plot: Path | None,
    save: Path | None,
) -> None:
    """Fit and score FILE in turns: four fifths to learn from, the fifth to score.

    FILE is CSV or Parquet with numeric and text columns; all but --label are features. How strong, how large and how
    blended the models are, the calibration and the threshold are chosen inside the training rows. The last line is one
    JSON object.
    """
    check_figure(plot)
    check_folder(save)
    data = read_applications(path, label, bad)
    groups = data.table.get(group) if group else None
    if group and groups is None:
        raise UsageError(f"{path}: no column {group!r} for --group; it has {', '.join(data.table)}")
    gone = {name for name in drop.split(",") if name}
    unknown = gone - set(data.table)
    if unknown:
        raise UsageError(f"{path}: no column {', '.join(sorted(unknown))} to drop; it has {', '.join(data.table)}")
    gone |= {group} if group and without_group else set()
    data = Applications({n: c for n, c in data.table.items() if n not in gone}, data.is_bad, data.bad_value)
    bad_cases = int(data.is_bad.sum())
    click.echo(f"{len(data.is_bad)} cases, {bad_cases} bad ({label} = {data.bad_value}), {len(data.table)} features")
    started = time.monotonic()
    figures = cross_validate(data, folds, seed)
    if groups is not None:
        rates = group_rates(figures.probability, data.is_bad, groups, figures.threshold)
        for rate in rates:
            click.echo(json.dumps(rate.row()))
        click.echo(json.dumps({"gaps": {k: round(v, 4) for k, v in gaps(rates).items()}, "group": group}))
    if plot is not None:
        _plot(data, figures, plot)
        click.echo(f"figure: {plot}")
    if save is not None:
        CreditScorer.fit(data.table, data.is_bad, seed).save(save)
        click.echo(f"scorer in {save}; a worker with TSREC_CREDIT__MODEL={save} answers credit-applications with it")
    names = ("auc", "ks", "brier", "calibration_error", "accuracy", "recall", "f1", "best_f1", "best_recall")
    last = {name: getattr(figures, name) for name in names}
    last |= {"threshold": figures.threshold, "cases": len(data.is_bad), "bad": bad_cases}
    click.echo(last_line({**last, "folds": folds, "seconds": round(time.monotonic() - started, 1)}))


def _plot(data: Applications, figures: CreditFigures, plot: Path) -> None:
    """ROC curve and predicted against observed rates, out of fold."""
    order = np.argsort(-figures.probability, kind="stable")
    y = data.is_bad[order]
    figure = new_figure(9, 4.2)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    left.plot(np.cumsum(~y) / (~y).sum(), np.cumsum(y) / y.sum(), color="#1f5fa8")
    left.set(xlabel="good cases turned down", ylabel="bad cases found", title=f"AUC {figures.auc:.3f}")
    parts = np.array_split(order[::-1], 10)
    right.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    predicted = [figures.probability[p].mean() for p in parts]
    observed = [data.is_bad[p].mean() for p in parts]
    right.plot(predicted, observed, "o", color="#c0392b")
    top = max(max(predicted), max(observed)) * 1.1
    right.set(xlim=(0, top), ylim=(0, top), xlabel="predicted rate of bad cases", ylabel="observed rate")
    right.set_title(f"Calibration error {figures.calibration_error:.3f}")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    save_figure(figure, plot, 120)

"""`tsrec evaluate fraud FILE`: card fraud on your own transactions, rolled over time: train, wait for labels, test."""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from stream_app.commands._columns import columns_by_field
from stream_app.commands._last_line import last_line
from tsrec_models.evaluation.figure import check_figure, check_folder, new_figure, save_figure
from tsrec_models.evaluation.fraud import Transactions, rolled
from tsrec_models.evaluation.fraud_reading import COLUMNS, read_transactions
from tsrec_models.risk.fraud_features import FEATURES, FraudFeatures
from tsrec_models.risk.fraud_model import FraudModel

__all__ = ["command"]


@click.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--columns",
    metavar="FIELD=COLUMN,...",
    default="",
    help="Other names of columns, such as ts=when,account_id=card. The Fraud Detection Handbook's are known.",
)
@click.option("--k", type=click.IntRange(min=1), default=100, show_default=True, help="Cards looked at in a day.")
@click.option("--train-days", type=click.IntRange(min=1), default=7, show_default=True)
@click.option("--delay-days", type=click.IntRange(min=0), default=7, show_default=True, help="Until labels are known.")
@click.option("--test-days", type=click.IntRange(min=1), default=7, show_default=True)
@click.option(
    "--warmup-days", type=click.IntRange(min=0), default=30, show_default=True, help="To fill the windows first."
)
@click.option("--last", type=click.IntRange(min=1), help="Only the last N folds.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--save", type=click.Path(path_type=Path), help="Fit on the last labelled --train-days and save the model here."
)
@click.option("--plot", type=click.Path(path_type=Path), help="Write the figure to this PNG.")
def command(
    path: Path,
    columns: str,
    k: int,
    train_days: int,
    delay_days: int,
    test_days: int,
    warmup_days: int,
    last: int | None,
    seed: int,
    save: Path | None,
    plot: Path | None,
) -> None:
    """Learn fraud from FILE's past and score its future, fold by fold.

    FILE is CSV or Parquet with the columns ts, account_id, merchant_id, amount, label (1 is fraud). No label is used,
    in training or in a feature, before --delay-days have passed since its transaction. The last line is a JSON object.
    """
    check_figure(plot)
    check_folder(save)
    data, dropped = read_transactions(path, columns_by_field(columns, COLUMNS))
    click.echo(
        f"{len(data.ts)} transactions of {len(np.unique(data.account))} accounts at {len(np.unique(data.merchant))} "
        f"merchants, {int(data.is_fraud.sum())} frauds, {int(data.day[-1]) + 1} days"
    )
    if dropped:
        click.echo(f"{dropped} rows left out: something missing, or a negative amount", err=True)
    started = time.monotonic()
    x = FraudFeatures().replay(
        data.account, data.merchant, data.ts, data.amount, data.is_fraud, delay_s=86_400.0 * delay_days
    )
    click.echo(f"{len(FEATURES)} features in {time.monotonic() - started:.1f} s")
    tested: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []

    def method(train: NDArray[np.int64], test: NDArray[np.int64]) -> NDArray[np.float64]:
        model = FraudModel.fit(x[train], data.is_fraud[train], data.ts[train], seed=seed)
        p = model.predict(x[test])
        tested.append((test, p))
        return p

    scores = rolled(
        data,
        method,
        k=k,
        last=last,
        train_days=train_days,
        delay_days=delay_days,
        test_days=test_days,
        warmup_days=warmup_days,
    )
    if save is not None:
        labelled = data.day[-1] + 1 - delay_days  # what came later has no labels yet
        rows = np.flatnonzero((data.day < labelled) & (data.day >= labelled - train_days))
        FraudModel.fit(x[rows], data.is_fraud[rows], data.ts[rows], seed=seed).save(save)
        click.echo(f"model in {save}; a worker with TSREC_FRAUD__MODEL={save} scores card-transactions with it")
    if plot is not None:
        _plot(data, tested, plot)
        click.echo(f"figure: {plot}")
    figures = {
        "auc": scores.auc,
        "average_precision": scores.average_precision,
        f"card_precision@{k}": scores.card_precision,
        "calibration_error": round(scores.calibration_error, 5),
        "folds": scores.folds,
        "transactions": len(data.ts),
        "frauds": int(data.is_fraud.sum()),
        "seconds": round(time.monotonic() - started, 1),
    }
    click.echo(last_line(figures, digits=5))


def _plot(data: Transactions, tested: list[tuple[NDArray[np.int64], NDArray[np.float64]]], plot: Path) -> None:
    """Precision over recall of all test days, and predicted against observed rates."""
    rows = np.concatenate([test for test, _ in tested])
    p = np.concatenate([scores for _, scores in tested])
    y = data.is_fraud[rows]
    order = np.argsort(-p, kind="stable")
    hits = np.cumsum(y[order])
    figure = new_figure(10, 4.2)
    left, right = figure.subplots(1, 2)
    left.plot(hits / hits[-1], hits / np.arange(1, len(p) + 1), color="#1f5fa8")
    left.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="All test days")
    bins = [part for part in np.array_split(order[::-1], 200) if len(part)][-40:]
    predicted, observed = [p[b].mean() for b in bins], [y[b].mean() for b in bins]
    right.plot([1e-4, 1], [1e-4, 1], color="#999999", linewidth=1)
    right.loglog(np.maximum(predicted, 1e-4), np.maximum(observed, 1e-4), "o", markersize=4, color="#c0392b")
    right.set(
        xlabel="predicted rate of fraud", ylabel="observed rate", title="Calibration, riskiest fifth in 40 groups"
    )
    for axis in (left, right):
        axis.grid(alpha=0.3)
    save_figure(figure, plot, 120)

"""`tsrec evaluate forecast PATH`: accuracy and kept promises of forecasts on a CSV of series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from numpy.typing import NDArray

from stream_app.commands._last_line import last_line
from stream_app.errors import UsageError

if TYPE_CHECKING:
    from tsrec_models.arima import Order
    from tsrec_models.evaluation.forecast import ForecastReport

__all__ = ["command", "draw"]

LISTED = 20  # series listed one by one before the last line
DRAWN = 4  # series in the picture
DRAWN_STEPS = 300  # the latest of each; of more an interval is a line


@click.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--order", "order_text", metavar="P,D,Q[,P,D,Q,S]", help="Fixed order; chosen by AICc without.")
@click.option("--horizon", default=1, show_default=True, type=click.IntRange(1, 500), help="Steps ahead.")
@click.option(
    "--level", default=0.9, show_default=True, type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of values that intervals shall hold.",
)  # fmt: skip
@click.option("--period", type=click.IntRange(1), help="Period of the season, 1 for none; detected without.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Write a picture (PNG).")
def command(
    path: Path, order_text: str | None, horizon: int, level: float, period: int | None, plot: Path | None
) -> None:
    """Score forecasts of the series in the columns of a CSV file (a header of names, one value a line, empty: missing).

    The last HORIZON values of each series are held out for MASE and sMAPE; coverage and width are those of intervals
    made online, from parameters of the first quarter, for every later value before it was seen. Columns of dates are
    left out. The last line is one JSON object.
    """
    order = parse_order(order_text) if order_text else None
    from tsrec_models.evaluation.figure import check_figure
    from tsrec_models.evaluation.forecast import evaluate_forecasts, shortest
    from tsrec_models.evaluation.forecast_reading import read_series

    check_figure(plot)
    file = read_series(path)
    if file.sorted_by is not None:
        click.echo(f"rows were put in order of {file.sorted_by!r}")
    names, columns = file.names, file.columns

    lengths = [_length(values) for values in columns]
    long = [i for i, length in enumerate(lengths) if length >= shortest(horizon)]
    if not long:
        raise UsageError(
            f"{path}: the longest series has {max(lengths)} values, a horizon of {horizon} needs {shortest(horizon)}"
        )
    if len(long) < len(columns):
        left_out = [name for i, name in enumerate(names) if i not in set(long)]
        click.echo(f"left out, too short for the horizon: {', '.join(left_out)}")
    names, columns = [names[i] for i in long], [columns[i] for i in long]
    if order is not None and period is None:
        period = order.s
    report = evaluate_forecasts(columns, horizon, level, order, period)
    for i, name in enumerate(names[:LISTED]):
        mase = report.end.mase[i]
        click.echo(f"{name}: ARIMA{report.end.fits.order(i)}, mase {mase:.3f}, smape {report.end.smape[i]:.2f}")
    if len(names) > LISTED:
        click.echo(f"… and {len(names) - LISTED} more series")
    if plot is not None:
        draw(report, names, level, plot)
        click.echo(f"figure: {plot}")
    figures = {"level": level, "horizon": horizon, **report.figures()}
    click.echo(last_line(figures))


def _length(values: NDArray[np.float64]) -> int:
    """Values from the first to the last one seen."""
    seen = np.flatnonzero(np.isfinite(values))
    return int(seen[-1] - seen[0]) + 1 if len(seen) else 0


def parse_order(text: str) -> Order:
    """An Order from `p,d,q` or `p,d,q,P,D,Q,s`; UsageError where it is neither."""
    from tsrec_models.arima import Order

    try:
        numbers = [int(part) for part in text.replace("(", "").replace(")", "").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (3, 7):
        raise UsageError(f"--order {text}: three numbers p,d,q, or seven p,d,q,P,D,Q,s")
    p, d, q, P, D, Q, s = numbers if len(numbers) == 7 else [*numbers, 0, 0, 0, 1]
    return Order(p, d, q, P, D, Q, s)


def draw(report: ForecastReport, names: list[str], level: float, path: Path) -> None:
    """Write a PNG: the end of the first series with one-step intervals, and rolling coverage over all of them."""
    from tsrec_models.evaluation.figure import new_figure, save_figure

    shown = min(DRAWN, len(names))
    figure = new_figure(11, 2.4 * (shown + 1))
    axes = figure.subplots(shown + 1, 1, squeeze=False)[:, 0]
    rolling = report.rolling
    for i in range(shown):
        steps = np.arange(len(rolling.actual[i]))[-DRAWN_STEPS:]
        lower, upper, actual = (values[i][steps] for values in (rolling.lower, rolling.upper, rolling.actual))
        axes[i].fill_between(steps, lower, upper, color="#9ecae1", label=f"{level:.0%} interval")
        axes[i].plot(steps, actual, color="#222222", linewidth=0.8, label="value")
        seen = actual[np.isfinite(actual)]
        if not len(seen):  # a gap as long as the picture
            continue
        margin = 0.2 * (seen.max() - seen.min() + 1e-12)
        axes[i].set_ylim(seen.min() - margin, seen.max() + margin)
        axes[i].set_title(f"{names[i]}: ARIMA{report.end.fits.order(i)}", loc="left", fontsize=9)
        axes[i].legend(loc="upper left", fontsize=7)
    longest = max(len(c) for c in rolling.covered)
    hits = np.full((longest, len(rolling.covered)), np.nan)
    for i, covered in enumerate(rolling.covered):
        hits[: len(covered), i] = covered[:, 0]
    count = np.isfinite(hits).sum(axis=1)
    window = max(longest // 20, 20)
    kernel = np.ones(window)
    rate = np.convolve(np.nansum(hits, axis=1), kernel, "valid") / np.maximum(np.convolve(count, kernel, "valid"), 1)
    axes[-1].plot(np.arange(len(rate)) + window - 1, rate, color="#d95f0e")
    axes[-1].axhline(level, color="#222222", linewidth=0.8, linestyle="--")
    axes[-1].set_ylim(min(0.7, level - 0.1), 1.0)
    axes[-1].set_title(f"coverage one step ahead, over {window} steps, all series", loc="left", fontsize=9)
    axes[-1].set_xlabel("steps after the warm-up")
    save_figure(figure, path, 110)

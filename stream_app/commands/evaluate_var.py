"""`tsrec evaluate var PATH`: value at risk of a price history, backtested one step ahead."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from stream_app.commands._last_line import last_line

__all__ = ["command"]


@click.command()
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--level", default=0.99, show_default=True, type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Level of both.",
)  # fmt: skip
@click.option(
    "--warmup", type=click.IntRange(1), default=1000, show_default=True, help="Returns before the first forecast."
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write a figure (PNG) here.")
def command(path: Path, level: float, warmup: int, plot: Path | None) -> None:
    """Backtest one-day value at risk and expected shortfall of a price history.

    FILE is CSV with the columns date and close. No parameter comes from the future. The last line is one JSON object.
    """
    from tsrec_models.evaluation import var
    from tsrec_models.evaluation.figure import check_figure

    check_figure(plot)
    dates, closes = var.read_prices(path)
    result, forecast = var.evaluate(closes, level, warmup)
    if plot:
        var.plot(dates[warmup + 1 :], forecast, result, plot)
        click.echo(f"figure: {plot}")
    click.echo(f"{result.hits} of {result.days} days beyond VaR {level:.1%}; {result.expected:.1f} expected")
    click.echo(last_line(asdict(result)))

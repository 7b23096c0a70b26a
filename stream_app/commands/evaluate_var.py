"""`tsrec evaluate var PATH`: value at risk of a price history, backtested one step ahead."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from stream_app.commands._last_line import last_line

__all__ = ["command"]


@click.command()
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--level", default=0.99, show_default=True, help="Level of VaR and ES.")
@click.option("--warmup", default=1000, show_default=True, help="Returns before the first forecast.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write a figure (PNG) here.")
def command(path: Path, level: float, warmup: int, plot: Path | None) -> None:
    """Backtest one-step VaR and ES of the CSV at PATH (date,close). No parameter comes from the future."""
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

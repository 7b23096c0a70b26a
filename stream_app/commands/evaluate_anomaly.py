"""`tsrec evaluate anomaly FOLDER --labels windows.json`: anomaly detection by the Numenta benchmark's rules."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

__all__ = ["command"]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--labels", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write a figure (PNG) here.")
def command(folder: Path, labels: Path, plot: Path | None) -> None:
    """Score the detector on the CSV files (timestamp,value) below FOLDER against labelled windows."""
    from tsrec_models.evaluation import anomaly, anomaly_plot

    corpus = anomaly.read_corpus(folder, labels)
    figures, files = anomaly.evaluate(corpus)
    if plot:
        anomaly_plot.plot(corpus, files, figures.threshold, plot)
        click.echo(f"figure: {plot}")
    click.echo(
        f"standard profile {figures.nab_standard:.1f} with the corpus' own best threshold; "
        f"{figures.nab_standard_fixed:.1f} at a false-alarm rate of {anomaly.FALSE_ALARM_RATE:g} set beforehand"
    )
    click.echo(json.dumps(asdict(figures)))

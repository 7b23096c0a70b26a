"""`tsrec evaluate anomaly FOLDER --labels windows.json`: anomaly detection by the Numenta benchmark's rules."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from stream_app.commands._last_line import last_line

__all__ = ["command"]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--labels", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write a figure (PNG) here.")
def command(folder: Path, labels: Path, plot: Path | None) -> None:
    """Score the detector on the CSV files (timestamp,value) below FOLDER against labelled windows."""
    from tsrec_models.evaluation import anomaly, anomaly_plot
    from tsrec_models.evaluation.figure import check_figure

    check_figure(plot)
    corpus = anomaly.read_corpus(folder, labels)
    named = len(json.loads(labels.read_text(encoding="utf-8")))
    if named > len(corpus):
        click.echo(f"{len(corpus)} of the {named} files that {labels.name} names are below {folder}")
    figures, files = anomaly.evaluate(corpus)
    if plot:
        anomaly_plot.plot(corpus, files, figures.threshold, plot)
        click.echo(f"figure: {plot}")
    click.echo(
        f"standard profile {figures.nab_standard:.1f} with the corpus' own best threshold; "
        f"{figures.nab_standard_fixed:.1f} at a false-alarm rate of {anomaly.FALSE_ALARM_RATE:g} set beforehand"
    )
    click.echo(last_line(asdict(figures)))

"""`tsrec evaluate KIND PATH`: the group; each kind is a module of its own."""

from __future__ import annotations

import click

from stream_app.cli import LazyGroup

__all__ = ["command"]

KINDS = {
    "ranking": ("evaluate_ranking", "Next-item ranking over all items: hr@10, ndcg@10, mrr@20, recall@20."),
    "forecast": ("evaluate_forecast", "Point and interval forecasts: mase, smape, coverage, width."),
    "var": ("evaluate_var", "Value at risk and expected shortfall, backtested one step ahead."),
    "anomaly": ("evaluate_anomaly", "Anomaly detection by the Numenta benchmark's rules."),
    "credit": ("evaluate_credit", "Credit scoring, five-fold: auc, ks, brier, calibration error."),
    "fraud": ("evaluate_fraud", "Card fraud, rolling train/delay/test: average precision, card precision@100."),
}


@click.group(cls=LazyGroup, lazy=KINDS)
def command() -> None:
    """Score a model on your own file. The last line printed is one JSON object."""

"""`tsrec demo`: the main job on the embedded broker with real data."""

from __future__ import annotations

import asyncio
import sys

import click

__all__ = ["command"]


@click.command()
@click.option("--seconds", type=click.FloatRange(0), default=0, help="End after this long; 0: until Ctrl-C.")
@click.option("--rate", type=click.FloatRange(1), default=300.0, show_default=True, help="Shop events a second.")
@click.option(
    "--speed", type=click.FloatRange(0.1), default=5.0, show_default=True,
    help="Trades so many times as fast as they happened.",
)  # fmt: skip
def command(seconds: float, rate: float, speed: float) -> None:
    """Start an embedded broker and a worker, replay real purchases and trades, and show what comes out.

    Purchases: Online Retail (UCI, CC BY 4.0), with a simulated view before each. Trades: Binance (hftbacktest's
    examples, MIT). The last line is a JSON object with events, recommendations, how often the next purchase was in the
    last list shown, alerts and latencies. Exit code 1 if nothing came out.
    """
    from stream_app.demo.run import run_demo

    sys.exit(asyncio.run(run_demo(seconds=seconds, rate=rate, speed=speed)))

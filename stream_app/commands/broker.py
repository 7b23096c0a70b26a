"""`tsrec broker`: the embedded broker, until Ctrl-C."""

from __future__ import annotations

import signal

import click

from stream_app.embedded import EmbeddedBroker
from stream_app.errors import BrokerUnavailable

__all__ = ["command"]


@click.command()
@click.option("--port", type=click.IntRange(1, 65_535), default=9092, show_default=True, help="Port of loopback.")
def command(port: int) -> None:
    """Run a Kafka-compatible broker in memory, for trying things out; what it holds is gone when it ends.

    It has consumer groups but no transactions: for exactly_once, and for anything you want to keep, use Apache Kafka.
    """
    broker = EmbeddedBroker(port)
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _interrupt)
    broker.start()
    click.echo(f"broker at {broker.bootstrap}; Ctrl-C ends it")
    try:
        if broker.process is not None:
            raise BrokerUnavailable(f"the embedded broker ended by itself, with code {broker.process.wait()}")
    except KeyboardInterrupt:
        pass
    finally:
        broker.stop()


def _interrupt(*_: object) -> None:
    """As Ctrl-C. The broker is not stopped in here: who is interrupted waits for it already, and holds its lock."""
    raise KeyboardInterrupt

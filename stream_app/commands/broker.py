"""`tsrec broker`: the embedded broker, until Ctrl-C."""

from __future__ import annotations

import signal

import click

from stream_app.embedded import EmbeddedBroker

__all__ = ["command"]


@click.command()
@click.option("--port", type=click.IntRange(1, 65_535), default=9092, show_default=True, help="Port of loopback.")
def command(port: int) -> None:
    """Run a Kafka-compatible broker in memory, for trying things out; what it holds is gone when it ends.

    It has consumer groups but no transactions: for exactly_once, and for anything you want to keep, use Apache Kafka.
    """
    broker = EmbeddedBroker(port)
    signal.signal(signal.SIGTERM, lambda *_: broker.stop())
    broker.start()
    click.echo(f"broker at {broker.bootstrap}; Ctrl-C ends it")
    try:
        while broker.process is not None and broker.process.poll() is None:
            broker.process.wait()
    except (KeyboardInterrupt, AttributeError):
        pass
    finally:
        broker.stop()

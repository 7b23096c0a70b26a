"""What the commands that talk to a broker share: its address, the catalog of the settings, errors in one line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import click
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError, UnrecognizedBrokerVersion

from stream_app.contract import catalog_of, dialect_of
from stream_app.errors import BrokerRefused, TsrecError, UsageError
from stream_app.security import Cluster, cluster_of, diagnose, not_allowed
from stream_app.setting_sources import unknown_variables
from stream_app.settings import Settings, load
from topics.catalog import Catalog, Topic

__all__ = [
    "bootstrap_option",
    "catalog_of",
    "cluster_of",
    "dialect_of",
    "echo_table",
    "run",
    "settings_for",
    "tell_unknown_variables",
    "topic_named",
]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def bootstrap_option(function: F) -> F:
    """Adds `--bootstrap`; without it the environment says, and then 127.0.0.1:9092."""
    return click.option("--bootstrap", metavar="HOST:PORT", help="Kafka bootstrap servers. [TSREC_BOOTSTRAP]")(function)


def settings_for(bootstrap: str | None, **overrides: Any) -> Settings:
    """The settings with what the command line gave on top."""
    given = {name: value for name, value in {"bootstrap": bootstrap, **overrides}.items() if value is not None}
    return load(**given)


def tell_unknown_variables() -> None:
    """A line on stderr for each variable that looks like a setting and is none."""
    for name, guess in unknown_variables().items():
        hint = f"; did you mean {guess}?" if guess else ""
        click.echo(f"{name} is in the environment, and is no setting{hint}", err=True)


def topic_named(catalog: Catalog, name: str) -> Topic:
    """A topic by our name or the broker's; raises UsageError with the names there are."""
    topic = catalog.get(name) or catalog.by_kafka_name(name)
    if topic is None:
        raise UsageError(f"no topic {name!r} in the contract; there are {', '.join(catalog)}")
    return topic


def echo_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print rows under a header; the columns `right` are numbers, set to the right."""
    widths = [max(len(row[k]) for row in (header, *rows)) for k in range(len(header))]
    for line, row in enumerate((header, *rows)):
        cells = (
            cell.rjust(w) if k in right else cell.ljust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        click.secho("  ".join(cells).rstrip(), bold=line == 0)


def run(cluster: Cluster, work: Coroutine[Any, Any, T]) -> T:
    """Run `work`; what Kafka raises becomes an error of ours, in one line. Ctrl-C ends quietly with code 130."""
    # The client logs each failed connection; the one line of the error says it better.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(work)
    except (KafkaConnectionError, NodeNotReadyError, UnrecognizedBrokerVersion, ConnectionError) as error:
        raise asyncio.run(diagnose(cluster)) from error
    except KafkaError as error:
        if sentence := not_allowed(error):
            raise BrokerRefused(f"{sentence} ({error})") from error
        raise TsrecError(f"the broker at {cluster.bootstrap} refused: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None

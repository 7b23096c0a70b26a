"""`tsrec tail TOPIC`: watch a topic, each record on a line, by the type the contract gives it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from stream_app.commands._common import (
    bootstrap_option,
    catalog_of,
    cluster_of,
    dialect_of,
    run,
    settings_for,
    topic_named,
)
from stream_app.reading import Ends, open_topic
from stream_app.security import Cluster
from topics import wire
from topics.catalog import Topic
from topics.decisions import Recommendation, RiskAlert
from topics.dialect import Dialect
from topics.errors import RecordError, parse_error_headers

__all__ = ["command", "describe"]

COLOURS = {"critical": "red", "warning": "yellow", "info": "cyan"}


@click.command()
@click.argument("topic")
@bootstrap_option
@click.option("--from", "start", default="end", show_default=True, metavar="beginning|end|-N",
              help="Where to begin; -N: the last N records of each partition.")  # fmt: skip
@click.option("--limit", "-n", type=click.IntRange(1), help="End after so many records.")
@click.option("--until-end", is_flag=True, help="End at what is the end of the topic now.")
@click.option("--key", help="Only records with this key.")
@click.option("--as", "as_", metavar="NAME", help="Read TOPIC, which is not of the contract, as this topic of it.")
@click.option("--raw", is_flag=True, help="The values as they are, one a line, and nothing else.")
def command(
    topic: str,
    bootstrap: str | None,
    start: str,
    limit: int | None,
    until_end: bool,
    key: str | None,
    as_: str | None,
    raw: bool,
) -> None:
    """Print the records of TOPIC, a name of the contract or of any topic on the broker, as they come.

    Ctrl-C ends it. Records that do not fit the contract are shown with what is wrong with them.
    """
    settings = settings_for(bootstrap)
    catalog = catalog_of(settings)
    known = topic_named(catalog, as_) if as_ else catalog.get(topic) or catalog.by_kafka_name(topic)
    name = topic if as_ or known is None else known.kafka_name
    if start not in ("beginning", "end") and not (start[:1] == "-" and start[1:].isdigit()):
        raise click.BadParameter(f"{start!r} is none of beginning, end, -N", param_hint="--from")
    dialect = dialect_of(settings, known) if known else None

    def show(record: Any) -> bool:
        if key is not None and record.key != key.encode():
            return False
        click.echo((record.value or b"") if raw else describe(record, known, dialect))
        return True

    cluster = cluster_of(settings)
    run(cluster, _follow(cluster, name, start, limit, until_end, show))


async def _follow(cluster: Cluster, name: str, start: str, limit: int | None, until_end: bool, show: Any) -> None:
    """Show records from `start` until one of the ends that were asked for."""
    async with open_topic(cluster, name) as (consumer, partitions):
        first, last = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        for partition in partitions:
            back = 0 if start == "end" else last[partition] if start == "beginning" else int(start[1:])
            consumer.seek(partition, max(first[partition], last[partition] - back))
        shown = 0
        ends = Ends(consumer, last)
        while True:
            if until_end and all([await ends.reached(partition) for partition in partitions]):
                return
            for partition, records in (await consumer.getmany(timeout_ms=200)).items():
                for record in records:
                    if until_end and record.offset >= ends[partition]:
                        break
                    shown += show(record)
                    if shown == limit:
                        return
            sys.stdout.flush()


def describe(record: Any, topic: Topic | None, dialect: Dialect | None = None) -> str:
    """One line for a record: when, where, its key, and its fields or what is wrong with it."""
    when = datetime.fromtimestamp(record.timestamp / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    key = "–" if record.key is None else record.key.decode("utf-8", "replace")
    head = click.style(f"{when} {record.partition}:{record.offset}", dim=True) + " " + click.style(key, bold=True)
    origin, _ = parse_error_headers(record.headers)
    if origin is not None:
        place = f"{origin.topic}:{origin.partition}:{origin.offset}"
        body = _text(record.value)
        return (
            f"{head} {click.style(origin.reason, fg='red')} at {origin.stage} from {place}: {origin.message} | {body}"
        )
    if topic is None or topic.type is None:
        return f"{head} {_text(record.value)}"
    if record.value is None:
        return f"{head} {click.style('deleted', fg='yellow')}"
    decoded = wire.decode_one(wire.decoder(topic.type, dialect), 0, record.value)
    if isinstance(decoded, RecordError):
        return f"{head} {click.style(decoded.reason, fg='red')}: {decoded.message} | {_text(record.value)}"
    return f"{head} {_fields(decoded)}"


def _ago(seconds: float) -> str:
    """A time between two moments: milliseconds in a live stream, days where history is read again."""
    if abs(seconds) < 10:
        return f"{seconds * 1000:,.0f} ms"
    for size, name in ((86_400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds:,.0f} s"


def _fields(decoded: Any) -> str:
    """What a person wants to see of a record."""
    if isinstance(decoded, Recommendation):
        items = ", ".join(
            f"{item.item_id} {item.score:.3g}" + (f" ({item.reason})" if item.reason else "") for item in decoded.items
        )
        latency = _ago(decoded.produced_ts - decoded.event_ts)
        note = f" [{decoded.note}]" if decoded.note else ""
        return f"{click.style(decoded.rung, fg='green')} {items}{note}  {latency} after {decoded.source}"
    if isinstance(decoded, RiskAlert):
        colour = COLOURS[decoded.severity] if decoded.status == "firing" else "green"
        what = click.style(f"{decoded.severity} {decoded.kind} {decoded.status}", fg=colour)
        return f"{what}: {decoded.message} (value {decoded.value:.6g}, threshold {decoded.threshold:.6g})"
    parts = []
    for name in decoded.__struct_fields__:
        value = getattr(decoded, name)
        if value is not None:
            parts.append(f"{click.style(name, dim=True)}={_value(name, value)}")
    return " ".join(parts)


def _value(name: str, value: Any) -> str:
    if name.endswith("ts") or name in ("available_from", "expires_at"):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    if isinstance(value, float):
        return f"{value:.10g}"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _text(value: bytes | None) -> str:
    """A value on one line, cut where it is long."""
    if value is None:
        return "null"
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in value[:600].decode("utf-8", "backslashreplace"))
    return text if len(value) <= 600 else f"{text}… ({len(value)} bytes)"

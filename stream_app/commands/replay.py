"""`tsrec replay FILE…`: records of files into a topic, as fast as it goes, at a rate, or as they happened."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from aiokafka import AIOKafkaProducer
from numpy.typing import NDArray

from stream_app.commands._common import bootstrap_option, catalog_of, cluster_of, run, settings_for, topic_named
from stream_app.commands._files import Chunk, FileFormat, Layout, read_file
from stream_app.errors import TsrecError, UsageError
from stream_app.reading import partition_counts
from stream_app.security import Cluster
from stream_app.transport.partitioning import partitions_of
from topics.dialect import UNITS
from topics.spans import Spans

__all__ = ["command"]

#: With a rate or a speed, records due within this many seconds go together.
SLICE_S = 0.01

#: Largest batch of records sent to a partition at once.
BATCH_BYTES = 256 << 10

#: Batches a partition may have on their way: enough to keep the broker busy, little enough to end at once.
IN_FLIGHT = 4

#: After so long without a first record somebody wonders what goes on.
PATIENCE_S = 3.0

#: Refused rows whose reasons are shown.
SHOWN_ERRORS = 5


@dataclass
class _Tally:
    """What has happened so far."""

    sent: int = 0
    refused: int = 0
    errors: list[str] = field(default_factory=list)


def _pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """`name=text` options as a dict."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not of the form NAME=TEXT", param_hint=option)
        pairs[name] = value
    return pairs


def _choices(texts: tuple[str, ...], option: str) -> dict[str, list[str]]:
    """`column=value` options, several values a column."""
    choices: dict[str, list[str]] = {}
    for text in texts:
        for name, value in _pairs((text,), option).items():
            choices.setdefault(name, []).append(value)
    return choices


def _values(texts: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """`field:theirs=ours` options."""
    values: dict[str, dict[str, str]] = {}
    for name, ours in _pairs(texts, "--value").items():
        field_name, colon, theirs = name.partition(":")
        if not colon:
            raise click.BadParameter(f"{name!r} is not of the form FIELD:THEIRS", param_hint="--value")
        values.setdefault(field_name, {})[theirs] = ours
    return values


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--topic", "-t", required=True, help="Topic of the contract, such as clicks, purchases, trades, items.")
@bootstrap_option
@click.option(
    "--field", "fields", multiple=True, metavar="OURS=THEIRS", help="A field's name in the files. Repeatable."
)
@click.option(
    "--value",
    "values",
    multiple=True,
    metavar="FIELD:THEIRS=OURS",
    help="A value's name there, such as action:pv=view.",
)
@click.option("--set", "constants", multiple=True, metavar="FIELD=TEXT", help="The same text in every record.")
@click.option("--only", multiple=True, metavar="COLUMN=VALUE", help="Only rows with such a value. Repeatable.")
@click.option("--skip", multiple=True, metavar="COLUMN=VALUE", help="No rows with such a value. Repeatable.")
@click.option(
    "--time-unit", type=click.Choice([*UNITS, "iso"]), default="s", show_default=True, help="Of time columns."
)
@click.option("--columns", help="Names of the columns of a CSV without a header, comma separated.")
@click.option("--delimiter", default=",", show_default=True, help="Between the columns of a CSV.")
@click.option("--speed", type=click.FloatRange(0, min_open=True), help="As it happened, so many times as fast.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Records a second.")
@click.option("--limit", "-n", type=click.IntRange(1), help="End after so many records.")
@click.option(
    "--max-refused", type=click.IntRange(0), default=0, show_default=True, metavar="ROWS",
    help="More rows that do not fit end with exit code 1.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Read and check the files; send nothing.")
def command(
    files: tuple[Path, ...], topic: str, bootstrap: str | None, fields: tuple[str, ...], values: tuple[str, ...],
    constants: tuple[str, ...], only: tuple[str, ...], skip: tuple[str, ...], time_unit: str,
    columns: str | None, delimiter: str, speed: float | None, rate: float | None, limit: int | None, max_refused: int,
    dry_run: bool,
) -> None:  # fmt: skip
    """Send the records of FILES (.csv, .tsv, .jsonl, .parquet, also .gz) to a topic, written as the contract says.

    Keys choose the partition as Java's clients do. Rows that do not fit the contract are left out, counted, and the
    first of them named; all others are sent. The exit code is 0 where no more than --max-refused were left out, else 1.

    \b
    tsrec replay retail.parquet -t purchases --field user_id=CustomerID --field item_id=StockCode \\
        --field ts=InvoiceDate --time-unit iso --field price=UnitPrice --field quantity=Quantity \\
        --skip CustomerID=0
    tsrec replay UserBehavior.csv.gz -t clicks --columns user_id,item_id,category,action,ts \\
        --value action:pv=view --value action:fav=favorite --skip action=buy --speed 60
    """
    if speed and rate:
        raise click.UsageError("--speed and --rate exclude each other")
    settings = settings_for(bootstrap)
    known = topic_named(catalog_of(settings), topic)
    if known.type is None:
        raise UsageError(f"{known.name} holds records as they came: send them with dlq requeue")
    for file in files:
        FileFormat(file)
    layout = Layout(
        _pairs(fields, "--field"), _values(values), time_unit, _pairs(constants, "--set"),
        columns.split(",") if columns else [], delimiter, _choices(only, "--only"), _choices(skip, "--skip"),
    )  # fmt: skip
    pace = _Pace(rate, speed)
    tally = _Tally()
    started = time.perf_counter()
    with _progress(files) as update:
        chunks: Iterator[Chunk] = _chunks(files, known.type, known.key, layout, limit, tally, update)
        with _patience():
            first = next(chunks, None)  # a mistake in the files is told before a broker is asked for
        chunks = itertools.chain([] if first is None else [first], chunks)
        if dry_run:
            for chunk in chunks:
                tally.sent += len(chunk.values)
        else:
            cluster = cluster_of(settings)
            run(cluster, _send(cluster, known.kafka_name, chunks, pace, tally, update))
    took = time.perf_counter() - started
    verb = "read" if dry_run else "sent"
    click.echo(f"{verb} {tally.sent:,} records to {known.kafka_name} in {took:.1f} s ({tally.sent / took:,.0f}/s)")
    for error in tally.errors:
        click.echo(f"refused: {error}", err=True)
    if tally.refused:
        click.echo(f"{tally.refused:,} of {tally.refused + tally.sent:,} rows do not fit the contract", err=True)
    if tally.refused and not tally.sent:
        raise TsrecError(f"no row fits the contract of {known.name}")
    if tally.refused > max_refused:
        raise TsrecError(
            f"the rows that fit were {verb}, {tally.refused:,} were not: mend them, leave them out with --skip, "
            f"or accept them with --max-refused {tally.refused}"
        )


@contextmanager
def _patience() -> Iterator[None]:
    """Say why, if it takes long."""
    said = "reading; the first call for a topic in an installation compiles its kernels, which takes up to a minute …"
    timer = threading.Timer(PATIENCE_S, click.echo, [said], {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _progress:
    """A bar on stderr while a terminal looks; `update(file, done, tally)` moves it."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}"), console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("replay", total=float(len(files)), rate="")
        self._started = time.perf_counter()

    def __enter__(self) -> Callable[[float, _Tally], None]:
        self._bar.start()
        return self._update

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _update(self, done: float, tally: _Tally) -> None:
        rate = tally.sent / max(time.perf_counter() - self._started, 1e-9)
        self._bar.update(self._task, completed=done, rate=f"{tally.sent:,} records, {rate:,.0f}/s")


def _chunks(
    files: tuple[Path, ...],
    type_: type[Any],
    key: str,
    layout: Layout,
    limit: int | None,
    tally: _Tally,
    update: Callable[[float, _Tally], None],
) -> Iterator[Chunk]:
    """The records of all files, at most `limit`; refused rows are counted on the way."""
    left = limit
    for number, file in enumerate(files):
        row = 0
        for chunk in read_file(file, type_, key, layout):
            # Rows behind the last one that is wanted are not looked at, whatever they are.
            errors = [error for n, error in enumerate(chunk.errors) if left is None or error.row - n < left]
            for error in errors:
                if len(tally.errors) < SHOWN_ERRORS:
                    tally.errors.append(f"{file.name}, record {row + error.row + 1}: {error.message}")
            tally.refused += len(errors)
            row += len(chunk.values) + len(chunk.errors)
            if left is not None and len(chunk.values) >= left:
                head = slice(0, left)
                yield Chunk(_cut(chunk.keys, head), _cut(chunk.values, head), chunk.ts[head], [], chunk.done)
                return
            yield chunk
            if left is not None:
                left -= len(chunk.values)
            update(number + chunk.done, tally)


def _cut(spans: Spans, rows: slice) -> Spans:
    return Spans(spans.data, spans.start[rows], spans.end[rows])


class _Pace:
    """When a record may go: at a rate, or at its event time, `speed` times as fast; at once with neither.

    An event older than one before it is due with that one.
    """

    def __init__(self, rate: float | None, speed: float | None) -> None:
        self.rate = rate
        self.speed = speed
        self._count = 0
        self._first: float | None = None
        self._latest = -np.inf

    def due(self, ts: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Seconds after the start at which each of the next records is due; None: now."""
        n = len(ts)
        if self.rate:
            due = (self._count + np.arange(n)) / self.rate
            self._count += n
            return due
        if not self.speed or not n:
            return None
        if np.isnan(ts[0]):
            raise UsageError("--speed needs records with a time: use --rate for this topic")
        if self._first is None:
            self._first = float(ts[0])
        latest: NDArray[np.float64] = np.maximum.accumulate(np.maximum(ts, self._latest))
        self._latest = float(latest[-1])
        return (latest - self._first) / self.speed


async def _send(
    cluster: Cluster,
    topic: str,
    chunks: Iterator[Chunk],
    pace: _Pace,
    tally: _Tally,
    update: Callable[[float, _Tally], None],
) -> None:
    """Send all chunks, each record not before it is due."""
    counts = await partition_counts(cluster)
    if topic not in counts:
        raise UsageError(
            f"the broker at {cluster.bootstrap} has no topic {topic!r}: create it with `tsrec topics create`"
        )
    producer = AIOKafkaProducer(**cluster.options(), max_batch_size=BATCH_BYTES, max_request_size=4 << 20, linger_ms=2)
    try:
        await producer.start()
        lines = _Lines(producer, topic, counts[topic])
        started = time.perf_counter()
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            due = pace.due(chunk.ts)
            n, low = len(chunk.values), 0
            while low < n:
                high = n
                if due is not None:
                    wait = due[low] - (time.perf_counter() - started)
                    if wait > 0:
                        await lines.drain()
                        await asyncio.sleep(min(wait, 0.5))
                        update(chunk.done, tally)
                        continue
                    high = int(np.searchsorted(due, time.perf_counter() - started + SLICE_S, "right"))
                    high = max(high, low + 1)
                await lines.put(_cut(chunk.keys, slice(low, high)), _cut(chunk.values, slice(low, high)))
                tally.sent += high - low
                low = high
        await lines.drain()
    finally:
        await producer.stop()


class _Lines:
    """Batches on their way, bounded for each partition; a batch the broker refuses raises at the next call."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self._producer = producer
        self._topic = topic
        self._partitions = partitions
        self._waiting: list[list[Any]] = [[] for _ in range(partitions)]

    async def put(self, keys: Spans, values: Spans) -> None:
        """Queue records; waits while a partition has IN_FLIGHT batches on their way."""
        places = partitions_of(keys, self._partitions)
        for partition in range(self._partitions):
            rows = np.flatnonzero(places == partition)
            if len(rows):
                await self._put(partition, keys.take(rows).tolist(), values.take(rows).tolist())

    async def _put(self, partition: int, keys: list[bytes | None], values: list[bytes | None]) -> None:
        # The time of a record is now, not its event's: a broker deletes by it, and would drop the past at once.
        now = int(time.time() * 1000)
        batch = self._producer.create_batch()
        for key, value in zip(keys, values, strict=True):
            if batch.append(key=key, value=value, timestamp=now) is None:
                await self._go(partition, batch)
                batch = self._producer.create_batch()
                if batch.append(key=key, value=value, timestamp=now) is None:
                    raise UsageError(
                        f"a record of {len(value or b'')} bytes is larger than a batch may be ({BATCH_BYTES})"
                    )
        await self._go(partition, batch)

    async def _go(self, partition: int, batch: Any) -> None:
        waiting = self._waiting[partition]
        if len(waiting) >= IN_FLIGHT:
            await waiting.pop(0)
        waiting.append(await self._producer.send_batch(batch, self._topic, partition=partition))

    async def drain(self) -> None:
        """Wait for the broker's word on everything sent."""
        for waiting in self._waiting:
            while waiting:
                await waiting.pop(0)

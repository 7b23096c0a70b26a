"""`tsrec dlq`: the dead letters, by reason, one by one, and back to where they came from."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from stream_app.commands._common import (
    bootstrap_option,
    catalog_of,
    cluster_of,
    dialect_of,
    echo_table,
    run,
    settings_for,
)
from stream_app.dead_letters import MAX_ATTEMPTS, Filter, Letter, explanation, letters, requeue, summary
from stream_app.settings import Settings
from topics.catalog import Catalog

__all__ = ["command"]


@click.group()
def command() -> None:
    """Records that could not be processed: list them by reason, show them, send them back.

    \b
    tsrec dlq list
    tsrec dlq show --reason invalid --limit 3
    tsrec dlq requeue --reason failed --topic clicks --since 2h --dry-run
    """


def filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say which letters are meant."""
    for option in (
        click.option("--until", metavar="WHEN", help="Letters written before then."),
        click.option(
            "--since",
            metavar="WHEN",
            help="Letters written since then: 2026-01-31T14:00 (UTC), or 90s, 15m, 2h, 3d ago.",
        ),
        click.option("--position", default="", metavar="P:O", help="One letter, by its place in the dead letters."),
        click.option("--message", default="", metavar="TEXT", help="Letters whose message has this in it."),
        click.option("--topic", default="", help="Letters that came from this topic."),
        click.option("--stage", default="", help="Letters that failed at this stage."),
        click.option("--reason", default="", help="undecodable, invalid, oversized, empty, late or failed."),
    ):
        function = option(function)
    return function


def _open(bootstrap: str | None) -> tuple[Settings, Catalog, str]:
    settings = settings_for(bootstrap)
    catalog = catalog_of(settings)
    return settings, catalog, catalog["dead-letters"].kafka_name


def _filter(
    catalog: Catalog,
    reason: str,
    stage: str,
    topic: str,
    message: str,
    position: str,
    since: str | None,
    until: str | None,
) -> Filter:
    known = catalog.get(topic)
    return Filter(
        reason, stage, known.kafka_name if known else topic, message, position,
        _when(since, "--since"), _when(until, "--until"),
    )  # fmt: skip


def _when(text: str | None, option: str) -> float | None:
    """Seconds since the epoch of a time, or of so long ago."""
    if text is None:
        return None
    ago = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if ago is not None:
        return time.time() - float(ago[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is neither a time such as 2026-01-31T14:00 nor one such as 15m ago", param_hint=option
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@command.command("list", short_help="How many there are, by reason, stage and topic.")
@bootstrap_option
@filters
@click.option("--json", "as_json", is_flag=True, help="One JSON object a group.")
def list_(bootstrap: str | None, as_json: bool, **given: Any) -> None:
    """How many letters there are for each reason, stage, topic and kind of message."""
    settings, catalog, name = _open(bootstrap)
    cluster = cluster_of(settings)
    wanted = _filter(catalog, **given)
    found = [letter for letter in run(cluster, letters(cluster, name)) if wanted.matches(letter)]
    rows = summary(found)
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return
    if not rows:
        click.echo("no dead letters")
        return
    table = [
        (
            row["reason"], row["stage"], row["topic"], f"{row['letters']:,}", f"{row['requeued']:,}",
            str(row["attempts"]), _time(row["last"]), row["example"], row["message"],
        )
        for row in rows
    ]  # fmt: skip
    header = ("reason", "stage", "topic", "letters", "requeued", "attempts", "last", "example", "message")
    echo_table(header, table, right=(3, 4, 5))
    click.echo(f"{len(found):,} letters; one of them: tsrec dlq show --position {rows[0]['example']}")


@command.command(short_help="Each with its record and what was wrong.")
@bootstrap_option
@filters
@click.option("--limit", "-n", type=click.IntRange(1), default=10, show_default=True, help="The latest so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a letter.")
def show(bootstrap: str | None, limit: int, as_json: bool, **given: Any) -> None:
    """Each letter with its record beside what was wrong, and what the contract says of it today."""
    settings, catalog, name = _open(bootstrap)
    cluster = cluster_of(settings)
    wanted = _filter(catalog, **given)
    found = [letter for letter in run(cluster, letters(cluster, name)) if wanted.matches(letter)]
    for letter in found[-limit:]:
        now = _today(letter, settings, catalog)
        if as_json:
            click.echo(json.dumps(_as_dict(letter, now), ensure_ascii=False))
        else:
            _print(letter, now)
    if not found and not as_json:
        click.echo("no dead letters match")


def _today(letter: Letter, settings: Settings, catalog: Catalog) -> str:
    """What the contract, as the settings have it, says of the record now; empty where it would be accepted."""
    source = catalog.by_kafka_name(letter.origin.topic) if letter.origin else None
    return explanation(letter, catalog, dialect_of(settings, source) if source else None)


def _as_dict(letter: Letter, now: str) -> dict[str, Any]:
    origin = letter.origin
    return {
        "position": letter.position,
        "time": letter.timestamp_ms / 1000,
        "key": None if letter.key is None else letter.key.decode("utf-8", "backslashreplace"),
        "value": None if letter.value is None else letter.value.decode("utf-8", "backslashreplace"),
        "reason": origin.reason if origin else None,
        "message": origin.message if origin else None,
        "stage": origin.stage if origin else None,
        "source": f"{origin.topic}:{origin.partition}:{origin.offset}" if origin else None,
        "contract_today": now or "accepted",
        "requeued": letter.requeued,
        "attempts": letter.attempts,
    }


def _print(letter: Letter, now: str) -> None:
    """A letter over several lines; the field that the complaint names is marked in the record."""
    origin = letter.origin
    said = origin.message if origin else "no headers of ours"
    click.echo(
        click.style(f"{letter.position}", bold=True)
        + f"  {_time(letter.timestamp_ms / 1000)}"
        + ("  " + click.style("requeued", fg="green") if letter.requeued else "")
    )
    if origin:
        click.echo(f"  from     {origin.topic}:{origin.partition}:{origin.offset}, failed at {origin.stage}")
        click.echo(f"  reason   {click.style(origin.reason, fg='red')}: {said}")
    if letter.attempts:
        click.echo(f"  tried    sent back {letter.attempts} times before, and failed again")
    click.echo(f"  today    {now or click.style('the contract accepts it', fg='green')}")
    click.echo(f"  key      {'–' if letter.key is None else letter.key.decode('utf-8', 'backslashreplace')}")
    field = said.rpartition("`$.")[2].rstrip("`") if "`$." in said else ""
    for line in _pretty(letter.value):
        marked = bool(field) and line.strip().startswith(f'"{field.split(".")[0].split("[")[0]}"')
        click.echo(("  ▸ " if marked else "    ") + (click.style(line, fg="red") if marked else line))


def _pretty(value: bytes | None) -> list[str]:
    """The record over several lines where it is JSON, else as text with what is no text escaped; cut at 40 lines."""
    if value is None:
        return ["null"]
    try:
        lines = msgspec.json.format(value, indent=2).decode().splitlines()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = value[:2000].decode("utf-8", "backslashreplace")
        lines = ["".join(c if c.isprintable() else repr(c)[1:-1] for c in text) + ("…" if len(value) > 2000 else "")]
    return lines if len(lines) <= 40 else [*lines[:40], f"… {len(lines) - 40} more lines"]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


@command.command("requeue", short_help="Send them back to where they came from.")
@bootstrap_option
@filters
@click.option("--dry-run", is_flag=True, help="Only say how many would be sent, and where.")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="Letters a second; as fast as it goes by default."
)
@click.option("--limit", "-n", type=click.IntRange(1), help="The oldest so many of those that match.")
@click.option("--again", is_flag=True, help="Also those that were sent back before.")
@click.option(
    "--max-attempts", type=click.IntRange(1), default=MAX_ATTEMPTS, show_default=True,
    help="Leave letters whose record was sent back so often and failed each time.",
)  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Send all; without it a filter is needed.")
def requeue_(
    bootstrap: str | None,
    dry_run: bool,
    rate: float | None,
    limit: int | None,
    again: bool,
    max_attempts: int,
    everything: bool,
    **given: Any,
) -> None:
    """Send letters back to the topics they came from, with their key, bytes and own headers.

    They stay in the dead letters, marked in the same transaction, so that none is sent twice. Mend the cause first:
    what is still wrong comes back as a new letter, which says how often it was tried.
    """
    if not everything and not any(given.values()):
        raise click.UsageError(
            "say which letters (--reason, --topic, --stage, --message, --position, --since, --until), or --all"
        )
    settings, catalog, name = _open(bootstrap)
    cluster = cluster_of(settings)
    wanted = _filter(catalog, **given)
    found = [letter for letter in run(cluster, letters(cluster, name)) if wanted.matches(letter)]
    if not found:
        click.echo("no dead letters match")
        return
    chosen = [letter for letter in found if again or not letter.requeued]
    tired = sum(letter.attempts >= max_attempts for letter in chosen)
    chosen = [letter for letter in chosen if letter.attempts < max_attempts][:limit]
    if dry_run:
        counts: dict[str, int] = {}
        for letter in chosen:
            home = letter.origin.topic if letter.origin else "nowhere: no headers of ours"
            counts[home] = counts.get(home, 0) + 1
        for home, count in counts.items():
            click.echo(f"would send {count:,} {'letter' if count == 1 else 'letters'} to {home}")
        if refused := sum(bool(_today(letter, settings, catalog)) for letter in chosen):
            click.echo(f"the contract still refuses {refused:,} of them, which would come back: mend the cause first")
        left = len(found) - len(chosen) - tired
        if left or not chosen:
            click.echo(f"{left:,} of {len(found):,} that match were sent before or are over the limit")
        _echo_tired(tired, max_attempts)
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("requeue", total=len(chosen))
        done = run(
            cluster,
            requeue(
                cluster,
                name,
                chosen,
                rate=rate or 0.0,
                again=again,
                max_attempts=max_attempts,
                sent=lambda n: progress.advance(task, n),
            ),
        )
    left = len(found) - len(chosen) - tired + done.already
    click.echo(
        f"sent {done.sent:,} {'letter' if done.sent == 1 else 'letters'} back"
        + (f", {done.homeless:,} have no topic to go to" if done.homeless else "")
        + (f", {left:,} were sent before or are over the limit" if left else "")
    )
    _echo_tired(tired, max_attempts)


def _echo_tired(tired: int, max_attempts: int) -> None:
    if tired:
        click.echo(
            f"{tired:,} failed {max_attempts} times or more after being sent back: `tsrec dlq show`, then mend them"
        )

"""`tsrec doctor`: examine everything around the worker, and say what to do."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from dataclasses import asdict

import click

from stream_app.commands._common import bootstrap_option, settings_for

__all__ = ["command"]

#: Exit codes by the gravest finding.
EXIT = {"ok": 0, "warning": 1, "error": 2}

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


@click.command()
@bootstrap_option
@click.option("--group", help="Consumer group. [TSREC_GROUP]")
@click.option(
    "--watch", "watch_s", type=click.FloatRange(0.5, 300), default=3.0, show_default=True,
    help="Seconds between two looks at the consumer group.",
)  # fmt: skip
@click.option("--probe", is_flag=True, help="Make a topic, write to it, delete it: rights, and the broker's clock.")
@click.option("--quiet", "-q", is_flag=True, help="Only warnings and errors.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding.")
def command(bootstrap: str | None, group: str | None, watch_s: float, probe: bool, quiet: bool, as_json: bool) -> None:
    """Examine broker, topics, consumer group, clocks, models, security, versions, device, disk, memory and ports.

    Nothing is changed, except by --probe. Run it with the settings of the worker, where the worker runs.

    \b
    Exit codes: 0 all is well, 1 there are warnings, 2 there are errors (or a setting is wrong).
    """
    from stream_app.doctor import examine, worst
    from stream_app.doctor.findings import counted

    settings = settings_for(bootstrap, group=group)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    findings = asyncio.run(examine(settings, watch_s=watch_s, probe=probe))
    for finding in findings:
        if quiet and finding.severity == "ok":
            continue
        if as_json:
            click.echo(json.dumps(asdict(finding), ensure_ascii=False))
            continue
        mark, colour = _MARKS[finding.severity]
        click.echo(
            f"{click.style(mark, fg=colour, bold=True)} {click.style(finding.check, bold=True)}: {finding.message}"
        )
        if finding.advice:
            click.echo(f"    → {finding.advice}")
    if not as_json:
        counts = [sum(finding.severity == severity for finding in findings) for severity in ("error", "warning")]
        told = f"{counted(counts[0], 'error')}, {counted(counts[1], 'warning')}"
        click.echo(f"{told}, {len(findings) - sum(counts)} fine")
    sys.exit(EXIT[worst(findings)])

"""`tsrec replay-decision ID`: a recommendation made again from what it was made from. No worker need run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from stream_app.commands._common import bootstrap_option, catalog_of, run, settings_for
from stream_app.decision_log import replay_decision
from stream_app.security import cluster_of

__all__ = ["command"]


@click.command()
@click.argument("decision_id")
@bootstrap_option
@click.option("--model", type=click.Path(path_type=Path), help="The artifact, or the store that has it. [TSREC_MODEL]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(decision_id: str, bootstrap: str | None, model: Path | None, as_json: bool) -> None:
    """Read the record of a decision (TSREC_AUDIT_SHARE), score, blend and filter again, and say whether the same list
    comes out.

    Exit codes: 0 the same, 1 not the same, 2 there is no record of it.
    """
    settings = settings_for(bootstrap)
    cluster = cluster_of(settings)
    work = replay_decision(cluster, catalog_of(settings), decision_id, model or settings.model)
    verdict = run(cluster, work)
    if as_json:
        click.echo(json.dumps(verdict.as_dict()))
    else:
        for place, (item, score, source) in enumerate(verdict.items, start=1):
            click.echo(f"{place:3} {item:24} {score:.6f}  {source}")
        for check in verdict.checks:
            click.echo(f"    {check}")
        if verdict.same:
            click.secho(f"{decision_id}: the same decision", fg="green")
        else:
            click.secho(f"{decision_id}: NOT the same", fg="red")
            for difference in verdict.differences:
                click.echo(f"    {difference}")
    sys.exit(0 if verdict.same else 1)

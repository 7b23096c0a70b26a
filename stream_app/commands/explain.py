"""`tsrec explain`: why a decision named these items, or why a model would name them to a user of a log."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from stream_app.commands._common import bootstrap_option, catalog_of, run, settings_for
from stream_app.errors import UsageError
from stream_app.explaining import Explanation, contributions, explain
from stream_app.security import Cluster, cluster_of
from topics.catalog import Catalog

__all__ = ["command"]


@click.command()
@click.argument("decision_id", required=False)
@click.option("--user", help="A user of --log, instead of a decision.")
@click.option("--log", "path", type=click.Path(path_type=Path), help="CSV, Parquet or JSONL: user_id, item_id, ts.")
@click.option("--model", type=click.Path(path_type=Path), help="An artifact, or a store of them. [TSREC_MODEL]")
@click.option("-k", "k", type=click.IntRange(1, 100), default=10, show_default=True, help="Items, with --user.")
@click.option("--most", type=click.IntRange(1), default=3, show_default=True, help="Past items named for each.")
@bootstrap_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object an item.")
def command(
    decision_id: str | None,
    user: str | None,
    path: Path | None,
    model: Path | None,
    k: int,
    most: int,
    bootstrap: str | None,
    as_json: bool,
) -> None:
    """Name, for each item of a list, the past items that speak for it.

    \b
    tsrec explain 9f2c…                           a decision, from its record (TSREC_AUDIT_SHARE)
    tsrec explain --user u17 --log clicks.csv --model FOLDER

    `rules` is what a past item adds to the rules' score: over all past items it sums to the score. `model` is how far
    the logarithm of the item's share falls when the model does not see that past item.
    """
    settings = settings_for(bootstrap)
    folder = model or settings.model
    if decision_id is not None and user is None:
        cluster = cluster_of(settings)
        found = run(cluster, _of_decision(cluster, catalog_of(settings), decision_id, folder, most))
    elif user is not None and path is not None and decision_id is None:
        found = _of_user(user, path, folder, k, most)
    else:
        raise UsageError("either a decision's id, or --user with --log")
    for explanation in found:
        click.echo(json.dumps(explanation.as_dict(), ensure_ascii=False) if as_json else _text(explanation))
    if not found and not as_json:
        click.echo("the list is empty: there is nothing to explain")


async def _of_decision(
    cluster: Cluster, catalog: Catalog, decision_id: str, folder: Path | None, most: int
) -> list[Explanation]:
    from stream_app.decision_log import artifact_of, find

    record = (await find(cluster, catalog, decision_id)).record
    if record is None:
        raise UsageError(f"no record of decision {decision_id!r}; TSREC_AUDIT_SHARE says how many are written down")
    artifact = artifact_of(folder, record.model_hash)
    if record.model_hash and artifact is None:
        click.echo(f"model {record.model} is not at hand (--model): only the rules are explained", err=True)
    width = max((len(shown.by_rule) for shown in record.items), default=0)
    by_rules = np.zeros((len(record.items), width))
    for row, shown in zip(by_rules, record.items, strict=True):
        row[: len(shown.by_rule)] = shown.by_rule
    return explain(
        [shown.item_id for shown in record.items], [past.item_id for past in record.history],
        np.array([past.ts for past in record.history]), model=None if artifact is None else artifact.model,
        model_items=None if artifact is None else artifact.item_ids, by_rules=by_rules if width else None, most=most,
    )  # fmt: skip


def _of_user(user: str, path: Path, folder: Path | None, k: int, most: int) -> list[Explanation]:
    """The list that the stream would show to a user after the last event of the log, and its reasons."""
    from stream_app.decision_log import artifact_at
    from stream_app.listing import list_for
    from tsrec_models.preparation.reading import read_log

    log = read_log(path).log
    places = np.flatnonzero(log.user_ids == user)
    if not len(places):
        raise UsageError(f"{path} has no user {user!r}; it has {log.n_users}, such as {', '.join(log.user_ids[:3])}")
    artifact = artifact_at(folder)
    made = list_for(log, int(places[0]), artifact, k)
    return explain(
        [str(log.item_ids[i]) if i < log.n_items else "" for i in made.items.tolist()],
        [str(log.item_ids[i]) for i in made.history.tolist()], made.times,
        model=None if artifact is None else artifact.model,
        model_items=None if artifact is None else artifact.item_ids,
        by_rules=contributions(made.rules, made.history, made.items, made.now), most=most,
    )  # fmt: skip


def _text(explanation: Explanation) -> str:
    lines = [click.style(explanation.item_id, bold=True)]
    for because in explanation.because:
        parts = [
            f"{name} {value:+.3f}"
            for name, value in (("rules", because.by_rules), ("model", because.by_model))
            if value is not None
        ]
        ago = "latest" if because.place == 1 else f"latest but {because.place - 1}"
        lines.append(f"    {because.item_id}  ({ago})  " + ", ".join(parts))
    if not explanation.because:
        lines.append("    nothing the user did speaks for it: many take it now")
    return "\n".join(lines)

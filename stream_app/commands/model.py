"""`tsrec model`: put models into a store, and say which of them answers; workers follow within a second."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from stream_app.commands._common import echo_table
from stream_app.errors import UsageError
from stream_app.model_store import ModelStore, Role
from stream_app.settings import load

__all__ = ["command"]


@click.group()
def command() -> None:
    """Models of a store: a folder that workers watch (TSREC_MODEL), on one machine or on a shared volume.

    \b
    tsrec model push FOLDER --activate
    tsrec model push FOLDER --shadow
    tsrec model activate gru-0123456789ab
    tsrec model list
    """


def _store_option(function: Any) -> Any:
    return click.option("--store", type=click.Path(path_type=Path), help="The store. [TSREC_MODEL]")(function)


def _store(folder: Path | None) -> ModelStore:
    folder = folder or load().model
    if folder is None:
        raise UsageError("which store? --store FOLDER, or the setting TSREC_MODEL")
    return ModelStore(folder)


def _give(store: ModelStore, role: Role, version: str) -> None:
    """Let VERSION answer or be tried; never both, as it would be tried beside itself."""
    if role == "shadow" and store.version("active") == version:
        raise UsageError(f"{version} answers already; try another beside it")
    store.point(role, version)
    if role == "active" and store.version("shadow") == version:
        store.point("shadow", None)


@command.command(short_help="Copy an artifact of `tsrec train` into the store.")
@click.argument("artifact", type=click.Path(path_type=Path))
@_store_option
@click.option("--activate", is_flag=True, help="Let it answer at once.")
@click.option("--shadow", is_flag=True, help="Score it beside the one that answers.")
def push(artifact: Path, store: Path | None, activate: bool, shadow: bool) -> None:
    """Check the ARTIFACT that `tsrec train` wrote, and copy it into the store."""
    if activate and shadow:
        raise UsageError("a model is either tried beside another or answers itself: --activate or --shadow")
    target = _store(store)
    version = target.push(artifact)
    said = f"{version} is in {target.folder}"
    if activate or shadow:
        role: Role = "active" if activate else "shadow"
        _give(target, role, version)
        said += f" and {'answers' if activate else 'is tried'} from now on"
    click.echo(said)


@command.command()
@click.argument("version")
@_store_option
def activate(version: str, store: Path | None) -> None:
    """Let VERSION answer. Users' states are made anew from their last events as they come."""
    target = _store(store)
    _give(target, "active", version)
    click.echo(f"{version} answers from now on")


@command.command()
@click.argument("version")
@_store_option
def shadow(version: str, store: Path | None) -> None:
    """Score VERSION beside the model that answers; `off` ends it."""
    target = _store(store)
    if version == "off":
        target.point("shadow", None)
        click.echo("no model is tried")
        return
    _give(target, "shadow", version)
    click.echo(f"{version} is tried from now on")


@command.command("list")
@_store_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a model.")
def list_(store: Path | None, as_json: bool) -> None:
    """The models of the store, and which of them answers."""
    target = _store(store)
    roles = {target.version(role): role for role in ("shadow", "active")}
    rows = []
    for manifest in target.versions():
        role = roles.get(manifest.version, "")
        made = datetime.fromtimestamp(manifest.created, UTC).strftime("%Y-%m-%d %H:%M")
        quality = manifest.metrics.get("validation", {}).get("ndcg@10")
        if as_json:
            click.echo(
                json.dumps({
                    "version": manifest.version, "role": role or None, "created": manifest.created,
                    "content_hash": manifest.content_hash, "metrics": manifest.metrics,
                })
            )  # fmt: skip
        rows.append((manifest.version, role, made, "" if quality is None else f"{quality:.4f}"))
    if as_json:
        return
    if not rows:
        click.echo("no models yet: tsrec model push FOLDER --activate")
        return
    echo_table(("version", "role", "trained", "validation ndcg@10"), rows, right=(3,))

"""`tsrec config`: the settings as they hold, and where each came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from stream_app.commands._common import bootstrap_option, echo_table, settings_for, tell_unknown_variables
from stream_app.setting_sources import Origin, origins

__all__ = ["command"]

HIDDEN = "(hidden)"


@click.group()
def command() -> None:
    """The settings: what holds, and where it came from."""


@command.command()
@click.argument("names", nargs=-1)
@bootstrap_option
@click.option("--set", "only_set", is_flag=True, help="Only what is not the default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a setting.")
def show(names: tuple[str, ...], bootstrap: str | None, only_set: bool, as_json: bool) -> None:
    """Every setting, its value and its source; secrets are hidden. NAMES are parts of names, such as `broker` or `k`.

    An option wins over the environment, that over .env, that over the TOML file (./tsrec.toml, or what TSREC_CONFIG
    names), that over the default. Exit code 2 where a setting is wrong: one line says which, and what it may be.
    """
    settings = settings_for(bootstrap)
    wanted = [name.upper().removeprefix("TSREC_") for name in names]
    found = [
        origin
        for origin in origins(settings, {"bootstrap": bootstrap} if bootstrap else None)
        if (not only_set or origin.source != "default") and (not wanted or any(_meant(origin, name) for name in wanted))
    ]
    if as_json:
        for origin in found:
            click.echo(json.dumps({
                "variable": origin.variable, "value": _plain(origin.value), "source": origin.source,
                "place": origin.place,
            }))  # fmt: skip
    elif found:
        rows = [(origin.variable, _text(origin.value), _source(origin)) for origin in found]
        echo_table(("setting", "value", "from"), rows)
    else:
        click.echo("nothing is set" if only_set else "no such setting: docs/settings.md has all of them")
    tell_unknown_variables()


def _meant(origin: Origin, name: str) -> bool:
    """A whole name, a whole part of one, or the beginning of a part."""
    parts = "__".join(origin.path).upper()
    return parts == name or parts.startswith((name + "__", name + "_")) or f"__{name}" in parts


def _source(origin: Origin) -> str:
    if origin.source == "default":
        return click.style("default", dim=True)
    return origin.source if origin.place in ("", origin.variable) else f"{origin.source}: {origin.place}"


def _plain(value: Any) -> Any:
    """A value as JSON has it; a secret as the fact that it is set."""
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return str(value)
    return value


def _text(value: Any) -> str:
    if value is None:
        return "–"
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain)

"""Where each setting comes from: an option, the environment, `.env`, the TOML file or the default; and what is unknown.

`tsrec config show` prints it, and errors at start name the place of the mistake by it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from stream_app.settings import DotEnv, Settings, toml_path

__all__ = ["Origin", "mistake", "nearest", "origins", "unknown_variables"]

#: What Kubernetes puts into the environment of every pod for a service named `tsrec`, and our own two.
_NOT_SETTINGS = re.compile(
    r"TSREC_(CONFIG|PORT|SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_\w+|\w+_SERVICE_(HOST|PORT(_\w+)?)|\w+_PORT_\d+_\w+)$"
)


@dataclass(frozen=True)
class Origin:
    """One setting as it holds. `path` is its place among the settings, such as (`clicks`, `fields`, `user_id`)."""

    path: tuple[str, ...]
    value: Any
    source: str
    place: str

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return _variable(self.path)

    @property
    def secret(self) -> bool:
        """Whether its value is not for showing."""
        return isinstance(self.value, SecretStr)


def origins(settings: Settings, options: Mapping[str, Any] | None = None) -> list[Origin]:
    """Every setting with its value and its source, in the order of the class.

    options: what the command line gave, by the names of the settings.
    """
    layers = _layers(options or {})
    found = []
    for path, value in _values(settings):
        for source, leaves in layers:
            if path in leaves:
                found.append(Origin(path, value, source, _place(source, path)))
                break
        else:
            found.append(Origin(path, value, "default", ""))
    return found


def _layers(options: Mapping[str, Any]) -> list[tuple[str, dict[tuple[str, ...], Any]]]:
    """What each source gives, the strongest first."""
    toml = toml_path()
    return [
        ("option", dict(_leaves(dict(options)))),
        ("environment", dict(_leaves(EnvSettingsSource(Settings)()))),
        (".env", dict(_leaves(DotEnv(Settings)()))),
        (str(toml), dict(_leaves(TomlConfigSettingsSource(Settings, toml)()))),
    ]


def mistake(detail: Mapping[str, Any], options: Mapping[str, Any], *, hide: bool) -> str:
    """One of pydantic's errors as a line: which setting, where it was given, what it was, what it may be.

    hide: the value is a secret.
    """
    path = tuple(str(part) for part in detail["loc"])
    source = next((name for name, leaves in _layers(options) if _given(path, leaves)), "")
    where = f" in {source}" if source not in ("", "option", "environment") else ""
    written = ".".join if source.endswith(".toml") else _variable
    if detail["type"] == "extra_forbidden":
        guess = nearest(path)
        hint = f"did you mean {written((*path[:-1], guess))}?" if guess else "docs/settings.md has all of them"
        return f"there is no setting {written(path)}{where}: {hint}"
    text = str(detail["msg"]).removeprefix("Value error, ")
    if isinstance(detail["input"], Mapping):  # a check over several settings has them all, secrets among them
        return f"setting {written(path)}{where}: {text}"
    return f"setting {written(path)}{where}: {text} (it was {'not shown here' if hide else repr(detail['input'])})"


def _given(path: tuple[str, ...], leaves: Mapping[tuple[str, ...], Any]) -> bool:
    return any(place[: len(path)] == path or path[: len(place)] == place for place in leaves)


def _variable(path: Sequence[str]) -> str:
    return "TSREC_" + "__".join(path).upper()


def _place(source: str, path: tuple[str, ...]) -> str:
    variable = _variable(path)
    return {"option": "--" + "-".join(path).replace("_", "-"), "environment": variable, ".env": variable}.get(
        source, ".".join(path)
    )


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in tree.items():
        place = (*path, name)
        if isinstance(value, BaseModel):
            value = value.model_dump(exclude_unset=True)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, place)
        else:
            yield place, value


def _values(model: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in type(model).model_fields:
        value, place = getattr(model, name), (*path, name)
        if isinstance(value, BaseModel):
            yield from _values(value, place)
        elif isinstance(value, Mapping) and value:
            yield from _leaves(value, place)
        else:
            yield place, value


def unknown_variables(environment: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Variables that begin with TSREC_ and are no setting, each with the setting that was perhaps meant.

    They are not refused, since an orchestrator sets such variables by itself; `tsrec worker`, `tsrec config show` and
    `tsrec doctor` tell them.
    """
    found: dict[str, str | None] = {}
    for name in sorted(os.environ if environment is None else environment):
        upper = name.upper()
        if not upper.startswith("TSREC_") or _NOT_SETTINGS.match(upper):
            continue
        first = upper.removeprefix("TSREC_").split("__")[0].lower()
        if first not in Settings.model_fields:
            guess = difflib.get_close_matches(first, Settings.model_fields, 1)
            found[name] = f"TSREC_{guess[0].upper()}" if guess else None
    return found


def nearest(path: tuple[str, ...]) -> str | None:
    """The known setting beside which an unknown one of this path was perhaps meant, by its last name."""
    model: Any = Settings
    for name in path[:-1]:
        field = model.model_fields.get(name)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        model = field.annotation
    wrong = path[-1].lower()
    matches: list[str] = difflib.get_close_matches(wrong, model.model_fields, 1)
    return matches[0] if matches else None

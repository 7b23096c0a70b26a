"""The settings reference, from the settings class: `python -m stream_app.settings_reference > docs/settings.md`."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from stream_app.settings import Settings

__all__ = ["reference"]

_HEAD = """# Settings

Every setting is an environment variable, or a line of `.env`, or a key of `tsrec.toml` (lower case, without the
prefix; a nested setting is a table). Options of a command win over the environment, that over `.env`, that over
`tsrec.toml` (or the file that TSREC_CONFIG names). A value that cannot work is refused at start, with the name of the
setting and what it may be, and so is a key of `.env` or `tsrec.toml` that is no setting. `tsrec config show` prints
what holds and where each value came from.

This page is generated from `stream_app/settings*.py`: `python -m stream_app.settings_reference > docs/settings.md`.

| variable | type | default | what it is |
|---|---|---|---|
"""


def _type_name(annotation: Any) -> str:
    """A type as a person would say it."""
    if annotation is type(None):
        return "none"
    if annotation is SecretStr:
        return "text, never shown"
    if get_origin(annotation) is None:
        return str(getattr(annotation, "__name__", annotation))
    arguments = get_args(annotation)
    if str(get_origin(annotation)) == "typing.Literal":
        return " ".join(f"`{value}`" for value in arguments)
    if get_origin(annotation) in (list, tuple):
        return f"list of {_type_name(arguments[0])}"
    if get_origin(annotation) is dict:
        return "JSON object"
    return " or ".join(_type_name(argument) for argument in arguments)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None:
        return ""
    return f"`{value}`".replace("|", "\\|")


def _rows(model: type[BaseModel], prefix: str, overrides: BaseModel | None = None) -> list[str]:
    rows = []
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        annotation: Any = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            nested = field.get_default(call_default_factory=True, validated_data={})
            rows += _rows(annotation, f"{variable}__", nested)
            continue
        default = _default(field)
        if overrides is not None and getattr(overrides, name) != field.get_default(
            call_default_factory=True, validated_data={}
        ):
            default = f"`{getattr(overrides, name)}`"
        kind = _type_name(annotation).replace("|", "\\|")
        rows.append(f"| `{variable}` | {kind} | {default} | {field.description or ''} |")
    return rows


def reference() -> str:
    """The page, Markdown."""
    return _HEAD + "\n".join(_rows(Settings, "TSREC_")) + "\n"


if __name__ == "__main__":
    print(reference(), end="")

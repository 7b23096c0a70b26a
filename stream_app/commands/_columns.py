"""The option --columns: which columns of a file hold what."""

from __future__ import annotations

from collections.abc import Sequence

from stream_app.errors import UsageError

__all__ = ["columns_by_field"]


def columns_by_field(text: str, fields: Sequence[str]) -> dict[str, str]:
    """Field -> column of `text` (FIELD=COLUMN,...); those of `fields` that it does not name are left out.

    Raises:
        UsageError: it names another field, or no column.
    """
    columns = {}
    for pair in filter(None, text.split(",")):
        field, equals, column = pair.partition("=")
        if not equals or field not in fields:
            raise UsageError(f"--columns: {pair!r} is not one of {', '.join(f'{name}=COLUMN' for name in fields)}")
        columns[field] = column
    return columns

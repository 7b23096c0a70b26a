"""A user's file of events: its columns by the names they have there, and what was done to its rows told on stderr."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream_app.commands._columns import columns_by_field

if TYPE_CHECKING:
    from tsrec_models.preparation.cleaning import MissingTimes
    from tsrec_models.preparation.log import Log

__all__ = ["read_events"]


def read_events(
    path: Path, columns: str, missing_times: MissingTimes, *, user: str = "user_id", others: Sequence[str] = ()
) -> Log:
    """The log of a file whose `columns` (FIELD=COLUMN,...) say where the fields `user`, item_id and ts stand.

    `others` are fields that may be named too, though nothing is read from them.

    Raises:
        UsageError: `columns` names a field there is not.
        LogError: the file cannot be read, or a column is missing.
    """
    from tsrec_models.preparation.reading import MissingColumnError, read_log  # pyarrow only for those who read

    fields = [user, *others, "item_id", "ts"]
    names = {field: field for field in fields} | columns_by_field(columns, fields)
    try:
        reading = read_log(
            path,
            user=names[user],
            item=names["item_id"],
            ts=names["ts"],
            missing_times=missing_times,
            ts_needed=names["ts"] != "ts",  # who names a column has it
        )
    except MissingColumnError as error:
        raise MissingColumnError(f"{error}; columns of other names: --columns {user}=COLUMN,item_id=COLUMN") from error
    for reason, count in reading.dropped.items():
        click.echo(f"{count} rows {reason} left out", err=True)
    if reading.filled:
        click.echo(f"{reading.filled} rows without a possible time were given one ({missing_times})", err=True)
    return reading.log

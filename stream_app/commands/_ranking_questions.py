"""The questions that `tsrec evaluate ranking` asks of a file, and what a reader of its figures should know of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from stream_app.commands._events_file import read_events
from stream_app.errors import UsageError
from tsrec_models.evaluation.protocols import PROTOCOLS, Split
from tsrec_models.preparation.cleaning import MissingTimes
from tsrec_models.preparation.log import Log

__all__ = ["CUTS", "PREQUENTIAL", "cut", "read"]

PREQUENTIAL = "prequential"

#: Protocol -> how it cuts a log.
CUTS: dict[str, Callable[..., Split]] = {str(name): do for name, do in PROTOCOLS.items()}

#: Intervals are drawn over users: those of fewer users than this are hardly any.
_FEW_USERS = 30

#: Where the last tenth of the time holds less or more of the events than this, a wrong time is likelier than a rush.
_PLAUSIBLE_SHARE = (0.01, 0.5)


def read(path: Path, protocol: str, columns: str, missing_times: MissingTimes) -> Log:
    """The log of a file for a protocol.

    Raises UsageError if there is no event, or no time where the protocol goes by it.
    """
    user, other = ("session_id", "user_id") if protocol == "session" else ("user_id", "session_id")
    log = read_events(path, columns, missing_times, user=user, others=[other])
    if not len(log):
        raise UsageError(f"{path}: no event; rows of {user}, item_id are needed")
    if protocol in ("temporal", PREQUENTIAL) and not log.has_times:
        raise UsageError(f"{path}: no column ts with times; the protocol {protocol} goes by time and needs it")
    return log


def cut(log: Log, protocol: str, *, exclude_seen: bool | None, drop_cold: bool) -> Split:
    """The questions of a protocol (`exclude_seen` None: as it has it), with notes on stderr.

    Raises UsageError if there is nothing to ask or to learn from.
    """
    do = CUTS[protocol]
    split = do(log) if exclude_seen is None else do(log, exclude_seen=exclude_seen)
    if not len(split):
        wanted = "a user with at least three events" if protocol == "loo" else "a history before the last part of time"
        raise UsageError(f"protocol {protocol}: the log leaves no question to ask; it needs {wanted}")
    if not len(split.train):
        raise UsageError(f"protocol {protocol}: no event is left to learn from; the log must cover more time")
    if drop_cold:
        split = split.known_only()
        if not len(split):
            raise UsageError("--drop-cold leaves no question: no answer ever occurs in training")
    for note in _notes(split):
        click.echo(note, err=True)
    return split


def _notes(split: Split) -> list[str]:
    notes = []
    if split.exclude_seen and (again := split.repeats()):
        notes.append(
            f"{again} of the questions ask for an item of the user's own past, which leaves the lists: they are lost, "
            "whatever the model (--include-seen)"
        )
    late, events = len(split.log) - len(split.train), len(split.log)
    low, high = _PLAUSIBLE_SHARE
    if split.protocol == "temporal" and not low <= late / events <= high:
        notes.append(f"the last tenth of the log's time holds {late} of its {events} events: are all times right?")
    if (users := len(np.unique(split.users))) < _FEW_USERS:
        notes.append(f"the questions are of {users} users: intervals are drawn over users, of so few they say little")
    return notes

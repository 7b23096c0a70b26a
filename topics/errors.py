"""Why a record cannot be used, and the headers that say so on the error topics.

ContractViolation     a struct, a dialect or columns that cannot work; a programmer's or a setting's mistake
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["ContractViolation", "Origin", "Reason", "RecordError", "error_headers", "parse_error_headers"]

#: Characters of an error message that are kept: one line on a screen, and never a copy of the record.
MAX_MESSAGE = 400

Header = tuple[str, bytes]


class ContractViolation(ValueError):
    """Root of this package's errors: what does not fit the contract, where, and what to do."""


class Reason(StrEnum):
    """Why a record went to an error topic: a small set, fit for a metric's label."""

    UNDECODABLE = "undecodable"  # not JSON, or not UTF-8
    INVALID = "invalid"  # JSON, but not what the contract says
    OVERSIZED = "oversized"  # larger than the topic allows
    EMPTY = "empty"  # a null value where a record is needed
    LATE = "late"  # after its window closed
    FAILED = "failed"  # valid, but its processing raised


@dataclass(frozen=True, slots=True)
class RecordError:
    """Record `row` of a batch cannot be used; `message` names the field where there is one."""

    row: int
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Origin:
    """What the headers of a dead letter say."""

    reason: str
    message: str
    stage: str
    topic: str
    partition: int
    offset: int


_OURS = frozenset(("error.reason", "error.message", "error.stage", "source.topic", "source.partition", "source.offset"))


def error_headers(
    error: RecordError, stage: str, topic: str, partition: int, offset: int, headers: Iterable[Header] | None = None
) -> list[Header]:
    """Headers of a dead letter: the record's own, then ours; those of an earlier failure are replaced.

    stage: where it failed, such as `decode` or an agent's name; topic, partition, offset: where the record was read.
    """
    kept = [header for header in headers or () if header[0] not in _OURS]
    return [
        *kept,
        ("error.reason", str(error.reason).encode()),
        ("error.message", error.message[:MAX_MESSAGE].encode("utf-8", "replace")),
        ("error.stage", stage.encode()),
        ("source.topic", topic.encode()),
        ("source.partition", b"%d" % partition),
        ("source.offset", b"%d" % offset),
    ]


def parse_error_headers(headers: Sequence[tuple[str, bytes]]) -> tuple[Origin | None, list[Header]]:
    """The origin that `error_headers` wrote (None where it is not complete), and the record's own headers."""
    ours = {name: value for name, value in headers if name in _OURS}
    rest = [(name, value) for name, value in headers if name not in _OURS]
    text = {name: value.decode("utf-8", "replace") for name, value in ours.items()}
    try:
        origin = Origin(
            text["error.reason"],
            text["error.message"],
            text["error.stage"],
            text["source.topic"],
            int(text["source.partition"]),
            int(text["source.offset"]),
        )
    except (KeyError, ValueError):
        return None, rest
    return origin, rest

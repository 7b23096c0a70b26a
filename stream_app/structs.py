"""Records that columns cannot hold (a dict among their fields): one struct each, behind the interface of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topics import wire
from topics.columns import decode_columns
from topics.dialect import Dialect
from topics.errors import ContractViolation, Reason, RecordError
from topics.spans import Spans

__all__ = ["Structs", "decode_structs", "is_columnar"]


class Structs:
    """The records of a batch as structs, None where one is bad.

    errors: by row, ascending; ok: bool [records]; ts: float64 [records], the field `ts` where the type has one, NaN
    for a bad record; rows: int64 [records], each record's row in the batch as it was read.
    """

    __slots__ = ("errors", "ok", "records", "rows", "ts")

    def __init__(
        self, records: Sequence[Any], ok: NDArray[np.bool_], errors: list[RecordError], rows: NDArray[np.int64]
    ) -> None:
        self.records = list(records)
        self.ok = ok
        self.errors = errors
        self.rows = rows
        self.ts = np.array([getattr(record, "ts", np.nan) for record in self.records], np.float64)

    def __len__(self) -> int:
        return len(self.records)

    def record(self, row: int) -> Any:
        """Record `row` as its struct; None where it is not ok."""
        return self.records[row]

    def good(self) -> Structs:
        """The good records only."""
        return self if self.ok.all() else self.take(np.flatnonzero(self.ok))

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Structs:
        """The records at `rows` (indices or a mask); their errors stay behind."""
        indices = np.arange(len(self))[rows]
        return Structs([self.records[i] for i in indices.tolist()], self.ok[indices], [], self.rows[indices])


def is_columnar(type_: type[Any], dialect: Dialect | None) -> bool:
    """Whether columns can hold this struct."""
    try:
        decode_columns(type_, Spans.of([]), dialect)
    except ContractViolation:
        return False
    return True


def decode_structs(
    type_: type[Any], values: Spans, dialect: Dialect | None = None, *, tombstones: bool = False
) -> Structs:
    """Decode record values one by one. tombstones: a null value is no error (its row is just not ok)."""
    decoded = wire.decode(type_, values, dialect)
    records: list[Any] = [None] * len(values)
    for row, record in zip(decoded.rows, decoded.records, strict=True):
        records[row] = record
    ok = np.zeros(len(values), np.bool_)
    ok[list(decoded.rows)] = True
    errors = [e for e in decoded.errors if not (tombstones and e.reason is Reason.EMPTY)]
    return Structs(records, ok, errors, np.arange(len(values)))

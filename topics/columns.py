"""Batches of flat records as columns, without a Python object a record.

    clicks = decode_columns(Click, batch.values)
    clicks.user_id        # Spans over the batch's own buffer
    clicks.ts             # float64 [records]
    clicks.action         # int8 codes into clicks.codes("action"); -1 where there is none
    clicks.errors         # [RecordError(row, reason, message), …]
    encode_columns(Count, user_id=clicks.user_id, window_start=starts, count=counts)  # Spans of JSON

What a kernel is not sure about (escapes, odd numbers, anything wrong) msgspec decodes, so that the result is always
what topics.wire would have given, and an error always has msgspec's reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from topics import wire
from topics._decode import GOOD, decode_kernel
from topics._plan import BOOL, CODE, FLOAT, INT, ISO, STRING, Field, Plan, column_bits, plan_of
from topics.catalog import MAX_RECORD_BYTES
from topics.dialect import Dialect
from topics.encode import encode_columns, encode_lists
from topics.errors import Reason, RecordError
from topics.spans import Spans

__all__ = ["Columns", "decode_columns", "encode_columns", "encode_lists"]


class Columns:
    """The fields of a batch of records as attributes, each with one entry a record, good or not.

    A str field is `Spans`; a float field float64 with NaN where there is none; an int field int64 (see `present`);
    a bool or Literal field int8 codes with -1 where there is none. Rows that are not `ok` hold nothing.
    errors: by row, ascending; ok: bool [records]; rows: int64 [records], each record's row in the batch as it was read.
    """

    __slots__ = ("_columns", "_fields", "_type", "_valued", "errors", "ok", "rows")

    def __init__(
        self,
        type_: type[Any],
        fields: Sequence[Field],
        columns: dict[str, Any],
        valued: NDArray[np.uint64],
        ok: NDArray[np.bool_],
        errors: list[RecordError],
        rows: NDArray[np.int64],
    ) -> None:
        self._type = type_
        self._fields = {field.name: (bit, field) for bit, field in enumerate(fields)}
        self._columns = columns
        self._valued = valued
        self.ok = ok
        self.errors = errors
        self.rows = rows

    def __getattr__(self, name: str) -> Any:
        try:
            return self._columns[name]
        except KeyError:
            raise AttributeError(f"{self._type.__name__} has no field {name!r}") from None

    def __len__(self) -> int:
        return len(self.ok)

    def present(self, name: str) -> NDArray[np.bool_]:
        """bool [records]: whether the record has this field and it is not null."""
        bit = self._fields[name][0]
        return (self._valued >> np.uint64(bit)).astype(np.uint8) & np.uint8(1) > 0

    def codes(self, name: str) -> tuple[str, ...]:
        """The texts of a Literal field's codes."""
        return self._fields[name][1].codes

    def good(self) -> Columns:
        """The good records only; `rows` says which of the batch they are. No copy where all are good."""
        return self if self.ok.all() else self.take(np.flatnonzero(self.ok))

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Columns:
        """The records at `rows` (indices or a mask); their errors stay behind."""
        columns = {
            name: column.take(rows) if isinstance(column, Spans) else column[rows]
            for name, column in self._columns.items()
        }
        fields = [field for _, field in self._fields.values()]
        return Columns(self._type, fields, columns, self._valued[rows], self.ok[rows], [], self.rows[rows])

    def record(self, row: int) -> Any:
        """Record `row` as its struct, for people and tests; None where the row is not ok."""
        if not self.ok[row]:
            return None
        values: dict[str, Any] = {}
        for name, (bit, field) in self._fields.items():
            if not (int(self._valued[row]) >> bit) & 1:
                values[name] = None
            elif field.kind == STRING:
                values[name] = self._columns[name][row].decode()
            elif field.kind == CODE:
                values[name] = field.codes[self._columns[name][row]]
            elif field.kind == BOOL:
                values[name] = bool(self._columns[name][row])
            else:
                values[name] = self._columns[name][row].item()
        return self._type(**values)


def decode_columns(
    type_: type[Any],
    values: Spans,
    dialect: Dialect | None = None,
    *,
    max_bytes: int = MAX_RECORD_BYTES,
    tombstones: bool = False,
) -> Columns:
    """Decode record values into columns of the flat struct `type_`.

    tombstones: a null value is no error (its row is just not ok). Raises ContractViolation for a struct or dialect
    that columns cannot hold.
    """
    plan = plan_of(type_, dialect)
    data = _read_only(values.data)
    out, valued, status = _run(plan, data, values, max_bytes)
    errors: list[RecordError] = []
    if status.any():
        batch = _Batch(type_, plan, data, out, valued, status)
        errors = batch.finish(wire.decoder(type_, dialect), values, max_bytes, tombstones)
        data = batch.strings()
    columns: dict[str, Any] = {}
    for field in plan.fields:
        column = out[field.slot]
        if field.kind == STRING:
            columns[field.name] = Spans(data, column, out[field.slot + 1])
        elif field.kind in (FLOAT, ISO):
            columns[field.name] = column.view(np.float64)
        else:
            columns[field.name] = column if field.kind == INT else column.astype(np.int8)
    return Columns(type_, plan.fields, columns, valued, status == GOOD, errors, np.arange(len(values)))


def _run(
    plan: Plan, data: NDArray[np.uint8], values: Spans, max_bytes: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint8]]:
    """The kernel's outputs: the slots, the bits of the fields that have a value, and what became of each record."""
    n = len(values)
    out = np.empty((plan.slots, n), np.int64)
    valued = np.empty(n, np.uint64)
    status = np.empty(n, np.uint8)
    decode_kernel(
        plan.table,
        plan.bounds,
        plan.words,
        len(plan.fields),
        plan.required,
        plan.defaulted,
        plan.closed,
        data,
        values.start,
        values.end,
        max_bytes,
        np.empty(len(plan.fields) + 1, np.int64),
        out,
        valued,
        status,
    )
    return out, valued, status


def _read_only(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same bytes, read-only: the kernel is compiled for one kind of array."""
    view = np.ascontiguousarray(data).view()
    view.flags.writeable = False
    return view


class _Batch:
    """A batch whose unsure records msgspec decodes."""

    def __init__(
        self,
        type_: type[Any],
        plan: Plan,
        data: NDArray[np.uint8],
        out: NDArray[np.int64],
        valued: NDArray[np.uint64],
        status: NDArray[np.uint8],
    ) -> None:
        self.names = [field.encode_name for field in msgspec.structs.fields(type_)]
        self.plan = plan
        self.data = data
        self.out = out
        self.valued = valued
        self.status = status
        self.side = bytearray()

    def strings(self) -> NDArray[np.uint8]:
        """The buffer of all strings: the batch's own, with those of unsure records appended."""
        return np.concatenate((self.data, np.frombuffer(bytes(self.side), np.uint8))) if self.side else self.data

    def finish(self, read: Any, values: Spans, max_bytes: int, tombstones: bool) -> list[RecordError]:
        """Decode what the kernel left; returns the errors."""
        errors: list[RecordError] = []
        for row in np.flatnonzero(self.status != GOOD).tolist():
            value = values[row]
            if value is None and tombstones:
                continue
            record = wire.decode_one(read, row, value, max_bytes)
            problem = record if isinstance(record, RecordError) else self.put(record, row)
            if problem is None:
                self.status[row] = GOOD
            else:
                errors.append(problem)
        return errors

    def put(self, record: Any, row: int) -> RecordError | None:
        """A record into its row; an error where an integer does not fit the column."""
        bits = 0
        for bit, field in enumerate(self.plan.fields):
            value = getattr(record, field.name)
            if value is None:
                continue
            if field.kind == STRING:
                self.out[field.slot, row] = len(self.data) + len(self.side)
                self.side += value.encode()
                self.out[field.slot + 1, row] = len(self.data) + len(self.side)
            elif field.kind == INT and not -(2**63) <= value < 2**63:
                message = f"Integer does not fit 64 bits - at `$.{self.names[bit]}`"
                return RecordError(row, Reason.INVALID, message)
            else:
                self.out[field.slot, row] = column_bits(field, value)
            bits |= 1 << bit
        self.valued[row] = bits
        return None

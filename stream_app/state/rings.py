"""The last n things of a row: items and their times, prices, kinds of action."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from stream_app.errors import StateError
from stream_app.kernels import releasing
from stream_app.state.columns import Column
from stream_app.state.shard import Rows, Shard

__all__ = ["Ring"]

#: Stands where a ring has fewer entries than were asked for.
PAD = -1


@dataclass(frozen=True, init=False)
class Ring:
    """The last `n` entries of a row, each with a value a field.

    >>> recent = Ring(50, item=np.int32, ts=np.int32, kind=np.int8)

    Times as float64, or whole seconds as int32: float32 has steps of two minutes at today's dates.
    """

    n: int
    fields: tuple[tuple[str, np.dtype[Any]], ...]
    name: str

    def __init__(self, n: int, *, name: str = "recent", **fields: DTypeLike) -> None:
        if n < 1 or not fields:
            raise StateError(f"ring {name!r}: needs a length above zero and at least one field")
        object.__setattr__(self, "n", n)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "fields", tuple((field, np.dtype(dtype)) for field, dtype in fields.items()))
        for field, dtype in self.fields:
            if dtype.kind not in "if":
                raise StateError(
                    f"ring {name!r}: field {field!r} is {dtype}; it must be able to hold {PAD}, the padding"
                )

    def columns(self) -> Mapping[str, Column]:
        return {"fill": Column(np.int32)} | {field: Column(dtype, (self.n,)) for field, dtype in self.fields}

    def describe(self) -> str:
        return f"ring of {self.n}: " + ", ".join(f"{field} {dtype.str}" for field, dtype in self.fields)

    def push(self, shard: Shard, rows: Rows, **values: ArrayLike) -> None:
        """Appends event i to row i, in order, several a row if they come; one array [n] or number a field."""
        self._check(values)
        shard.touch(rows)
        slots = np.empty(len(rows), np.int64)
        _take_slots(shard.column(f"{self.name}.fill"), rows, self.n, slots)
        self._write(shard, rows, slots, values)

    def push_after(self, shard: Shard, rows: Rows, field: str, k: int, **values: ArrayLike) -> NDArray[Any]:
        """`push`, and what stood in `field` before each event: [n, k], newest first, -1 where there was less.

        Events of the same row earlier in the batch are part of that. It is what a next-item model learns from.
        """
        self._check(values)
        shard.touch(rows)
        column, slots = shard.column(f"{self.name}.{field}"), np.empty(len(rows), np.int64)
        before = np.empty((len(rows), k), column.dtype)
        given = np.ascontiguousarray(_each(np.asarray(values.pop(field), column.dtype), rows))
        _push_after(shard.column(f"{self.name}.fill"), column, rows, given, slots, before)
        self._write(shard, rows, slots, values)
        return before

    def last(
        self, shard: Shard, rows: Rows, k: int | None = None, fields: Collection[str] | None = None
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
        """The last k entries (None: all), newest first: [n, k] a field, -1 where a row has fewer; and lengths [n].

        fields: the ones wanted (None: all).
        """
        k = self.n if k is None else k
        slots, lengths = np.empty((len(rows), k), np.int64), np.empty(len(rows), np.int64)
        _newest_slots(shard.column(f"{self.name}.fill"), rows, self.n, slots, lengths)
        entries = {}
        for field, dtype in self.fields:
            if fields is not None and field not in fields:
                continue
            out = np.empty((len(rows), k), dtype)
            _gather(shard.column(f"{self.name}.{field}"), rows, slots, out)
            entries[field] = out
        return entries, lengths

    def _check(self, values: Mapping[str, ArrayLike]) -> None:
        if values.keys() != {field for field, _ in self.fields}:
            raise StateError(f"ring {self.name!r}: has {[f for f, _ in self.fields]}, was given {sorted(values)}")

    def _write(self, shard: Shard, rows: Rows, slots: NDArray[np.int64], values: Mapping[str, ArrayLike]) -> None:
        held = rows >= 0
        everything = bool(held.all())
        for field, value in values.items():
            column, given = shard.column(f"{self.name}.{field}"), _each(np.asarray(value), rows)
            if everything:
                column[rows, slots] = given
            else:
                column[rows[held], slots[held]] = given[held]

    def read(self, shard: Shard, row: int) -> list[dict[str, Any]]:
        """The entries of one row, newest first."""
        entries, lengths = self.last(shard, np.array([row], np.int64))
        return [{field: a[0, i].item() for field, a in entries.items()} for i in range(int(lengths[0]))]


def _each(values: NDArray[Any], rows: Rows) -> NDArray[Any]:
    """A value a row. (Broadcasting costs more than writing a small batch.)"""
    return values if values.shape == rows.shape else np.broadcast_to(values, rows.shape)


# `fill` of a row counts its entries up to n; from then on it goes round in [n, 2n): the next slot is fill - n.


@releasing(lambda *args: len(args[1]))  # type: ignore[untyped-decorator]
def _take_slots(fill, rows, n, slots):  # type: ignore[no-untyped-def]
    for i in range(rows.size):
        if rows[i] < 0:
            continue
        at = fill[rows[i]]
        slots[i] = at if at < n else at - n
        fill[rows[i]] = n if at + 1 == 2 * n else at + 1


@releasing(lambda *args: len(args[2]))  # type: ignore[untyped-decorator]
def _push_after(fill, column, rows, given, slots, before):  # type: ignore[no-untyped-def]
    n, k = column.shape[1], before.shape[1]
    for i in range(rows.size):
        at = np.int64(0) if rows[i] < 0 else np.int64(fill[rows[i]])
        length = min(at, n, k)
        for j in range(k):
            before[i, j] = column[rows[i], (at - 1 - j) % n] if j < length else PAD
        if rows[i] >= 0:
            slots[i] = at if at < n else at - n
            column[rows[i], slots[i]] = given[i]
            fill[rows[i]] = n if at + 1 == 2 * n else at + 1


@releasing(lambda *args: len(args[1]))  # type: ignore[untyped-decorator]
def _newest_slots(fill, rows, n, slots, lengths):  # type: ignore[no-untyped-def]
    k = slots.shape[1]
    for i in range(rows.size):
        at = np.int64(0) if rows[i] < 0 else np.int64(fill[rows[i]])
        length = min(at, n, k)
        lengths[i] = length
        for j in range(k):
            slots[i, j] = (at - 1 - j) % n if j < length else -1


@releasing(lambda *args: len(args[1]))  # type: ignore[untyped-decorator]
def _gather(column, rows, slots, out):  # type: ignore[no-untyped-def]
    for i in range(slots.shape[0]):
        for j in range(slots.shape[1]):
            out[i, j] = column[rows[i], slots[i, j]] if slots[i, j] >= 0 else PAD

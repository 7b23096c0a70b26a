"""What a row is made of: plain columns, features that bring several, and how they lie in memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray

from stream_app.errors import StateError

if TYPE_CHECKING:
    from stream_app.state.shard import Shard

__all__ = ["Column", "ColumnSource", "Columns", "Feature", "Layout"]


@dataclass(frozen=True)
class Column:
    """One column: `dtype` (a number or bool), `shape` of a row's value, and what it is in a row never written."""

    dtype: DTypeLike
    shape: tuple[int, ...] = ()
    initial: float = 0


@runtime_checkable
class Feature(Protocol):
    """Something that keeps its state in a few columns and has kernels over them: a window, a ring, your own.

    name: prefix of its columns. describe(): its parameters in words; they decide whether an old changelog fits.
    read(shard, row): the state of one row for people.
    """

    @property
    def name(self) -> str: ...

    def columns(self) -> Mapping[str, Column]: ...

    def describe(self) -> str: ...

    def read(self, shard: Shard, row: int) -> Any: ...


class Columns:
    """Columns of a table: features, and plain columns by keyword.

    >>> Columns(TumblingCounts(300, windows=12), hidden=Column(np.float32, shape=(64,)))
    """

    def __init__(self, *features: Feature, **plain: Column) -> None:
        self.features = features
        self.plain = plain
        self._all: dict[str, Column] = {}
        for name, column in self._named():
            if name.startswith("_"):
                raise StateError(f"column {name!r}: names that start with _ are the table's own")
            if name in self._all:
                raise StateError(f"column {name!r} is declared twice: give one of the features another name=")
            self._all[name] = column
        if not self._all:
            raise StateError("a table needs at least one column")

    @classmethod
    def of(cls, source: ColumnSource) -> Columns:
        """Columns from any of the forms a declaration may take."""
        if isinstance(source, Columns):
            return source
        if isinstance(source, Mapping):
            features = {name: part for name, part in source.items() if isinstance(part, Feature)}
            for name, feature in features.items():
                if feature.name != name:
                    raise StateError(f"feature {feature.name!r} is declared as {name!r}: give it name={name!r}")
            return cls(*features.values(), **{n: part for n, part in source.items() if isinstance(part, Column)})
        if isinstance(source, Feature):
            return cls(source)
        return cls(*source)

    def _named(self) -> Iterator[tuple[str, Column]]:
        for feature in self.features:
            for suffix, column in feature.columns().items():
                yield f"{feature.name}.{suffix}", column
        yield from self.plain.items()

    def items(self) -> Iterable[tuple[str, Column]]:
        """Every column with its full name, in order of declaration."""
        return self._all.items()

    def describe(self) -> str:
        """Everything that decides what the bytes of a row mean."""
        plain = [f"{name}: {np.dtype(c.dtype).str}{list(c.shape)}" for name, c in self.plain.items()]
        return "; ".join([f"{f.name}: {f.describe()}" for f in self.features] + plain)


ColumnSource: TypeAlias = Columns | Feature | Mapping[str, Column | Feature] | Iterable[Feature]


class Layout:
    """The structured dtype of a table's rows, its initial row, and the id that its changelog carries.

    Two columns are the table's own: `_ts` float64, the last event time of the row, and `_mark` int64 [sources], the
    highest offset of each source topic that was applied to it (-1: none). Wide items lie first, so that every column is
    aligned without gaps, and a row is a multiple of 8 bytes.
    """

    def __init__(self, columns: Columns, sources: tuple[str, ...]) -> None:
        if not sources or len(set(sources)) != len(sources):
            raise StateError(f"sources {sources!r}: name the topics that change the table, each once")
        self.columns = columns
        self.sources = sources
        fields: dict[str, Column] = {
            "_ts": Column(np.float64, initial=-np.inf),
            "_mark": Column(np.int64, (len(sources),), -1),
            **dict(columns.items()),
        }
        dtypes = {name: _checked(name, column) for name, column in fields.items()}
        ordered = sorted(dtypes, key=lambda name: -dtypes[name].base.alignment)
        offsets, end = [], 0
        for name in ordered:
            offsets.append(end)
            end += dtypes[name].itemsize
        formats = [dtypes[name] for name in ordered]
        self.dtype = np.dtype(
            {"names": ordered, "formats": formats, "offsets": offsets, "itemsize": -(-end // 8) * 8}
        )  # fmt: skip
        initial = np.zeros(1, self.dtype)
        for name, column in fields.items():
            initial[name] = column.initial
        self.initial: NDArray[np.uint8] = initial.view(np.uint8)
        self.description = f"sources {', '.join(sources)}; {columns.describe()}"
        # Written out by hand: how numpy prints a dtype may change with its version.
        lies = [f"{n} {d.base.str}{list(d.shape)}@{o}" for n, d, o in zip(ordered, formats, offsets, strict=True)]
        self.schema_id = zlib.crc32(f"{self.description}; {lies}".encode())

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize


def _checked(name: str, column: Column) -> np.dtype[Any]:
    dtype = np.dtype((column.dtype, column.shape))
    if dtype.base.kind not in "biuf":
        raise StateError(f"column {name!r} has dtype {dtype.base}: a column holds numbers or bools")
    return dtype

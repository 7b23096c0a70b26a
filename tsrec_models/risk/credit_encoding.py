"""Applicants' columns as numbers: numeric ones as they are, text ones one column a level; learned on training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError

__all__ = ["Column", "CreditError", "Encoder"]

#: A level seen less often than this in training joins the other rare ones.
MIN_LEVEL = 5
#: Levels kept of a text column, the most frequent ones.
MAX_LEVELS = 30


class CreditError(ModelError):
    """Applications or a credit model that cannot be used."""


@dataclass(frozen=True, slots=True)
class Column:
    """How one column is read. Numeric: `levels` is empty; text: one indicator a level, all zero for a rare one.

    `mean`, `spread` and the same of the logarithm scale the linear model's inputs; `sign` is the monotone direction of
    the risk of default in a numeric column, 0 for none.
    """

    name: str
    levels: tuple[str, ...] = ()
    mean: float = 0.0
    spread: float = 1.0
    log_mean: float = 0.0
    log_spread: float = 1.0
    sign: int = 0

    @property
    def is_text(self) -> bool:
        return bool(self.levels)


def _log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sign(x) * np.log1p(np.abs(x))


class Encoder:
    """Columns in a fixed order -> a matrix for the trees and one for the linear model."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.by_name = {column.name: column for column in self.columns}

    @classmethod
    def fit(cls, table: Mapping[str, NDArray[Any]], is_bad: NDArray[np.bool_]) -> Encoder:
        """Learn levels, scales and directions from columns [n] of floats (NaN is missing) or text (None is missing).

        A text column with no level frequent enough to learn from (names, ids) and a numeric one that does not vary are
        left out. Raises CreditError where nothing is left.
        """
        columns = []
        for name, values in table.items():
            if values.dtype.kind == "f":
                finite = values[np.isfinite(values)]
                if len(np.unique(finite)) < 2:
                    continue
                logs = _log(finite)
                columns.append(
                    Column(
                        name,
                        (),
                        float(finite.mean()),
                        float(finite.std()),
                        float(logs.mean()),
                        float(max(logs.std(), 1e-9)),
                        _direction(values, is_bad),
                    )
                )
            else:
                levels, counts = np.unique([str(v) for v in values if v is not None], return_counts=True)
                order = np.argsort(-counts, kind="stable")
                kept = [str(levels[k]) for k in order[:MAX_LEVELS] if counts[k] >= MIN_LEVEL]
                if kept and not (len(kept) == 1 and counts[order[0]] == len(values)):
                    columns.append(Column(name, tuple(kept)))
        if not columns:
            raise CreditError("no column to learn from: all are constant or without repeated values")
        return cls(columns)

    @property
    def tree_names(self) -> list[str]:
        """Column (of the applicant) that each column of the trees' matrix belongs to."""
        return [column.name for column in self.columns for _ in range(len(column.levels) or 1)]

    @property
    def linear_names(self) -> list[str]:
        """The same of the linear model's matrix."""
        return [column.name for column in self.columns for _ in range(len(column.levels) or 2)]

    @property
    def signs(self) -> list[int]:
        """Monotone direction of each column of the trees' matrix."""
        return [sign for column in self.columns for sign in ([0] * len(column.levels) or [column.sign])]

    def encode(self, table: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Matrices of the trees [n, t] and of the linear model [n, l]. Raises CreditError for a column not there."""
        trees, linear = [], []
        for column in self.columns:
            if column.name not in table:
                raise CreditError(f"no column {column.name!r}: the model was trained with it")
            values = table[column.name]
            if column.is_text:
                text = np.array(["" if v is None else str(v) for v in values], dtype=object)
                hits = (text[:, None] == np.array(column.levels, dtype=object)[None, :]).astype(np.float64)
                trees.append(hits)
                linear.append(hits)
                continue
            x = np.asarray(values, dtype=np.float64)
            trees.append(x[:, None])
            scaled = np.stack([(x - column.mean) / column.spread, (_log(x) - column.log_mean) / column.log_spread], 1)
            # Missing is average for the linear model; beyond five spreads a value says no more.
            linear.append(np.clip(np.nan_to_num(scaled, nan=0.0), -5.0, 5.0))
        return np.concatenate(trees, axis=1), np.concatenate(linear, axis=1)

    def encode_one(self, features: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same of one applicant's fields; a missing one is missing, a number in a text column is text."""
        table: dict[str, NDArray[Any]] = {}
        for column in self.columns:
            value = features.get(column.name)
            if column.is_text:
                table[column.name] = np.array([value], dtype=object)
                continue
            try:
                table[column.name] = np.array([np.nan if value is None or value == "" else float(value)])
            except (TypeError, ValueError) as error:
                raise CreditError(f"field {column.name!r}: {value!r} is not a number") from error
        return self.encode(table)

    def rows(self) -> list[dict[str, Any]]:
        """Plain values, fit for JSON."""
        return [asdict(column) for column in self.columns]

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Encoder:
        return cls([Column(**{**row, "levels": tuple(row["levels"])}) for row in rows])


def _direction(values: NDArray[np.float64], is_bad: NDArray[np.bool_]) -> int:
    """1 or -1 where the rate of bad cases rises or falls all the way over five groups, and by more than chance."""
    keep = np.isfinite(values)
    x, y = values[keep], is_bad[keep]
    edges = np.unique(np.quantile(x, [0.2, 0.4, 0.6, 0.8]))
    group = np.searchsorted(edges, x, side="right")
    rates = [y[group == k].mean() for k in range(len(edges) + 1) if np.any(group == k)]
    if len(rates) < 3:
        return 0
    steps = np.diff(rates)
    spread = np.sqrt(y.mean() * (1 - y.mean()) * 2 * len(rates) / len(y))  # of the difference of two groups
    if abs(rates[-1] - rates[0]) < 2.5 * spread:
        return 0
    return 1 if np.all(steps > 0) else -1 if np.all(steps < 0) else 0

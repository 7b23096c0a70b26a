"""Features of times and of items, as arrays that models take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tsrec_models.preparation.cleaning import MissingValues, fill_values
from tsrec_models.preparation.log import Log, LogError, encode_ids

__all__ = ["TIME_FEATURES", "ItemFeatures", "gaps", "item_features", "time_features"]

_DAY_S, _WEEK_S = 86400.0, 7 * 86400.0

#: 1 January 1970 was a Thursday; weeks here begin on Monday.
_EPOCH_WEEKDAY = 3

#: Columns of `time_features`.
TIME_FEATURES = ("sin_hour", "cos_hour", "sin_weekday", "cos_weekday", "weekend", "log_gap")

#: Runs of letters and digits; titles have little else worth keeping.
_WORD = re.compile(r"\w+")


def gaps(log: Log) -> NDArray[np.float64]:
    """Seconds since the same user's previous event [events]; 0 at a user's first."""
    out = np.zeros(len(log))
    if len(log):
        out[1:] = np.where(np.diff(log.users) == 0, np.diff(log.times), 0.0)
    return out


def time_features(log: Log, *, utc_offset_s: float = 0.0) -> NDArray[np.float32]:
    """Columns TIME_FEATURES [events, 6]: hour and weekday as points on a circle, weekend, log(1 + gap in seconds).

    `utc_offset_s` shifts to the users' own clock.

    Raises LogError if the log has no times.
    """
    if not log.has_times:
        raise LogError("time features need times, and this log has only an order")
    local = log.times + utc_offset_s
    day = 2 * np.pi * (local % _DAY_S) / _DAY_S
    weekday = (np.floor(local / _DAY_S).astype(np.int64) + _EPOCH_WEEKDAY) % 7
    week = 2 * np.pi * weekday / 7
    columns = (np.sin(day), np.cos(day), np.sin(week), np.cos(week), weekday >= 5, np.log1p(gaps(log)))
    return np.stack(columns, axis=1).astype(np.float32)


@dataclass(frozen=True)
class ItemFeatures:
    """What is known of each item of a log, in the log's numbering."""

    category: NDArray[np.int64]  # [n_items], -1 for none
    categories: NDArray[np.str_]  # [categories] names
    log_price: NDArray[np.float32]  # [n_items], standardised
    words: sparse.csr_array  # [n_items, words] TF-IDF of titles, rows of length 1 or 0
    vocabulary: NDArray[np.str_]  # [words]

    def content(self) -> sparse.csr_array:
        """All features side by side [n_items, categories + 1 + words]."""
        known = np.flatnonzero(self.category >= 0)
        shape = (len(self.category), len(self.categories))
        one_hot = sparse.csr_array((np.ones(len(known), np.float32), (known, self.category[known])), shape=shape)
        return sparse.csr_array(sparse.hstack([one_hot, sparse.csr_array(self.log_price[:, None]), self.words]))


def item_features(
    item_ids: NDArray[np.str_],
    *,
    ids: Sequence[object],
    category: Sequence[str | None] | None = None,
    price: Sequence[float | None] | None = None,
    title: Sequence[str | None] | None = None,
    missing_price: MissingValues = "mean",
    rarest: int = 2,
) -> ItemFeatures:
    """Features of the items `item_ids` (as in a log) from a table with rows `ids`; rows of other items are ignored.

    A price that is missing, not positive or not a number is filled with the mean of its category (`mean`), or of its
    neighbours in the table's order (`interpolate`). Words in fewer than `rarest` titles are left out.

    Raises LogError if the columns differ in length or `missing_price` is `drop`: an item cannot be dropped here.
    """
    for name, column in (("category", category), ("price", price), ("title", title)):
        if column is not None and len(column) != len(ids):
            raise LogError(f"item features: {len(ids)} ids, but {len(column)} values of {name}")
    if missing_price == "drop":
        raise LogError("item features: prices can be filled by mean or interpolate; dropping would leave items without")
    place = {str(identifier): row for row, identifier in enumerate(ids)}
    rows = np.array([place.get(identifier, -1) for identifier in item_ids.tolist()], dtype=np.int64)
    codes, names = _categories(rows, category)
    words, vocabulary = _words(rows, title, rarest)
    return ItemFeatures(codes, names, _log_prices(rows, price, codes, missing_price), words, vocabulary)


def _categories(
    rows: NDArray[np.int64], category: Sequence[str | None] | None
) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    codes = np.full(len(rows), -1, dtype=np.int64)
    if category is None:
        return codes, np.zeros(0, dtype=np.str_)
    values = [category[row] if row >= 0 else None for row in rows]
    known = np.array([value is not None and value != "" for value in values], dtype=np.bool_)
    codes[known], names = encode_ids(value for value in values if value is not None and value != "")
    return codes, names


def _log_prices(
    rows: NDArray[np.int64], price: Sequence[float | None] | None, groups: NDArray[np.int64], how: MissingValues
) -> NDArray[np.float32]:
    if price is None:
        return np.zeros(len(rows), dtype=np.float32)
    table = np.array([np.nan if value is None else float(value) for value in price], dtype=np.float64)
    values = np.where(rows >= 0, table[rows], np.nan) if len(table) else np.full(len(rows), np.nan)
    if not (np.isfinite(values) & (values > 0)).any():
        return np.zeros(len(rows), dtype=np.float32)
    filled, _ = fill_values(values, groups, how, low=np.finfo(np.float64).tiny)
    logs = np.log(filled)
    spread = logs.std()
    standard: NDArray[np.float32] = ((logs - logs.mean()) / (spread if spread > 0 else 1.0)).astype(np.float32)
    return standard


def _words(
    rows: NDArray[np.int64], title: Sequence[str | None] | None, rarest: int
) -> tuple[sparse.csr_array, NDArray[np.str_]]:
    titles = ["" if title is None or row < 0 or title[row] is None else str(title[row]) for row in rows]
    counts: list[dict[str, int]] = []
    holders: dict[str, int] = {}
    for text in titles:
        seen: dict[str, int] = {}
        for word in _WORD.findall(text.lower()):
            seen[word] = seen.get(word, 0) + 1
        for word in seen:
            holders[word] = holders.get(word, 0) + 1
        counts.append(seen)
    vocabulary = sorted(word for word, n in holders.items() if n >= rarest)
    column = {word: place for place, word in enumerate(vocabulary)}
    entries = [
        (row, column[word], n * np.log((1 + len(rows)) / (1 + holders[word])) + n)
        for row, seen in enumerate(counts)
        for word, n in seen.items()
        if word in column
    ]
    row_index, columns, values = (np.array(part) for part in zip(*entries, strict=True)) if entries else ([], [], [])
    matrix = sparse.csr_array(
        (np.asarray(values, dtype=np.float32), (np.asarray(row_index, int), np.asarray(columns, int))),
        shape=(len(rows), len(vocabulary)),
    )
    length = np.sqrt(np.asarray((matrix * matrix).sum(axis=1)).ravel())
    scale = sparse.diags_array(1.0 / np.where(length > 0, length, 1.0)).astype(np.float32)
    return sparse.csr_array(scale @ matrix), np.array(vocabulary, dtype=np.str_)

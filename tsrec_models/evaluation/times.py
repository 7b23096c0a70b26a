"""Times in a column of text, whatever way they are written, and the order they put the rows into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError

__all__ = ["in_order", "parse_times"]

_DAYS = ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%Y/%m/%d", "%d-%m-%Y", "%m/%d/%y", "%b %d, %Y", "%d %b %Y", "%d-%b-%Y",
         "%d-%b-%y", "%B %d, %Y", "%d %B %Y")  # fmt: skip
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
#: Seconds since the epoch have ten digits until the year 2286; longer ones are milli-, micro- and nanoseconds.
_EPOCH_DIGITS = 10
_SAMPLE = 20  # rows by which a way of writing is told not to be meant
_FIRST_YEAR, _LAST_YEAR = 1800, 2200  # of an eight-digit number that is a day


def parse_times(texts: Sequence[str], where: str = "") -> NDArray[np.float64] | None:
    """Epoch seconds [n] of `texts`; without a zone they are UTC. None where no row is a time in any known way.

    ISO 8601, numbers (days as YYYYMMDD, else seconds, milli-, micro- or nanoseconds since 1970), and days as they are
    written in America and Europe, with or without a time of day: the one way that fits all rows; where day and month
    could be either, the one in which the rows are in order.

    Raises ModelError where only some rows fit; `where` begins its sentence.
    """
    texts = [text.strip() for text in texts]
    some = texts[:: max(len(texts) // _SAMPLE, 1)]
    found: NDArray[np.float64] | None = None
    for way in (_numbers, _iso, *(_written(day) for day in _DAYS)):
        if all(np.isnan(way(text)) for text in some):
            continue
        seconds = np.array([way(text) for text in texts])
        known = np.isfinite(seconds)
        if known.all() and len(texts):
            steps = np.diff(_scaled(seconds) if way is _numbers else seconds)
            if way is _numbers or way is _iso or (steps >= 0).all() or (steps <= 0).all():
                return _scaled(seconds) if way is _numbers else seconds
            found = seconds if found is None or not np.isfinite(found).all() else found
        elif found is None or np.count_nonzero(known) > np.count_nonzero(np.isfinite(found)):
            found = seconds if known.any() else found
    if found is None:
        return None
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found))[0])
        raise ModelError(f"{where}row {row + 1}: {texts[row]!r} is not a time as the others are")
    return found


def in_order(times: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Rows by time, oldest first, equal times as they came; None where they are so already.

    Rows that run backwards all the way are turned round, so that those of one time are too.
    """
    steps = np.diff(times)
    if (steps >= 0).all():
        return None
    if (steps <= 0).all():
        return np.arange(len(times))[::-1].copy()
    return np.argsort(times, kind="stable")


def _numbers(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _scaled(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers that stand for times, as seconds."""
    whole = numbers.astype(np.int64) if (np.abs(numbers) < 1e18).all() else np.zeros(len(numbers), np.int64)
    if (whole == numbers).all() and ((whole // 10_000 >= _FIRST_YEAR) & (whole // 10_000 <= _LAST_YEAR)).all():
        days = [_date(f"{day:08d}") for day in whole.tolist()]
        if not any(np.isnan(days)):
            return np.array(days)
    size = float(np.abs(numbers).max())
    for unit in (1e9, 1e6, 1e3):
        if size >= 10.0 ** (_EPOCH_DIGITS - 1) * unit:
            return numbers / unit
    return numbers


def _date(text: str) -> float:
    try:
        return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return float("nan")


def _iso(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return float("nan")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _written(day: str) -> Callable[[str], float]:
    """A reader of days written so, with any of the clocks; remembers which clock fitted last."""
    clocks = list(_CLOCKS)

    def read(text: str) -> float:
        for k, clock in enumerate(clocks):
            try:
                seconds = datetime.strptime(text, day + clock).replace(tzinfo=UTC).timestamp()
            except ValueError:
                continue
            clocks.insert(0, clocks.pop(k))
            return seconds
        return float("nan")

    return read

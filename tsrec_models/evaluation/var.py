"""`tsrec evaluate var`: a price history backtested one step ahead, as numbers and as a figure."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date as date_type
from datetime import datetime
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.risk.backtests import Backtest, backtest
from tsrec_models.risk.var_walkforward import WalkForward, walk_forward

__all__ = ["evaluate", "plot", "read_prices"]

_LIGHT_LEVEL = 0.99  # Basel's traffic light is defined here, whatever level is tested


def read_prices(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Dates and closes [days] of a CSV (or .gz) with columns `date` and `close`, in any case and place.

    Rows are oldest first; they are turned round if the dates run backwards.

    Raises ModelError when a column is missing or a close is not a positive number.
    """
    with _open(path) as file:
        reader = csv.reader(file)
        header = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in ("date", "close") if name not in header]
        if missing:
            raise ModelError(
                f"{path.name} has no column {' and no column '.join(missing)}: "
                f"it needs date,close (it has {', '.join(header)})"
            )
        date, close = header.index("date"), header.index("close")
        dates: list[str] = []
        closes: list[float] = []
        for line, row in enumerate(reader, start=2):
            if not row:
                continue
            try:
                value = float(row[close])
            except (ValueError, IndexError):
                raise ModelError(f"{path.name}, line {line}: close is not a number") from None
            if not 0.0 < value < np.inf:
                raise ModelError(f"{path.name}, line {line}: close is {value}, it must be a positive number")
            dates.append(row[date])
            closes.append(value)
    if len(dates) > 1 and (_day(dates[0]) or date_type.min) > (_day(dates[-1]) or date_type.max):
        dates, closes = dates[::-1], closes[::-1]
    return dates, np.array(closes)


def _day(text: str) -> date_type | None:
    """The day a date says, if it says it in a way that is known here."""
    for form in ("%Y-%m-%d", "%m/%d/%Y", "%Y%m%d", "%d.%m.%Y"):
        try:
            return datetime.strptime(text.strip()[:10], form).date()
        except ValueError:
            continue
    return None


def evaluate(closes: NDArray[np.float64], level: float = 0.99, warmup: int = 1000) -> tuple[Backtest, WalkForward]:
    """Backtest at `level` of one-step forecasts for `closes` [days], after `warmup` returns."""
    if not 0.5 < level < 1.0:
        raise ModelError(f"level is {level}: give a number between 0.5 and 1, such as 0.99")
    forecast = walk_forward(np.diff(np.log(closes)), (level, _LIGHT_LEVEL), warmup)
    result = backtest(forecast.returns, forecast.var[:, 0], forecast.es[:, 0], level, forecast.var[:, 1])
    return result, forecast


def plot(dates: list[str], forecast: WalkForward, result: Backtest, path: Path) -> None:
    """Returns, the VaR below them, and the hits, as a PNG. `dates` are those of the tested days."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ModelError("a figure is drawn with `matplotlib`: pip install matplotlib") from error
    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = figure.add_subplot()
    days = np.arange(len(forecast.returns))
    hits = forecast.returns < -forecast.var[:, 0]
    axes.plot(days, 100 * forecast.returns, color="0.65", linewidth=0.6, label="return")
    axes.plot(days, -100 * forecast.var[:, 0], color="tab:blue", linewidth=0.8, label=f"VaR {result.level:.1%}")
    axes.plot(days, -100 * forecast.es[:, 0], color="tab:purple", linewidth=0.6, label="expected shortfall")
    axes.scatter(days[hits], 100 * forecast.returns[hits], color="tab:red", s=12, zorder=3, label="hit")
    ticks = np.linspace(0, len(days) - 1, min(10, len(days))).astype(int)
    axes.set_xticks(ticks, [dates[k] for k in ticks], rotation=20)
    axes.set_ylabel("log return, %")
    axes.set_title(
        f"{result.hits} hits, {result.expected:.1f} expected; Kupiec p {result.kupiec_p:.2f}, "
        f"conditional coverage p {result.conditional_coverage_p:.2f}"
    )
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=110)


@contextmanager
def _open(path: Path) -> Iterator[IO[str]]:
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            yield file
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error

"""`tsrec evaluate var`: a price history backtested one step ahead, as numbers and as a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.evaluation.figure import new_figure, save_figure
from tsrec_models.evaluation.reading import MISSING, number, read_table_of_text
from tsrec_models.evaluation.times import in_order, parse_times
from tsrec_models.risk.backtests import Backtest, backtest
from tsrec_models.risk.var_walkforward import WalkForward, walk_forward

__all__ = ["evaluate", "plot", "read_prices"]

_LIGHT_LEVEL = 0.99  # Basel's traffic light is defined here, whatever level is tested


def read_prices(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Dates and closes [days] of a CSV (or .gz) with columns `date` and `close`, in any case and place.

    Rows are put in order of time, and left out where the close is empty (a holiday). Dates that are none in any known
    way, in all rows, leave the rows as they are.

    Raises ModelError when a column is missing, a close is not a positive number, or only some dates can be read.
    """
    table = read_table_of_text(path)
    header = [name.lower() for name in table.header]
    missing = [name for name in ("date", "close") if name not in header]
    if missing:
        raise ModelError(
            f"{path.name} has no column {' and no column '.join(missing)}: "
            f"it needs date,close (it has {', '.join(header)})"
        )
    texts = table.column(header.index("close"))
    there = [k for k, text in enumerate(texts) if text.lower() not in MISSING]
    closes = np.array([number(texts[k], table.decimal_comma) for k in there])
    for k, close in zip(there, closes.tolist(), strict=True):
        if np.isnan(close):
            raise ModelError(f"{path.name}, line {table.lines[k]}: close is not a number ({texts[k]!r})")
        if not 0.0 < close < np.inf:
            raise ModelError(f"{path.name}, line {table.lines[k]}: close is {close}, it must be a positive number")
    every = table.column(header.index("date"))
    dates = [every[k] for k in there]
    times = parse_times(dates, f"{path.name}: ")
    rows = None if times is None else in_order(times)
    if rows is not None:
        dates, closes = [dates[k] for k in rows.tolist()], closes[rows]
    return dates, closes


def evaluate(closes: NDArray[np.float64], level: float = 0.99, warmup: int = 1000) -> tuple[Backtest, WalkForward]:
    """Backtest at `level` of one-step forecasts for `closes` [days], after `warmup` returns."""
    if not 0.5 < level < 1.0:
        raise ModelError(f"level is {level}: give a number between 0.5 and 1, such as 0.99")
    forecast = walk_forward(np.diff(np.log(closes)), (level, _LIGHT_LEVEL), warmup)
    result = backtest(forecast.returns, forecast.var[:, 0], forecast.es[:, 0], level, forecast.var[:, 1])
    return result, forecast


def plot(dates: list[str], forecast: WalkForward, result: Backtest, path: Path) -> None:
    """Returns, the VaR below them, and the hits, as a PNG. `dates` are those of the tested days."""
    figure = new_figure(12, 5)
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
    save_figure(figure, path, 110)

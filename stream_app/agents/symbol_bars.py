"""Closed bars for those who hold the symbol: a copy in every partition of accounts.

A symbol lives in one partition and its owners in all of them, on other workers too. So each closed bar of a symbol that
some account trades is told to every partition: what its price is now, what it returned, and new parameters of its
volatility. Each partition steps the volatility from that by itself, and has the residuals for scenarios of its books.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_app.batch import Batch, BatchTopic, Outgoing
from stream_app.state.shard import Shard
from topics.columns import encode_columns
from topics.events import SymbolBar
from topics.spans import Spans
from tsrec_models.risk.bar_models import BarModels
from tsrec_models.risk.bar_stepping import Stepping
from tsrec_models.risk.bars import Bars
from tsrec_models.risk.volatility import GarchParameters

__all__ = ["tell_bars"]

_NAMES = ("omega", "alpha", "gamma", "beta", "mu")


def tell_bars(
    batch: Batch,
    topic: BatchTopic,
    names: Spans,
    bars: Bars,
    owned: NDArray[np.bool_],
    models: Shard,
    bar_models: BarModels,
    stepping: Stepping,
) -> None:
    """Send the bars of owned symbols to every partition of `topic`; of one that is told of for the first time, its
    whole window before them. names, owned: of each bar; `models` has the rows that the outcome names."""
    outcome = stepping.outcome()
    mine = np.flatnonzero(owned[outcome.at])
    if not len(mine):
        return
    told, state, width_s = models.column("told"), models.column("models"), bars.width_s
    rows = outcome.rows[mine]
    first_time = np.unique(rows[~told[rows]])
    told[first_time] = True
    parts: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []  # bars by place among all, and their columns
    for row in first_time.tolist():
        place = int(outcome.at[np.flatnonzero(outcome.rows == row)[-1]])
        parts.append(_history(bar_models, state, row, place, float(bars.close[place]), width_s))
    mine = mine[~np.isin(rows, first_time)]
    at = outcome.at[mine]
    values = np.full((len(mine), 8), np.nan)
    values[:, 0], values[:, 1], values[:, 2] = bars.number[at], bars.close[at], outcome.news[mine]
    where = {int(place): k for k, place in enumerate(mine.tolist())}
    for place, garch in stepping.swapped:
        if place in where:
            values[where[place], 3:] = garch.as_array()
    parts.append((at, values))
    places, table = np.concatenate([p for p, _ in parts]), np.concatenate([v for _, v in parts])
    symbols = names.take(places)
    records = encode_columns(
        SymbolBar, symbol=symbols, number=table[:, 0], ts=(table[:, 0] + 1.0) * width_s, close=table[:, 1],
        log_return=table[:, 2], **{name: table[:, 3 + k] for k, name in enumerate(_NAMES)},
    )  # fmt: skip
    for partition in range(topic.partitions):
        batch.outgoing.append(Outgoing(topic.name, symbols, records, partition, None, None))


def _history(
    models: BarModels, state: NDArray[np.float64], row: int, place: int, close: float, width_s: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A row's window as bars: all at the close of now, the parameters in force with the last."""
    returns = models.risk.returns(state, row)
    numbers = models.risk.numbers(state, row)
    if not len(returns):  # the first bar of a symbol has a price and no return
        returns, numbers = np.array([np.nan]), state[[row], models.LAST_NUMBER]
    values = np.full((len(returns), 8), np.nan)
    values[:, 0], values[:, 1], values[:, 2] = numbers, close, returns
    parameters: GarchParameters = models.risk.parameters_of(state, row)
    values[-1, 3:] = parameters.as_array()
    return np.full(len(returns), place), values

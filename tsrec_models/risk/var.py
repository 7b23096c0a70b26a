"""Market risk of a stream of trades: bars, volatility, VaR and ES of the next bar, and their running backtest.

One object does the work of the market-risk agent for all symbols; its state is one float64 row a symbol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.risk.backtests_running import RunningBacktest
from tsrec_models.risk.bars import Bars, TimeBars
from tsrec_models.risk.fhs import FilteredHistoricalSimulation, RiskForecast

__all__ = ["MarketRisk", "RiskUpdate"]


@dataclass(frozen=True)
class RiskUpdate:
    """What a batch of trades brought about; `bars`, `forecast` and `hits` are parallel, one entry a closed bar."""

    bars: Bars
    forecast: RiskForecast
    hits: NDArray[np.bool_]  #: [bars, levels], the bar's return was below the VaR forecast for it
    evidence: NDArray[
        np.float64
    ]  #: [bars, levels + 1], against the model: see `RunningBacktest`; state after the batch
    fate: NDArray[np.uint8]  #: [trades], bars.TAKEN, LATE or REFUSED; empty where only time passed

    def __len__(self) -> int:
        return len(self.bars)


class MarketRisk:
    """VaR at three levels and ES for every symbol, one bar ahead.

    >>> import numpy as np
    >>> risk = MarketRisk(bar_s=60.0)
    >>> state = risk.initial_rows(1)
    >>> prices = 100 * np.exp(np.cumsum(0.001 * np.random.default_rng(1).standard_normal(1000)))
    >>> update = risk.update(
    ...     state, np.zeros(1000, np.int64), prices, np.ones(1000), np.zeros(1000, np.int8), 60.0 * np.arange(1000)
    ... )
    >>> len(update), bool(0.0015 < update.forecast.var[-1, 0] < 0.002)
    (999, True)
    """

    def __init__(
        self,
        bar_s: float = 60.0,
        lateness_s: float = 0.0,
        window: int = 500,
        levels: tuple[float, float, float] = (0.95, 0.975, 0.99),
        es_level: float = 0.975,
        backtest_window: int = 1000,
    ) -> None:
        self.bars = TimeBars(bar_s, lateness_s)
        self.fhs = FilteredHistoricalSimulation(window, levels, es_level, offset=self.bars.width)
        self.backtest = RunningBacktest(levels, es_level, backtest_window, offset=self.bars.width + self.fhs.width)
        self.width = self.bars.width + self.fhs.width + self.backtest.width

    def initial_rows(self, n: int) -> NDArray[np.float64]:
        """State of `n` symbols without trades: [n, width]."""
        state = np.zeros((n, self.width))
        self.clear(state, np.arange(n))
        return state

    def clear(self, state: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
        """Make `rows` of `state` symbols without trades."""
        self._check(state)
        self.bars.clear(state, rows)
        self.fhs.clear(state, rows)
        self.backtest.clear(state, rows)

    def update(
        self,
        state: NDArray[np.float64],
        rows: NDArray[np.int64],
        prices: NDArray[np.float64],
        quantities: NDArray[np.float64],
        sides: NDArray[np.int8],
        times: NDArray[np.float64],
    ) -> RiskUpdate:
        """Take trades, all [batch], in the order they came; `state` [any, width] is changed in place."""
        self._check(state)
        bars, fate = self.bars.add(state, rows, prices, quantities, sides, times)
        return self._after(state, bars, fate)

    def advance(self, state: NDArray[np.float64], rows: NDArray[np.int64], watermark: float) -> RiskUpdate:
        """Close the bars of quiet `rows` that end at or before `watermark`, epoch seconds."""
        self._check(state)
        return self._after(state, self.bars.advance(state, rows, watermark), np.empty(0, np.uint8))

    def portfolio(
        self,
        state: NDArray[np.float64],
        offsets: NDArray[np.int64],
        rows: NDArray[np.int64],
        exposures: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """VaR [accounts, levels] and ES [accounts] in money: see `FilteredHistoricalSimulation.portfolio`."""
        return self.fhs.portfolio(state, offsets, rows, exposures)

    def to_rows(self, state: NDArray[np.float64], rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Copy [rows, width] for a changelog or another table."""
        return np.array(state[np.asarray(rows)], np.float64)

    def from_rows(
        self, state: NDArray[np.float64], rows: Sequence[int] | NDArray[np.int64], saved: NDArray[np.float64]
    ) -> None:
        """Put saved [rows, width] back."""
        self._check(saved)
        state[np.asarray(rows)] = saved

    def _after(self, state: NDArray[np.float64], bars: Bars, fate: NDArray[np.uint8]) -> RiskUpdate:
        forecast = self.fhs.update(state, bars.rows, bars.log_return, bars.number)
        hits = self.backtest.update(state, bars.rows, bars.log_return, forecast.var_before, forecast.es_before)
        return RiskUpdate(bars, forecast, hits, self.backtest.evidence(state, bars.rows), fate)

    def _check(self, state: NDArray[np.float64]) -> None:
        if state.ndim != 2 or state.shape[1] != self.width or state.dtype != np.float64:
            raise ModelError(
                f"state of market risk is {state.dtype} {state.shape}: it must be float64 [rows, {self.width}]; "
                "a table made under other settings (bar, lateness, windows) has to be rebuilt"
            )

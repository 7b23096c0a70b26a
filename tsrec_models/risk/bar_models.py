"""What is known of a symbol after each closed bar: ARIMA step and forecast, interval, volatility, tail risk, backtests.

One float64 row a symbol holds all of it, in the caller's own table. Parameters are estimated when a symbol has warmed
up, again when its past has doubled, and then every `refit_every` bars: always at a bar's number, so that the same bars
give the same forecasts however they were batched and whenever they are replayed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tsrec_models.arima import ArimaBank, Layout, Order, estimate
from tsrec_models.base import ModelError
from tsrec_models.risk.backtests import BASEL_DAYS
from tsrec_models.risk.backtests_running import RunningBacktest, Verdict
from tsrec_models.risk.bars import Bars
from tsrec_models.risk.fhs import FilteredHistoricalSimulation, RiskForecast
from tsrec_models.risk.innovation_band import InnovationBand

__all__ = ["LEVELS", "BarModelSettings", "BarModels", "BarOutcome"]

#: Levels of value at risk; expected shortfall is that of the middle one.
LEVELS, ES_LEVEL = (0.95, 0.975, 0.99), 0.975

_READY, _LAST, _COUNT, _FITTED, _VOLATILITY, _HEADER = 0, 1, 2, 3, 4, 5

#: A return counts for the volatility to come as at most so many of its standard deviations. Else one jump would raise
#: it a hundredfold, a window of residuals would shrink to nothing, and the risk read from them with it.
_NEWS_SIGMAS = 8.0


@dataclass(frozen=True)
class BarModelSettings:
    """warmup: returns before anything is forecast; window: residuals of the tail risk; max_gap: after more bars without
    a trade the price has moved on unseen, and the return over the gap is no step of the model."""

    order: tuple[int, int, int] = (1, 0, 1)
    level: float = 0.9
    warmup: int = 30
    refit_every: int = 500
    window: int = 500
    max_gap: int = 10

    def __post_init__(self) -> None:
        if self.warmup < 20 or self.refit_every < self.warmup or self.window < 100 or self.max_gap < 1:
            raise ModelError(
                f"bar models with {self}: warmup at least 20, refit_every at least warmup, window at least 100, "
                "max_gap at least 1"
            )
        if self.order[1] != 0:
            raise ModelError(f"order {self.order} of log returns: they are differences already, give (p, 0, q)")


@dataclass(frozen=True)
class BarOutcome:
    """Of each bar taken, [n]: what its return was measured against, and what is said of the next one; NaN: not yet.

    Returns, sigma and risks are of log returns and fractions of the price. `at` is the bar's place in the batch.
    """

    at: NDArray[np.int64]
    rows: NDArray[np.int64]
    returns: NDArray[np.float64]
    z: NDArray[np.float64]
    sigma: NDArray[np.float64]
    held: NDArray[np.float64]
    var_before: NDArray[np.float64]  #: [n, levels], as forecast for this bar's return
    es_before: NDArray[np.float64]
    mean: NDArray[np.float64]  #: of the next log return
    half_width: NDArray[np.float64]  #: of its interval
    volatility: NDArray[np.float64]
    var: NDArray[np.float64]  #: [n, levels]
    es: NDArray[np.float64]
    evidence: NDArray[np.float64]  #: that value at risk is understated: mean number of bars to a false alarm

    def __len__(self) -> int:
        return len(self.at)


class BarModels:
    """Steps the models of many symbols; it holds settings and scratch, not state."""

    def __init__(self, settings: BarModelSettings | None = None) -> None:
        self.settings = s = settings or BarModelSettings()
        self.order = Order(*s.order)
        self.layout = Layout(self.order.n_states, self.order.n_lags)
        self.band = InnovationBand(s.level, offset=_HEADER)
        self._parameters = slice(_HEADER + self.band.width, _HEADER + self.band.width + self.layout.parameter_width)
        self._states = slice(self._parameters.stop, self._parameters.stop + self.layout.state_width)
        self.risk = FilteredHistoricalSimulation(s.window, LEVELS, ES_LEVEL, offset=self._states.stop)
        self.backtest = RunningBacktest(LEVELS, ES_LEVEL, offset=self._states.stop + self.risk.width)
        self.width = self._states.stop + self.risk.width + self.backtest.width
        self._scratch: ArimaBank | None = None

    def step(self, state: NDArray[np.float64], bars: Bars) -> BarOutcome:
        """Take closed bars, in order; `state` is float64 [symbols, width], zeros for a new symbol.

        A bar that its row has seen (its number is not above the last one's) changes nothing and is left out.
        """
        self._begin(state, np.unique(bars.rows))
        at = np.flatnonzero(bars.number > state[bars.rows, _LAST])
        rows, numbers = bars.rows[at], bars.number[at]
        returns = np.array(bars.log_return[at])
        place, before = _occurrences(rows)
        previous = np.where(before >= 0, numbers[before], state[rows, _LAST])
        returns[numbers - previous > self.settings.max_gap] = np.nan
        parts = [
            self._segment(state, at[part], rows[part], returns[part], numbers[part])
            for part in self._parts(state, rows, returns, place)
        ]
        if not parts:
            return self._segment(state, at, rows, returns, numbers)
        return BarOutcome(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(BarOutcome)))

    def verdict(self, state: NDArray[np.float64], row: int) -> Verdict:
        """All backtests of one symbol."""
        return self.backtest.verdict(state, row)

    def _begin(self, state: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
        new = rows[state[rows, _READY] == 0.0]
        if len(new):
            state[new, _READY], state[new, _LAST], state[new, _VOLATILITY] = 1.0, -np.inf, np.nan
            self.risk.clear(state, new)
            self.backtest.clear(state, new)

    def _is_due(self, counts: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether parameters are estimated after so many returns."""
        doublings = np.log2(np.maximum(counts, 1.0) / self.settings.warmup)
        early = (doublings >= 0) & (doublings == np.floor(doublings)) & (counts < self.settings.refit_every)
        late = (counts > 0) & (counts % self.settings.refit_every == 0)
        return np.asarray(early | late, np.bool_)

    def _parts(
        self,
        state: NDArray[np.float64],
        rows: NDArray[np.int64],
        returns: NDArray[np.float64],
        place: NDArray[np.int64],
    ) -> list[slice]:
        """The batch cut after each bar that ends in a refit, and before each bar whose return is missing."""
        seen = np.isfinite(returns)
        counts = state[rows, _COUNT] + _running_counts(rows, seen)
        ends = np.flatnonzero(self._is_due(counts) & seen) + 1
        starts = np.flatnonzero(~seen & (place > 0))
        cuts = np.unique(np.concatenate([[0], ends, starts, [len(rows)]]))
        return [slice(a, b) for a, b in pairwise(cuts.tolist())]

    def _segment(
        self,
        state: NDArray[np.float64],
        at: NDArray[np.int64],
        rows: NDArray[np.int64],
        returns: NDArray[np.float64],
        numbers: NDArray[np.float64],
    ) -> BarOutcome:
        """Bars between two refits."""
        n = len(rows)
        risk, evidence = self._tail_risk(state, rows, returns, numbers)
        np.maximum.at(state[:, _LAST], rows, numbers)
        np.add.at(state[:, _COUNT], rows, np.isfinite(returns).astype(np.float64))
        z, sigma, held, mean, half_width = (np.full(n, np.nan) for _ in range(5))
        fitted = np.flatnonzero(state[rows, _FITTED] > 0)
        if len(fitted):
            z[fitted], sigma[fitted], held[fitted], mean[fitted], half_width[fitted] = self._arima(
                state, rows[fitted], returns[fitted]
            )
        due = np.unique(rows[np.isfinite(returns)])
        for row in due[self._is_due(state[due, _COUNT])].tolist():
            self._fit(state, row)
        return BarOutcome(
            at, rows, returns, z, sigma, held, risk.var_before, risk.es_before, mean, half_width,
            risk.volatility, risk.var, risk.es, evidence,
        )  # fmt: skip

    def _tail_risk(
        self,
        state: NDArray[np.float64],
        rows: NDArray[np.int64],
        returns: NDArray[np.float64],
        numbers: NDArray[np.float64],
    ) -> tuple[RiskForecast, NDArray[np.float64]]:
        """Risk of the next bar, and after each bar the evidence that risk is understated, [n].

        Only the evidence against the VaR: that against the expected shortfall grows without bound in one jump, which is
        an event and no fault of a model that has been right for a thousand bars. Zero before Basel's 250 returns.
        """
        place, _ = _occurrences(rows)
        order, parts, evidence = [], [], np.empty(len(rows))
        for k in range(int(place.max()) + 1 if len(rows) else 1):
            now = np.flatnonzero(place == k)
            at, seen = rows[now], returns[now]
            most = _NEWS_SIGMAS * state[at, _VOLATILITY]
            news = np.where(np.isnan(most), seen, np.clip(seen, -most, most))
            risk = self.risk.update(state, at, news, numbers[now])
            state[at, _VOLATILITY] = risk.volatility
            self.backtest.update(state, at, seen, risk.var_before, risk.es_before)
            enough = self.backtest.tested(state, at) >= BASEL_DAYS
            evidence[now] = np.where(enough, self.backtest.evidence(state, at)[:, :-1].mean(axis=1), 0.0)
            order.append(now)
            parts.append(risk)
        back = np.argsort(np.concatenate(order))
        joined = (np.concatenate([getattr(part, f.name) for part in parts])[back] for f in fields(RiskForecast))
        return RiskForecast(*joined), evidence

    def _arima(
        self, state: NDArray[np.float64], rows: NDArray[np.int64], returns: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], ...]:
        """Step the filters of fitted symbols: z, sigma, held of each return; mean, half width of the next."""
        unique, series = np.unique(rows, return_inverse=True)
        everyone = np.arange(len(unique))
        bank = self._bank(state[unique, self._parameters])
        bank.set_parameters(everyone, state[unique, self._parameters], state[unique, self._states])
        innovations = bank.step(returns, series)
        state[unique, self._states] = bank.to_rows(everyone)
        band = self.band.update(state, rows, innovations.value, innovations.variance)
        # What was forecast for a return is that return less its innovation; for the last one of each symbol, ask.
        mean = bank.forecast(1, everyone).mean[series, 0]
        _, before = _occurrences(rows)
        later = np.flatnonzero(before >= 0)
        mean[before[later]] = returns[later] - innovations.value[later]
        return band.z, band.sigma, band.held, mean, band.next_radius * band.next_sigma

    def _bank(self, parameters: NDArray[np.float64]) -> ArimaBank:
        if self._scratch is None:
            self._scratch = ArimaBank(len(parameters), parameters, self.layout)
        if self._scratch.n_series < len(parameters):
            self._scratch.resize(2 * len(parameters))
        return self._scratch

    def _fit(self, state: NDArray[np.float64], row: int) -> None:
        """Estimate the parameters of one symbol from its window of returns, and filter the window with them."""
        returns = self.risk.returns(state, row)
        if not np.ptp(returns) > 0.0:
            return  # a price that stood still: nothing to estimate, and nothing to be surprised by
        parameters = estimate([returns], self.order).pack(self.layout)
        bank = ArimaBank(1, parameters, self.layout)
        innovations = bank.filter(returns[:, None]).value[:, 0]
        if not state[row, _FITTED]:
            self.band.start(state, row, innovations)
        state[row, self._parameters] = parameters[0]
        state[row, self._states] = bank.to_rows()[0]
        state[row, _FITTED] = state[row, _COUNT]


def _occurrences(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How often each row came before in the batch, and where it came last (-1: not before): both [n]."""
    n = len(rows)
    order = np.argsort(rows, kind="stable")
    place, before = np.zeros(n, np.int64), np.full(n, -1, np.int64)
    if n:
        ordered = rows[order]
        start = np.r_[True, ordered[1:] != ordered[:-1]]
        first = np.maximum.accumulate(np.where(start, np.arange(n), 0))
        place[order] = np.arange(n) - first
        again = np.flatnonzero(~start)
        before[order[again]] = order[again - 1]
    return place, before


def _running_counts(rows: NDArray[np.int64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How many of a row's values were seen up to and with each, [n]."""
    order = np.argsort(rows, kind="stable")
    total = np.cumsum(seen[order])
    out = np.empty(len(rows))
    if len(rows):
        ordered = rows[order]
        start = np.r_[True, ordered[1:] != ordered[:-1]]
        base = np.where(start, total - seen[order], 0)
        out[order] = total - np.maximum.accumulate(base)
    return out

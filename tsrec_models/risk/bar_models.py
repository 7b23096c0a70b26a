"""What is known of a symbol after each closed bar: ARIMA step and forecast, interval, volatility, tail risk, backtests.

One float64 row a symbol holds all of it, in the caller's own table. New parameters (ARIMA, and GJR of the volatility)
are asked for when a symbol has warmed up, when its past has doubled, every `refit_every` bars, and when its innovations
or residuals have drifted; they take effect `delay` bars later, so that the estimate can run elsewhere meanwhile. Both
happen at a bar's number and from the row's own returns, so that the same bars give the same forecasts however they
were batched, however long the estimate took, and after a crash between the two.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from tsrec_models.arima import ArimaBank, Layout, Order
from tsrec_models.arima.drift import WIDTH as DRIFT_WIDTH
from tsrec_models.arima.drift import step_drift
from tsrec_models.base import ModelError
from tsrec_models.risk.backtests import BASEL_DAYS
from tsrec_models.risk.backtests_running import RunningBacktest, Verdict
from tsrec_models.risk.bar_outcome import BarOutcome, occurrences, running_counts
from tsrec_models.risk.bar_refits import Job, Refitted, refit
from tsrec_models.risk.bar_regressors import BarRegressors, Known
from tsrec_models.risk.bar_stepping import Stepping
from tsrec_models.risk.bars import Bars
from tsrec_models.risk.fhs import FilteredHistoricalSimulation, RiskForecast
from tsrec_models.risk.innovation_band import InnovationBand

__all__ = ["ES_LEVEL", "LEVELS", "BarModelSettings", "BarModels", "BarOutcome"]

#: Levels of value at risk; expected shortfall is that of the middle one.
LEVELS, ES_LEVEL = (0.95, 0.975, 0.99), 0.975

_READY, _LAST, _COUNT, _FITTED, _VOLATILITY, _ASKED, _SWAPPED, _GARCH, _DRIFT = range(9)
# Drift of the innovations (level, autocorrelation), and of the residuals (their size).
_RESIDUAL_DRIFT = _DRIFT + DRIFT_WIDTH
_HEADER = _RESIDUAL_DRIFT + DRIFT_WIDTH

#: Bars that a moving mean of the drift monitors goes back, and how many standard deviations off it is drift. Bars come
#: by the thousand and each refit costs; innovations of a sound model are reported less than once in 100,000.
_DRIFT_MEMORY, _DRIFT_SIGMAS = 200, 6.0
#: Drift is looked at after every so many returns: between, bars of a symbol go through without a stop.
_DRIFT_EVERY = 50

#: A return counts for the volatility to come as at most so many of its standard deviations. Else one jump would raise
#: it a hundredfold, a window of residuals would shrink to nothing, and the risk read from them with it.
_NEWS_SIGMAS = 8.0


@dataclass(frozen=True)
class BarModelSettings:
    """warmup: returns before parameters are estimated; delay: bars between asking for an estimate and using it;
    window: residuals of the tail risk; max_gap: after more bars without a trade the price has moved on unseen, and the
    return over the gap is no step of the model. regressors: of `bar_regressors`; with them it is ARIMAX."""

    order: tuple[int, int, int] = (1, 0, 1)
    level: float = 0.9
    warmup: int = 30
    refit_every: int = 500
    window: int = 500
    max_gap: int = 10
    delay: int = 10
    regressors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.warmup < 20 or self.refit_every < self.warmup or self.window < 100 or self.max_gap < 1:
            raise ModelError(
                f"bar models with {self}: warmup at least 20, refit_every at least warmup, window at least 100, "
                "max_gap at least 1"
            )
        if not 1 <= self.delay <= min(self.warmup, self.window // 5):
            raise ModelError(
                f"a delay of {self.delay} bars: give 1 to {min(self.warmup, self.window // 5)}, for a warm-up of "
                f"{self.warmup} and a window of {self.window}"
            )
        if self.order[1] != 0:
            raise ModelError(f"order {self.order} of log returns: they are differences already, give (p, 0, q)")


class BarModels:
    """Steps the models of many symbols; it holds settings and scratch, not state."""

    #: Column of a row with the number of its latest bar.
    LAST_NUMBER = _LAST

    def __init__(self, settings: BarModelSettings | None = None) -> None:
        self.settings = s = settings or BarModelSettings()
        self.order = Order(*s.order)
        self.layout = Layout(self.order.n_states, self.order.n_lags, len(s.regressors))
        self.band = InnovationBand(s.level, offset=_HEADER)
        self._parameters = slice(_HEADER + self.band.width, _HEADER + self.band.width + self.layout.parameter_width)
        self._states = slice(self._parameters.stop, self._parameters.stop + self.layout.state_width)
        self.risk = FilteredHistoricalSimulation(s.window, LEVELS, ES_LEVEL, offset=self._states.stop)
        self.backtest = RunningBacktest(LEVELS, ES_LEVEL, offset=self._states.stop + self.risk.width)
        tested = self._states.stop + self.risk.width + self.backtest.width
        self.regressors = BarRegressors(s.regressors, s.window, offset=tested)
        self.width = tested + self.regressors.width
        self._scratch: ArimaBank | None = None

    def step(self, state: NDArray[np.float64], bars: Bars) -> BarOutcome:
        """Take closed bars, in order; `state` is float64 [symbols, width], zeros for a new symbol.

        A bar that its row has seen (its number is not above the last one's) changes nothing and is left out. Parameters
        are estimated here and now; `begin` leaves that to the caller.
        """
        stepping = self.begin(state, bars)
        while not stepping.done:
            stepping.advance()
            stepping.swap([refit(job) for job in stepping.due])
        return stepping.outcome()

    def begin(self, state: NDArray[np.float64], bars: Bars) -> Stepping:
        """As `step`, a stretch at a time, with the estimates left to the caller."""
        self._begin(state, np.unique(bars.rows))
        at = np.flatnonzero(bars.number > state[bars.rows, _LAST])
        rows, numbers = bars.rows[at], bars.number[at]
        returns = np.array(bars.log_return[at])
        _, before = occurrences(rows)
        previous = np.where(before >= 0, numbers[before], state[rows, _LAST])
        returns[numbers - previous > self.settings.max_gap] = np.nan
        known = self.regressors.of(state, rows, Bars(rows, bars.fields[at], bars.width_s))
        return Stepping(self, state, at, rows, returns, numbers, known)

    def verdict(self, state: NDArray[np.float64], row: int) -> Verdict:
        """All backtests of one symbol."""
        return self.backtest.verdict(state, row)

    def _begin(self, state: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
        new = rows[state[rows, _READY] == 0.0]
        if len(new):
            state[new, _READY], state[new, _LAST], state[new, _VOLATILITY] = 1.0, -np.inf, np.nan
            self.risk.clear(state, new)
            self.backtest.clear(state, new)
            self.regressors.clear(state, new)

    def _is_scheduled(self, counts: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether new parameters are asked for after so many returns."""
        doublings = np.log2(np.maximum(counts, 1.0) / self.settings.warmup)
        early = (doublings >= 0) & (doublings == np.floor(doublings)) & (counts < self.settings.refit_every)
        late = (counts > 0) & (counts % self.settings.refit_every == 0)
        return np.asarray(early | late, np.bool_)

    def _may_ask(self, counts: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether after so many returns a symbol may ask: on schedule, or since it has drifted."""
        return np.asarray(self._is_scheduled(counts) | ((counts > 0) & (counts % _DRIFT_EVERY == 0)), np.bool_)

    def stretch(self, state: NDArray[np.float64], rows: NDArray[np.int64], returns: NDArray[np.float64]) -> int:
        """How many of the bars can be taken before one needs parameters that are not there yet.

        No symbol has a bar after the one at which it swaps, or would if it asked within the stretch; and a missing
        return is a symbol's first.
        """
        seen = np.isfinite(returns)
        counts = state[rows, _COUNT] + running_counts(rows, seen)
        asked = state[rows, _ASKED]
        ends = seen & np.where(
            asked > 0, counts >= asked + self.settings.delay, self._may_ask(counts - self.settings.delay)
        )
        _, before = occurrences(rows)
        again = before >= 0
        cut = again & (~seen | ends[before])
        found = np.flatnonzero(cut)
        return int(found[0]) if len(found) else len(rows)

    def segment(
        self,
        state: NDArray[np.float64],
        at: NDArray[np.int64],
        rows: NDArray[np.int64],
        returns: NDArray[np.float64],
        numbers: NDArray[np.float64],
        known: Known,
    ) -> tuple[BarOutcome, NDArray[np.int64], NDArray[np.int64], int]:
        """Take a stretch; rows that ask for new parameters, rows whose parameters are due now, and how many of those
        that ask have drifted."""
        n = len(rows)
        seen = np.isfinite(returns)
        counts = state[rows, _COUNT] + running_counts(rows, seen)
        risk, evidence, news = self._tail_risk(state, rows, returns, numbers)
        np.maximum.at(state[:, _LAST], rows, numbers)
        np.add.at(state[:, _COUNT], rows, seen.astype(np.float64))
        self.regressors.remember(state, rows, counts, seen, known)
        z, sigma, held, mean, half_width = (np.full(n, np.nan) for _ in range(5))
        fitted = np.flatnonzero(state[rows, _FITTED] > 0)
        if len(fitted):
            z[fitted], sigma[fitted], held[fitted], mean[fitted], half_width[fitted] = self._arima(
                state, rows[fitted], returns[fitted], known.before[fitted]
            )
        asking, drifted = self._ask(state, rows, counts, seen, z, risk.residual)
        unique = np.unique(rows)
        asked = state[unique, _ASKED]
        due = unique[(asked > 0) & (state[unique, _COUNT] >= asked + self.settings.delay)]
        outcome = BarOutcome(
            at, rows, returns, z, sigma, held, risk.var_before, risk.es_before, mean, half_width,
            risk.volatility, risk.var, risk.es, evidence, news,
        )  # fmt: skip
        return outcome, asking, due, drifted

    def _ask(
        self,
        state: NDArray[np.float64],
        rows: NDArray[np.int64],
        counts: NDArray[np.float64],
        seen: NDArray[np.bool_],
        z: NDArray[np.float64],
        residual: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], int]:
        """Note which symbols ask for new parameters, on schedule or since they drifted, and at which return; how many
        have drifted."""
        innovations = step_drift(state, _DRIFT, rows, z, float(_DRIFT_MEMORY))
        sizes = step_drift(state, _RESIDUAL_DRIFT, rows, residual, float(_DRIFT_MEMORY))
        drifted = (innovations[:, 0] > _DRIFT_SIGMAS) | (innovations[:, 2] > _DRIFT_SIGMAS)
        # Residuals of EWMA are not of variance one in the first place.
        drifted |= (state[rows, _GARCH] > 0) & (sizes[:, 1] > _DRIFT_SIGMAS)
        drifted &= (counts % _DRIFT_EVERY == 0) & (counts >= state[rows, _SWAPPED] + self.settings.warmup)
        wanted = np.flatnonzero(seen & (state[rows, _ASKED] == 0) & (self._is_scheduled(counts) | drifted))
        chosen, first = np.unique(rows[wanted], return_index=True)
        state[chosen, _ASKED] = counts[wanted[first]]
        return chosen, int(np.count_nonzero(drifted[wanted[first]]))

    def job(self, state: NDArray[np.float64], row: int) -> Job:
        """What the parameters that a row has asked for are estimated from: its returns as they were then."""
        returns = self.risk.returns(state, row)
        later = int(state[row, _COUNT] - state[row, _ASKED])
        # Of a full window the oldest fall out while the estimate runs: they are left out from the start.
        kept = min(int(state[row, _ASKED]), self.settings.window - self.settings.delay)
        part = slice(max(len(returns) - later - kept, 0), len(returns) - later)
        known = self.regressors.past(state, row, int(state[row, _COUNT]))
        return Job(row, returns[part].copy(), self.settings.order, known[part].copy())

    def swap(self, state: NDArray[np.float64], row: int, found: Refitted) -> None:
        """Put new parameters in force between two bars: the window is filtered with them, so that nothing is left of
        the old ones."""
        state[row, _ASKED], state[row, _SWAPPED] = 0.0, state[row, _COUNT]
        state[row, _DRIFT : _DRIFT + 2 * DRIFT_WIDTH] = 0.0
        if found.garch is not None:
            self.risk.swap(state, row, found.garch)
            volatility = self.risk.volatility(state, np.array([row]))
            state[row, _VOLATILITY], state[row, _GARCH] = volatility[0], state[row, _COUNT]
        if found.arima is None:
            return
        bank = ArimaBank(1, found.arima, self.layout)
        known = self.regressors.past(state, row, int(state[row, _COUNT]))
        innovations = bank.filter(self.risk.returns(state, row)[:, None], x=known[:, None, :]).value[:, 0]
        if not state[row, _FITTED]:
            self.band.start(state, row, innovations, float(self.order.n_coefficients + self.layout.k))
        state[row, self._parameters] = found.arima
        state[row, self._states] = bank.to_rows()[0]
        state[row, _FITTED] = state[row, _COUNT]

    def amend(self, state: NDArray[np.float64], outcome: BarOutcome, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """What was said of the next bar of `rows`, by their parameters of now; `outcome` is changed at these places."""
        last = len(outcome) - 1 - np.unique(outcome.rows[::-1], return_index=True)[1]
        last = np.sort(last[np.isin(outcome.rows[last], rows)])
        changed, at = last, outcome.rows[last]
        outcome.volatility[last] = self.risk.volatility(state, at)
        outcome.var[last], outcome.es[last] = self.risk.risks(state, at)
        fitted = np.flatnonzero(state[at, _FITTED] > 0)
        if len(fitted):
            last, at = last[fitted], at[fitted]
            bank = ArimaBank(len(at), state[at, self._parameters], self.layout)
            bank.from_rows(np.arange(len(at)), state[at, self._states])
            forecast = bank.forecast(1, x=self.regressors.latest(state, at))
            outcome.mean[last] = forecast.mean[:, 0]
            outcome.half_width[last] = self.band.half_width(state, at)
        return changed

    def _tail_risk(
        self,
        state: NDArray[np.float64],
        rows: NDArray[np.int64],
        returns: NDArray[np.float64],
        numbers: NDArray[np.float64],
    ) -> tuple[RiskForecast, NDArray[np.float64], NDArray[np.float64]]:
        """Risk of the next bar; after each bar the evidence that risk is understated, and its return as news: [n].

        Only the evidence against the VaR: that against the expected shortfall grows without bound in one jump, which is
        an event and no fault of a model that has been right for a thousand bars. Zero before Basel's 250 returns.
        """
        place, _ = occurrences(rows)
        order, parts, evidence, taken = [], [], np.empty(len(rows)), np.empty(len(rows))
        for k in range(int(place.max()) + 1 if len(rows) else 1):
            now = np.flatnonzero(place == k)
            at, seen = rows[now], returns[now]
            most = _NEWS_SIGMAS * state[at, _VOLATILITY]
            news = np.where(np.isnan(most), seen, np.clip(seen, -most, most))
            taken[now] = news
            risk = self.risk.update(state, at, news, numbers[now])
            state[at, _VOLATILITY] = risk.volatility
            self.backtest.update(state, at, seen, risk.var_before, risk.es_before)
            enough = self.backtest.tested(state, at) >= BASEL_DAYS
            evidence[now] = np.where(enough, self.backtest.evidence(state, at)[:, :-1].mean(axis=1), 0.0)
            order.append(now)
            parts.append(risk)
        back = np.argsort(np.concatenate(order))
        joined = (np.concatenate([getattr(part, f.name) for part in parts])[back] for f in fields(RiskForecast))
        return RiskForecast(*joined), evidence, taken

    def _arima(
        self,
        state: NDArray[np.float64],
        rows: NDArray[np.int64],
        returns: NDArray[np.float64],
        known: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], ...]:
        """Step the filters of fitted symbols: z, sigma, held of each return; mean, half width of the next."""
        unique, series = np.unique(rows, return_inverse=True)
        everyone = np.arange(len(unique))
        bank = self._bank(state[unique, self._parameters])
        bank.set_parameters(everyone, state[unique, self._parameters], state[unique, self._states])
        innovations = bank.step(returns, series, known)
        state[unique, self._states] = bank.to_rows(everyone)
        band = self.band.update(state, rows, innovations.value, innovations.variance)
        # What was forecast for a return is that return less its innovation; for the last one of each symbol, ask.
        mean = bank.forecast(1, everyone, self.regressors.latest(state, unique)).mean[series, 0]
        _, before = occurrences(rows)
        later = np.flatnonzero(before >= 0)
        mean[before[later]] = returns[later] - innovations.value[later]
        return band.z, band.sigma, band.held, mean, band.next_half

    def _bank(self, parameters: NDArray[np.float64]) -> ArimaBank:
        if self._scratch is None:
            self._scratch = ArimaBank(len(parameters), parameters, self.layout)
        if self._scratch.n_series < len(parameters):
            self._scratch.resize(2 * len(parameters))
        return self._scratch

"""Filtered historical simulation, one row a symbol: volatility, value at risk and expected shortfall of the next bar.

Returns are divided by the volatility that was forecast for them; the last `window` of these residuals, times the
volatility forecast for the next bar, are the distribution of the next return (Barone-Adesi, Giannopoulos and Vosper
1999). Risks are positive numbers, as fractions of the position's value: a VaR of 0.02 is a loss of two per cent.

The quantile at probability p is read at position p * (n + 1) of the n sorted residuals, so that an exchangeable next
residual falls below it with probability p exactly, whatever their distribution. Where fewer residuals than 1/p - 1
exist no such quantile exists and the risk is NaN rather than a guess.

A row holds the parameters, the variance, the last forecast and four rings: returns (kept so that new parameters can
be applied to the whole window), residuals, bar numbers, and the residuals in sorted order. One update costs two
binary searches and a short move of memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.risk.volatility import VARIANCE_FLOOR, GarchParameters, ewma, step_variance

__all__ = ["FilteredHistoricalSimulation", "RiskForecast", "tail_quantile", "tail_shortfall"]

_COUNT, _SIZE, _NEXT, _VARIANCE, _PARAMETERS, _HEADER = 0, 1, 2, 3, 4, 9
#: Returns before the recursion starts, from their mean square.
BURN_IN = 20


@dataclass(frozen=True)
class RiskForecast:
    """What an update found out about the bar just closed and says about the next one; first axis [updates]."""

    rows: NDArray[np.int64]
    volatility: NDArray[np.float64]  #: standard deviation of the next return
    var: NDArray[np.float64]  #: [updates, levels], of the next return
    es: NDArray[np.float64]  #: at the shortfall level, of the next return
    residual: NDArray[np.float64]  #: the return just seen over its volatility; NaN while starting
    var_before: NDArray[np.float64]  #: [updates, levels], what had been forecast for the return just seen
    es_before: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)


class FilteredHistoricalSimulation:
    """Risk of the next bar for many symbols."""

    def __init__(
        self,
        window: int = 500,
        levels: Sequence[float] = (0.95, 0.975, 0.99),
        es_level: float = 0.975,
        parameters: GarchParameters | None = None,
        offset: int = 0,
    ) -> None:
        """`parameters` are those of a new row (RiskMetrics' EWMA); `offset` is the first column within a wider row."""
        if window <= BURN_IN:
            raise ModelError(f"window of residuals is {window}: give more than {BURN_IN}")
        for level in (*levels, es_level):
            if not 0.5 < level < 1.0:
                raise ModelError(f"level of a risk is {level}: give numbers between 0.5 and 1, such as 0.99")
            if window * (1.0 - level) < 1.0:
                raise ModelError(
                    f"a window of {window} residuals has no {level:g} quantile: widen it or lower the level"
                )
        self.window = window
        self.levels = tuple(levels)
        self.es_level = es_level
        self.parameters = parameters or ewma()
        self.offset = offset
        self._tails = 1.0 - np.array([*levels, es_level])
        self._rings = _HEADER + len(self._tails)
        self.width = self._rings + 4 * window

    def initial_rows(self, n: int) -> NDArray[np.float64]:
        """State of `n` symbols without returns: [n, offset + width]."""
        state = np.zeros((n, self.offset + self.width))
        self.clear(state, np.arange(n))
        return state

    def clear(self, state: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
        """Make `rows` of `state` symbols without returns."""
        block = np.zeros(self.width)
        block[_VARIANCE] = np.nan
        block[_PARAMETERS : _PARAMETERS + 5] = self.parameters.as_array()
        block[_HEADER : self._rings] = np.nan
        state[rows, self.offset : self.offset + self.width] = block

    def update(
        self,
        state: NDArray[np.float64],
        rows: NDArray[np.int64],
        returns: NDArray[np.float64],
        numbers: NDArray[np.float64],
    ) -> RiskForecast:
        """Take log returns [updates] of bars `numbers` [updates] in order; a row may appear more than once.

        A NaN return (a symbol's first bar) changes nothing; its forecast is the one in force.
        """
        n, tails = len(rows), len(self._tails)
        volatility, residual = np.empty(n), np.empty(n)
        risks, before = np.empty((n, tails)), np.empty((n, tails))
        _update(
            state, self.offset, self._rings, self.window, self._tails,
            rows, returns, numbers, volatility, residual, risks, before,
        )  # fmt: skip
        return RiskForecast(
            rows, volatility, risks[:, :-1], risks[:, -1], residual, before[:, :-1], before[:, -1]
        )  # fmt: skip

    def swap(self, state: NDArray[np.float64], row: int, parameters: GarchParameters) -> None:
        """Put new parameters in force for one row: its window is filtered again, so no residual is of the old model."""
        at = self.offset + _PARAMETERS
        state[row, at : at + 5] = parameters.as_array()
        _refilter(state, self.offset, self._rings, self.window, row)
        _forecast(state, self.offset, self._rings, self.window, self._tails, row)

    def returns(self, state: NDArray[np.float64], row: int) -> NDArray[np.float64]:
        """The row's returns in the window, oldest first: what a refit is estimated from."""
        return self._ring(state, row, 0)

    def numbers(self, state: NDArray[np.float64], row: int) -> NDArray[np.float64]:
        """Bar numbers of the row's returns in the window, oldest first."""
        return self._ring(state, row, 2)

    def residuals(self, state: NDArray[np.float64], row: int) -> NDArray[np.float64]:
        """The row's residuals in the window, oldest first."""
        return self._ring(state, row, 1)

    def volatility(self, state: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """[rows]: standard deviation of the next return as it stands; NaN before the first estimate."""
        return np.asarray(np.sqrt(state[rows, self.offset + _VARIANCE]), np.float64)

    def risks(
        self, state: NDArray[np.float64], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """VaR [rows, levels] and ES [rows] of the next return as they stand."""
        at = self.offset + _HEADER
        found = state[rows, at : at + len(self._tails)]
        return found[:, :-1], found[:, -1]

    def parameters_of(self, state: NDArray[np.float64], row: int) -> GarchParameters:
        """The parameters in force for one row."""
        at = self.offset + _PARAMETERS
        return GarchParameters(*(float(value) for value in state[row, at : at + 5]))

    def portfolio(
        self,
        state: NDArray[np.float64],
        offsets: NDArray[np.int64],
        rows: NDArray[np.int64],
        exposures: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """VaR [accounts, levels] and ES [accounts] of the next bar in money, and the scenarios [accounts] behind them.

        Account a holds `exposures[offsets[a]:offsets[a + 1]]` (signed market values, in one currency) of the symbols
        `rows[...]`. A scenario is one past bar: the residuals all its symbols had then, each times its volatility of
        now, so that they crash together as they did. A symbol without a trade in that bar did not move.
        """
        accounts = len(offsets) - 1
        risks = np.full((accounts, len(self._tails)), np.nan)
        scenarios = np.zeros(accounts, np.int64)
        _portfolio(
            state, self.offset, self._rings, self.window, self._tails, offsets, rows, exposures, risks, scenarios
        )  # fmt: skip
        return risks[:, :-1], risks[:, -1], scenarios

    def _ring(self, state: NDArray[np.float64], row: int, which: int) -> NDArray[np.float64]:
        size, end = int(state[row, self.offset + _SIZE]), int(state[row, self.offset + _NEXT])
        at = self.offset + self._rings + which * self.window
        ring = state[row, at : at + self.window]
        return ring[:size].copy() if size < self.window else np.roll(ring, -end)


@njit(cache=True)
def tail_quantile(ordered, tail):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Quantile of ascending values at position tail * (n + 1); NaN where that is before the first."""
    position = tail * (len(ordered) + 1)
    k = int(position + 1e-9)
    if k < 1:
        return np.nan
    if k >= len(ordered):
        return ordered[-1]
    return ordered[k - 1] + max(position - k, 0.0) * (ordered[k] - ordered[k - 1])


@njit(cache=True)
def tail_shortfall(ordered, tail):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Mean of the quantile function below `tail`: linear between positions, level below the first value."""
    n = len(ordered)
    position = tail * (n + 1)
    k = int(position + 1e-9)
    if k < 1:
        return np.nan
    k = min(k, n)
    total = ordered[0]  # positions 0 .. 1, where the lowest value stands for all below it
    for j in range(1, k):
        total += 0.5 * (ordered[j - 1] + ordered[j])
    rest = position - k
    if rest > 0.0 and k < n:
        total += rest * (ordered[k - 1] + 0.5 * rest * (ordered[k] - ordered[k - 1]))
    else:
        position = float(k)
    return total / position


@njit(cache=True)
def _forecast(state, base, rings, window, tails, row):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Write the risks of the next return into the row."""
    size = int(state[row, base + _SIZE])
    sigma = math.sqrt(state[row, base + _VARIANCE])
    mu = state[row, base + _PARAMETERS + 4]
    at = base + rings + 3 * window
    ordered = state[row, at : at + size]
    last = len(tails) - 1
    for j in range(len(tails)):
        residual = tail_shortfall(ordered, tails[j]) if j == last else tail_quantile(ordered, tails[j])
        # A log return: the loss of a long position is 1 - exp(return).
        state[row, base + _HEADER + j] = -math.expm1(mu + sigma * residual)


@njit(cache=True)
def _refilter(state, base, rings, window, row):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Run the row's parameters over its window of returns: residuals, their order, and the variance of the next."""
    size, end = int(state[row, base + _SIZE]), int(state[row, base + _NEXT])
    if size < BURN_IN:
        return
    at = base + _PARAMETERS
    omega, alpha, gamma, beta, mu = (
        state[row, at], state[row, at + 1], state[row, at + 2], state[row, at + 3], state[row, at + 4]
    )  # fmt: skip
    first = end if size == window else 0
    returns, residuals, ordered = base + rings, base + rings + window, base + rings + 3 * window
    variance = 0.0
    for k in range(BURN_IN):
        variance += (state[row, returns + (first + k) % window] - mu) ** 2 / BURN_IN
    variance = max(variance, VARIANCE_FLOOR)
    for k in range(size):
        slot = (first + k) % window
        innovation = state[row, returns + slot] - mu
        state[row, residuals + slot] = innovation / math.sqrt(variance)
        variance = step_variance(omega, alpha, gamma, beta, innovation, variance)
    state[row, base + _VARIANCE] = variance
    state[row, ordered : ordered + size] = np.sort(state[row, residuals : residuals + size])


@njit(cache=True)
def _replace(ordered, size, full, old, new):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Put `new` into the ascending `ordered[:size]`, taking out `old` if `full`."""
    if not full:
        k = np.searchsorted(ordered[:size], new)
        for j in range(size, k, -1):
            ordered[j] = ordered[j - 1]
        ordered[k] = new
        return
    k = np.searchsorted(ordered[:size], old)
    while k + 1 < size and ordered[k + 1] < new:
        ordered[k] = ordered[k + 1]
        k += 1
    while k > 0 and ordered[k - 1] > new:
        ordered[k] = ordered[k - 1]
        k -= 1
    ordered[k] = new


@njit(cache=True)
def _update(  # type: ignore[no-untyped-def]  # pragma: no cover
    state, base, rings, window, tails, rows, returns, numbers, volatility, residual, risks, before
):
    for i in range(len(rows)):
        row, value = rows[i], returns[i]
        forecast = base + _HEADER
        before[i] = state[row, forecast : forecast + len(tails)]
        residual[i] = np.nan
        if not np.isnan(value):
            size, slot = int(state[row, base + _SIZE]), int(state[row, base + _NEXT])
            full = size == window
            at = base + rings + slot
            old = state[row, at + window]
            state[row, at] = value
            state[row, at + 2 * window] = numbers[i]
            state[row, base + _NEXT] = (slot + 1) % window
            state[row, base + _COUNT] += 1.0
            if not full:
                state[row, base + _SIZE] = size + 1.0
            if size + 1 < BURN_IN:
                pass
            elif size + 1 == BURN_IN and np.isnan(state[row, base + _VARIANCE]):
                _refilter(state, base, rings, window, row)
            else:
                p = base + _PARAMETERS
                variance = state[row, base + _VARIANCE]
                innovation = value - state[row, p + 4]
                z = innovation / math.sqrt(variance)
                residual[i] = z
                state[row, at + window] = z
                ordered = base + rings + 3 * window
                _replace(state[row, ordered : ordered + window], size, full, old, z)
                state[row, base + _VARIANCE] = step_variance(
                    state[row, p], state[row, p + 1], state[row, p + 2], state[row, p + 3], innovation, variance
                )
            if size + 1 >= BURN_IN:
                _forecast(state, base, rings, window, tails, row)
        volatility[i] = math.sqrt(state[row, base + _VARIANCE])
        risks[i] = state[row, forecast : forecast + len(tails)]


@njit(cache=True)
def _portfolio(  # type: ignore[no-untyped-def]  # pragma: no cover
    state, base, rings, window, tails, offsets, rows, exposures, risks, scenarios
):
    losses = np.empty(window)
    for a in range(len(offsets) - 1):
        first, held = offsets[a], offsets[a + 1] - offsets[a]
        seen = np.zeros(held, np.int64)  # how many of each symbol's bars were used, from the newest back
        n = 0
        while n < window:
            number = -np.inf
            for j in range(held):
                row = rows[first + j]
                if seen[j] < state[row, base + _SIZE] and not np.isnan(state[row, base + _VARIANCE]):
                    slot = (int(state[row, base + _NEXT]) - 1 - seen[j]) % window
                    number = max(number, state[row, base + rings + 2 * window + slot])
            if number == -np.inf:
                break
            gain = 0.0
            for j in range(held):
                row = rows[first + j]
                if seen[j] < state[row, base + _SIZE] and not np.isnan(state[row, base + _VARIANCE]):
                    slot = (int(state[row, base + _NEXT]) - 1 - seen[j]) % window
                    if state[row, base + rings + 2 * window + slot] == number:
                        seen[j] += 1
                        z = state[row, base + rings + window + slot]
                        mu = state[row, base + _PARAMETERS + 4]
                        gain += exposures[first + j] * math.expm1(mu + math.sqrt(state[row, base + _VARIANCE]) * z)
            losses[n] = gain
            n += 1
        scenarios[a] = n
        if n > 0:
            ordered = np.sort(losses[:n])
            last = len(tails) - 1
            for k in range(len(tails)):
                at = tail_shortfall(ordered, tails[k]) if k == last else tail_quantile(ordered, tails[k])
                risks[a, k] = -at

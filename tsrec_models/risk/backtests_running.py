"""Backtests kept up to date in the stream: O(1) a return, one row a symbol.

Kupiec, Christoffersen and conditional coverage over the last `window` returns, Basel's traffic light over the last
250, Acerbi-Szekely Z2 and the FZ0 loss since the row began. Looked at after every return, a p-value below 5 % comes
up sooner or later in a model without fault; an alert needs a test that may be looked at all the time. That is the
evidence here: an e-detector (Shin, Ramdas and Rinaldo 2024) on the e-values of VaR and ES backtests (Wang, Wang and
Ziegel 2022). While risks are not too small, the mean time until evidence first reaches c is at least c returns, with
no assumption on the distribution of returns; so `evidence >= 10_000` is at most one false alarm in 10,000 returns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.risk.backtests import (
    BASEL_DAYS,
    BASEL_RED,
    BASEL_YELLOW,
    christoffersen_p,
    conditional_coverage_p,
    kupiec_p,
)
from tsrec_models.risk.backtests_table import Verdicts, conditional_coverage_ps, kupiec_ps

__all__ = ["RunningBacktest", "Verdict"]

# Hits of all levels of one return make one code of LEVELS bits; codes are packed into float64 words, which hold
# integers below 2**53 exactly, so that the whole ring is a tenth of one word a return.
_BITS = 3
_LEVELS = _BITS
_CODES_A_WORD = 17
_DAYS, _LAST, _Z2_SUM, _FZ0_SUM, _SHORTFALL_DAYS, _PER_LEVEL = range(6)
_HITS, _N01, _N10, _N11, _BASEL_HITS, _LEVEL_FIELDS = range(6)
#: Bets as multiples of the tail: Kelly's choice against risks exceeded 1.5, 2 and 4 times too often. Their mean is
#: the evidence, so the size of the fault need not be known.
_BETS = (0.5, 1.0, 3.0)
_EVIDENCE = _PER_LEVEL + _LEVELS * _LEVEL_FIELDS
_RING = _EVIDENCE + (_LEVELS + 1) * len(_BETS)
_CAP = 1e15  # evidence beyond doubt; keeps the recursion finite
_N_BETS = len(_BETS)


@dataclass(frozen=True)
class Verdict:
    """Of one symbol; arrays are [levels]."""

    days: int  #: returns tested since the row began
    hits: NDArray[np.int64]  #: in the window
    expected: NDArray[np.float64]  #: hits in the window
    kupiec_p: NDArray[np.float64]
    independence_p: NDArray[np.float64]
    conditional_coverage_p: NDArray[np.float64]
    es_z2: float
    fz0: float
    basel: str  #: "green", "yellow" or "red", by the highest level; "green" before 250 returns
    evidence: NDArray[np.float64]  #: [levels + 1] against each VaR, and against the ES: mean time to a false alarm

    def failing(self, alarm: float = 10_000.0) -> bool:
        """Whether risk is understated; a right model is called failing once in `alarm` returns or less often.

        The mean over the four tests is itself an e-detector, so that four tests raise no more false alarms than one.
        """
        return bool(np.mean(self.evidence) >= alarm)


class RunningBacktest:
    """Backtests of VaR at three `levels` and of ES at one of them, for many symbols."""

    def __init__(
        self,
        levels: tuple[float, float, float] = (0.95, 0.975, 0.99),
        es_level: float = 0.975,
        window: int = 1000,
        offset: int = 0,
    ) -> None:
        """`offset` is the first column of the backtest within a wider state row."""
        if len(levels) != _LEVELS or list(levels) != sorted(levels):
            raise ModelError(f"levels of the backtest are {levels}: give three, ascending")
        if es_level not in levels:
            raise ModelError(f"level of the shortfall is {es_level:g}: give one of the VaR levels {levels}")
        if window < BASEL_DAYS:
            raise ModelError(f"window of the backtest is {window}: give at least Basel's {BASEL_DAYS}")
        self.levels = levels
        self.es_level = es_level
        self.window = window
        self.offset = offset
        self._tails = 1.0 - np.array(levels)
        self._es_index = levels.index(es_level)
        self.width = _RING + -(-window // _CODES_A_WORD)

    def initial_rows(self, n: int) -> NDArray[np.float64]:
        """State of `n` symbols without tested returns: [n, offset + width]."""
        return np.zeros((n, self.offset + self.width))

    def clear(self, state: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
        """Forget all that was tested of `rows`, as after new parameters."""
        state[rows, self.offset : self.offset + self.width] = 0.0

    def update(
        self,
        state: NDArray[np.float64],
        rows: NDArray[np.int64],
        returns: NDArray[np.float64],
        var: NDArray[np.float64],
        es: NDArray[np.float64],
    ) -> NDArray[np.bool_]:
        """Test log returns [updates] against the risks forecast for them, `var` [updates, levels] and `es` [updates].

        Returns the hits [updates, levels]. A return without a forecast (NaN) is not tested.
        """
        hits = np.zeros((len(rows), _LEVELS), np.bool_)
        _update(state, self.offset, self.window, self._tails, self._es_index, rows, returns, var, es, hits)
        return hits

    def tested(self, state: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """[rows]: returns tested since each row began."""
        return np.asarray(state[rows, self.offset + _DAYS], np.float64)

    def evidence(self, state: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """[rows, levels + 1]: evidence against each VaR and against the ES."""
        at = self.offset + _EVIDENCE
        books = state[rows, at : at + (_LEVELS + 1) * _N_BETS].reshape(len(rows), _LEVELS + 1, _N_BETS)
        return np.asarray(books.mean(axis=2), np.float64)

    def verdict(self, state: NDArray[np.float64], row: int) -> Verdict:
        """All tests of one symbol as they stand."""
        block = state[row, self.offset : self.offset + self.width]
        days = int(block[_DAYS])
        n = min(days, self.window)
        counts = block[_PER_LEVEL:_EVIDENCE].reshape(_LEVELS, _LEVEL_FIELDS).astype(np.int64)
        tests = np.full((3, _LEVELS), np.nan)
        for j, (hits, n01, n10, n11, _) in enumerate(counts.tolist()):
            pairs = (max(n - 1, 0) - n01 - n10 - n11, n01, n10, n11)
            tail = float(self._tails[j])
            tests[:, j] = (
                kupiec_p(hits, n, tail),
                christoffersen_p(*pairs),
                conditional_coverage_p(hits, n, tail, pairs),
            )
        recent = int(counts[-1, _BASEL_HITS])
        with_forecast = block[_SHORTFALL_DAYS]
        basel = "red" if recent >= BASEL_RED else "yellow" if recent >= BASEL_YELLOW else "green"
        return Verdict(
            days=days,
            hits=counts[:, _HITS],
            expected=self._tails * n,
            kupiec_p=tests[0],
            independence_p=tests[1],
            conditional_coverage_p=tests[2],
            es_z2=float(1.0 - block[_Z2_SUM] / with_forecast) if with_forecast else float("nan"),
            fz0=float(block[_FZ0_SUM] / with_forecast) if with_forecast else float("nan"),
            basel=basel if days >= BASEL_DAYS else "green",
            evidence=self.evidence(state, np.array([row]))[0],
        )

    def verdicts(self, state: NDArray[np.float64], rows: NDArray[np.int64]) -> Verdicts:
        """The tests of many symbols at once, as `verdict` has them one by one."""
        block = state[rows, self.offset : self.offset + self.width]
        days = np.minimum(block[:, _DAYS], self.window)[:, None]
        counts = block[:, _PER_LEVEL:_EVIDENCE].reshape(len(rows), _LEVELS, _LEVEL_FIELDS)
        hits = counts[:, :, _HITS]
        forecast = block[:, _SHORTFALL_DAYS]
        return Verdicts(
            kupiec_ps(hits, days, self._tails),
            conditional_coverage_ps(
                hits, days, self._tails, counts[:, :, _N01], counts[:, :, _N10], counts[:, :, _N11]
            ),
            np.where(forecast > 0, 1.0 - block[:, _Z2_SUM] / np.maximum(forecast, 1.0), np.nan),
            (block[:, _DAYS] >= BASEL_DAYS) & (counts[:, -1, _BASEL_HITS] >= BASEL_RED),
        )


@njit(cache=True)
def _code(state, ring, row, slot):  # type: ignore[no-untyped-def]  # pragma: no cover
    word = np.int64(state[row, ring + slot // _CODES_A_WORD])
    return (word >> (_BITS * (slot % _CODES_A_WORD))) & 7


@njit(cache=True)
def _put(state, ring, row, slot, code):  # type: ignore[no-untyped-def]  # pragma: no cover
    shift = _BITS * (slot % _CODES_A_WORD)
    word = np.int64(state[row, ring + slot // _CODES_A_WORD])
    word = (word & ~(np.int64(7) << shift)) | (np.int64(code) << shift)
    state[row, ring + slot // _CODES_A_WORD] = word


@njit(cache=True)
def _count_pair(state, at, bit, before, after, step):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add `step` to the transition from code `before` to code `after` of one level."""
    was, now = (before >> bit) & 1, (after >> bit) & 1
    if was and now:
        state[at + _N11] += step
    elif was:
        state[at + _N10] += step
    elif now:
        state[at + _N01] += step


@njit(cache=True)
def _bet(state, at, tail, e):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Shiryaev-Roberts step of each bet on the e-value `e`, whose mean is at most 1 while the risk is large enough."""
    for k in range(_N_BETS):
        stake = min(_BETS[k] * tail / (1.0 - tail), 1.0)
        state[at + k] = min((state[at + k] + 1.0) * (1.0 - stake + stake * e), _CAP)


@njit(cache=True)
def _update(  # type: ignore[no-untyped-def]  # pragma: no cover
    state, base, window, tails, es_index, rows, returns, var, es, hits
):
    ring = base + _RING
    for i in range(len(rows)):
        row = rows[i]
        if np.isnan(returns[i]) or np.isnan(var[i, len(tails) - 1]):
            continue
        value = math.expm1(returns[i])
        code = 0
        for j in range(len(tails)):
            if value < -var[i, j]:
                code |= 1 << j
                hits[i, j] = True
        days = int(state[row, base + _DAYS])
        slot = days % window
        last = int(state[row, base + _LAST])
        line = state[row]
        for j in range(len(tails)):
            at = base + _PER_LEVEL + j * _LEVEL_FIELDS
            if days >= window:  # the oldest return leaves, and with it its pair with the one after it
                oldest = _code(state, ring, row, slot)
                line[at + _HITS] -= (oldest >> j) & 1
                if window > 1:
                    _count_pair(line, at, j, oldest, _code(state, ring, row, (slot + 1) % window), -1.0)
            if days >= BASEL_DAYS:
                line[at + _BASEL_HITS] -= (_code(state, ring, row, (days - BASEL_DAYS) % window) >> j) & 1
            hit = (code >> j) & 1
            line[at + _HITS] += hit
            line[at + _BASEL_HITS] += hit
            if days > 0:
                _count_pair(line, at, j, last, code, 1.0)
            _bet(line, base + _EVIDENCE + j * _N_BETS, tails[j], hit / tails[j])
        _put(state, ring, row, slot, code)
        state[row, base + _DAYS] = days + 1.0
        state[row, base + _LAST] = code
        quantile, shortfall, tail = var[i, es_index], es[i], tails[es_index]
        if shortfall > 0.0 and quantile > 0.0:
            excess = max(-value - quantile, 0.0)
            if value < -quantile:
                state[row, base + _Z2_SUM] += -value / (tail * shortfall)
            # In per cent, as in the literature.
            state[row, base + _FZ0_SUM] += (
                -1.0 + quantile / shortfall + math.log(100.0 * shortfall) + excess / (tail * shortfall)
            )
            state[row, base + _SHORTFALL_DAYS] += 1.0
            if shortfall > quantile:
                at = base + _EVIDENCE + len(tails) * _N_BETS
                _bet(line, at, tail, excess / (tail * (shortfall - quantile)))

"""Anomalies in any stream of numbers (prices, volumes, spreads, rates), O(1) a value, batched over series.

Nine views of each value, all in units of the series' own spread: distance from the long-run mean, step, short mean,
distance from the same time of day and of the week (each also as a short mean), size of recent steps, its change, and
the short mean against a medium one. Each view has its own record of what is usual and turns the value into a conformal
p-value (`anomaly_tail`); the harmonic mean of those that spoke is the p-value of the value (Wilson 2019), nearly right
where p is small though views depend on each other. A view that stands alone has its p times the number of views, as by
Bonferroni; views that agree are not punished for their number. The score is 1 - p: alarms at a score of 0.995 come in
at most one value of 200 while the views are exchangeable.

After a value stands out, only a larger surprise does so again until the series was calm for `quiet` values: an
episode is one alarm, or a few as it grows, not one a value.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.risk import anomaly_tail
from tsrec_models.risk.anomaly_tail import learn, seen, surprise

__all__ = ["VIEWS", "AnomalyDetector"]

VIEWS = (
    "level",
    "step",
    "short mean",
    "time of day",
    "time of day, lasting",
    "roughness",
    "time of week, lasting",
    "change of roughness",
    "short against medium mean",
)

(_N, _MEAN, _VARIANCE, _LAST, _SHORT, _MEDIUM, _ROUGH, _LOG_ROUGH, _DAY_ERROR, _WEEK_ERROR) = range(10)
(_DAYS, _WEEKS, _PEAK, _CALM, _HEADER) = range(10, 15)
_VIEWS = 9
#: Values before the first view: what mean and spread start from.
_START = 20
#: Values a view must have recorded before it may speak: with fewer, its smallest p-value means nothing.
_RECORD = 50
_DAY_S, _WEEK_S = 86_400.0, 604_800.0
_MONDAY_S = 345_600.0  # 1970-01-05, so that weeks begin where people's do
# Rates of the averages: a mean over about 10 values is short, 200 medium, 20 for roughness; 10,000 the memory of the
# spread, long enough that an anomaly of hours does not become the standard.
_SHORT_RATE, _MEDIUM_RATE, _ROUGH_RATE, _LONG_RATE = 0.1, 0.005, 0.05, 1e-4
_SEASON_RATE = 0.2  # a time of day is what it was on the last five days
_KEEP = 0.7  # an episode goes on while the surprise is above this share of its peak
# Below this share of the mean's square a variance is rounding; below the other nothing at all (a series of zeros).
_ROUNDING, _NOTHING = 1e-24, 1e-290
_MOST = 600.0  # nats; its exponential is still a number, and so is nine times that


class AnomalyDetector:
    """Scores in [0, 1] of many series; see the module's docstring for what a score means.

    >>> import numpy as np
    >>> detector = AnomalyDetector(1)
    >>> noise = np.random.default_rng(1).standard_normal(2000)
    >>> noise[1500] = 15.0
    >>> scores = np.array([detector.update(noise[[t]], np.array([60.0 * t]))[0] for t in range(2000)])
    >>> int(scores[1000:].argmax()) + 1000, bool(scores[1500] > 0.999)
    (1500, True)
    """

    def __init__(
        self, n_series: int, quiet: int = 150, memory: float = 20_000.0, day_bins: int = 288, week_bins: int = 2016
    ) -> None:
        """`quiet`: values of calm that end an episode, 0 for none. `memory`: values after which a record has faded to
        a third. `day_bins`, `week_bins`: resolution of the seasons; 0 leaves a season and its state out.
        """
        if quiet < 0 or memory < 1000 or day_bins < 0 or week_bins < 0:
            raise ModelError(
                f"quiet {quiet}, memory {memory}, bins {day_bins} and {week_bins}: "
                "give no negative numbers, and a memory of at least 1000 values"
            )
        self.n_series = n_series
        self.quiet = quiet
        self.day_bins = day_bins
        self.week_bins = week_bins
        self._growth = 1.0 + 1.0 / memory
        self._tails = _HEADER + day_bins + week_bins
        self.width = self._tails + _VIEWS * anomaly_tail.WIDTH
        self.state = self.initial_rows(n_series)

    def initial_rows(self, n: int) -> NDArray[np.float64]:
        """State of `n` series without values: [n, width]."""
        state = np.zeros((n, self.width))
        state[:, _HEADER : self._tails] = np.nan
        anomaly_tail.clear(state[:, self._tails :].reshape(n, _VIEWS, anomaly_tail.WIDTH))
        return state

    def update(
        self,
        values: NDArray[np.float64],
        times: NDArray[np.float64],
        rows: NDArray[np.int64] | None = None,
        state: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Scores [batch] of `values` [batch] at `times`, epoch seconds; `rows` are all series unless given.

        A row may come more than once, in order. A NaN is no value: it scores 0 and teaches nothing. `state`
        [any, width] is the detector's own unless a table is given.
        """
        return self.explain(values, times, rows, state)[0]

    def explain(
        self,
        values: NDArray[np.float64],
        times: NDArray[np.float64],
        rows: NDArray[np.int64] | None = None,
        state: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """As `update`, and the index in VIEWS of what stood out most [batch], -1 where no view spoke."""
        table = self.state if state is None else state
        which = np.arange(self.n_series) if rows is None else rows
        if not len(which) == len(values) == len(times):
            raise ModelError(f"{len(which)} rows, {len(values)} values and {len(times)} times: give one of each")
        if table.ndim != 2 or table.shape[1] != self.width:
            raise ModelError(f"state of the detector is {table.shape}: it must be [rows, {self.width}]")
        scores, views = np.empty(len(values)), np.empty(len(values), np.int64)
        _update(
            table, which, np.asarray(values, np.float64), np.asarray(times, np.float64),
            self.day_bins, self.week_bins, self.quiet, self._growth, scores, views,
        )  # fmt: skip
        return scores, views


@njit(cache=True)
def _season(state, row, at, value):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Distance from the season's value at `at` (NaN at its first visit), which then moves towards `value`."""
    usual = state[row, at]
    if np.isnan(usual):
        state[row, at] = value
        return np.nan
    state[row, at] = usual + _SEASON_RATE * (value - usual)
    return value - usual


@njit(cache=True)
def _views(state, row, value, time, day_bins, week_bins, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Magnitudes of the views into `out` [9], NaN where a view has nothing to say yet; moves all averages."""
    line = state[row]
    out[:] = np.nan
    n = line[_N]
    line[_N] = n + 1.0
    day_at = _HEADER + int((time % _DAY_S) / _DAY_S * day_bins)
    week_at = _HEADER + day_bins + int(((time - _MONDAY_S) % _WEEK_S) / _WEEK_S * week_bins)
    day = _season(state, row, day_at, value) if day_bins > 0 else np.nan
    week = _season(state, row, week_at, value) if week_bins > 0 else np.nan
    step = value - line[_LAST]
    line[_LAST] = value
    gap = value - line[_MEAN]
    if n < _START:
        line[_MEAN] += gap / (n + 1.0)
        # Welford's sum of squares, as a variance.
        line[_VARIANCE] = (line[_VARIANCE] * n + gap * (value - line[_MEAN])) / (n + 1.0)
        line[_SHORT] = line[_MEAN]
        line[_MEDIUM] = line[_MEAN]
        line[_ROUGH] = line[_VARIANCE]
        line[_LOG_ROUGH] = math.log(line[_VARIANCE] + _ROUNDING * line[_MEAN] ** 2 + _NOTHING)
        return
    rate = max(1.0 / (n + 1.0), _LONG_RATE)
    line[_MEAN] += rate * gap
    line[_VARIANCE] += rate * (gap * gap - line[_VARIANCE])
    least = _ROUNDING * line[_MEAN] ** 2 + _NOTHING
    spread = math.sqrt(max(line[_VARIANCE], least))
    line[_SHORT] += _SHORT_RATE * (value - line[_SHORT])
    line[_MEDIUM] += _MEDIUM_RATE * (value - line[_MEDIUM])
    line[_ROUGH] += _ROUGH_RATE * (step * step - line[_ROUGH])
    out[0] = abs(gap) / spread
    out[1] = abs(step) / spread
    out[2] = abs(line[_SHORT] - line[_MEAN]) / spread
    if not np.isnan(day):
        line[_DAYS] += 1.0
        line[_DAY_ERROR] += _SHORT_RATE * (day - line[_DAY_ERROR])
        out[3] = abs(day) / spread
        if line[_DAYS] >= _RECORD:
            out[4] = abs(line[_DAY_ERROR]) / spread
    out[5] = math.sqrt(line[_ROUGH]) / spread
    if not np.isnan(week):
        line[_WEEKS] += 1.0
        line[_WEEK_ERROR] += _SHORT_RATE * (week - line[_WEEK_ERROR])
        if line[_WEEKS] >= _RECORD:
            out[6] = abs(line[_WEEK_ERROR]) / spread
    log_rough = 0.5 * math.log(line[_ROUGH] + 1e-6 * line[_VARIANCE] + least)
    out[7] = abs(log_rough - line[_LOG_ROUGH])
    line[_LOG_ROUGH] += rate * (log_rough - line[_LOG_ROUGH])
    out[8] = abs(line[_SHORT] - line[_MEDIUM]) / spread


@njit(cache=True)
def _update(  # type: ignore[no-untyped-def]  # pragma: no cover
    state, rows, values, times, day_bins, week_bins, quiet, growth, scores, views
):
    magnitudes = np.empty(_VIEWS)
    tails = _HEADER + day_bins + week_bins
    for i in range(len(rows)):
        row = rows[i]
        scores[i], views[i] = 0.0, -1
        if not abs(values[i]) < np.inf:
            continue
        _views(state, row, values[i], times[i], day_bins, week_bins, magnitudes)
        most, spoke, summed = 0.0, 0, 0.0
        for v in range(_VIEWS):
            if np.isnan(magnitudes[v]):
                continue
            at = tails + v * anomaly_tail.WIDTH
            nats, bin_ = surprise(state, row, at, magnitudes[v])
            if seen(state, row, at) >= _RECORD:
                spoke += 1
                summed += math.exp(min(nats, _MOST))
                if nats > most:
                    most = nats
                    views[i] = v
            learn(state, row, at, bin_, growth)
        if spoke == 0:
            continue
        most = math.log(summed)
        if quiet > 0:
            state[row, _CALM] += 1.0
            if state[row, _CALM] > quiet:
                state[row, _PEAK] = 0.0
            if most > state[row, _PEAK]:
                state[row, _PEAK] = most
                state[row, _CALM] = 0.0
            else:
                if most > _KEEP * state[row, _PEAK]:
                    state[row, _CALM] = 0.0
                continue
        scores[i] = max(1.0 - spoke * math.exp(-most), 0.0)

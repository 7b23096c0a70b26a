"""What Prometheus is told of the models of bars: whether their intervals and risks keep what they promise."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from stream_app.metrics import Metrics
from stream_app.state.table import Table
from tsrec_models.risk.backtests import BASEL_DAYS
from tsrec_models.risk.bar_models import LEVELS, BarModels, BarOutcome

__all__ = ["Coverage", "WatchedModels"]

#: Intervals that the rolling coverage is taken over: it is good to about 1 %.
_LATEST = 1000

#: Seconds of the clock between two looks at all backtests: they serve a dashboard, alerts have the evidence.
_JUDGED_S = 10.0

#: A test fails below this p-value; about one sound symbol in twenty does at any time.
_P = 0.05

#: The Z2 of a sound model is 0 in the mean; about -0.7 is its 5 % point whatever the tail (Acerbi and Szekely 2014).
_Z2 = -0.7


class Coverage:
    """Rolling share of intervals that held, of one kind of series on this worker."""

    def __init__(self, series: str, level: float, metrics: Metrics) -> None:
        self._ring = np.full(_LATEST, np.nan)
        self._next = 0
        self._gauge = metrics.interval_coverage.labels(series)
        self._counter = metrics.intervals.labels(series)
        metrics.interval_level.labels(series).set(level)

    def take(self, held: NDArray[np.float64]) -> None:
        """1 where an interval held, 0 where not, NaN where there was none: [n]."""
        held = held[np.isfinite(held)]
        self._counter.inc(len(held))
        held = held[-_LATEST:]
        if not len(held):
            return
        self._ring[(self._next + np.arange(len(held))) % _LATEST] = held
        self._next += len(held)
        self._gauge.set(float(np.nanmean(self._ring)))


class WatchedModels:
    """Counts what comes of bars, and from time to time looks at the backtests of all symbols held."""

    def __init__(self, table: Table, models: BarModels, metrics: Metrics) -> None:
        self._table = table
        self._models = models
        self._metrics = metrics
        self._coverage = Coverage("symbol", models.settings.level, metrics)
        self._judged_at = -np.inf

    def take(self, outcome: BarOutcome) -> None:
        """Count intervals that held and losses beyond the risk forecast for them."""
        self._coverage.take(outcome.held)
        losses = -np.expm1(outcome.returns)
        for k, level in enumerate(LEVELS):
            risk = outcome.var_before[:, k]
            tested = np.isfinite(risk) & np.isfinite(losses)
            self._metrics.var_tests.labels(f"{level:g}").inc(int(np.count_nonzero(tested)))
            self._metrics.var_exceedances.labels(f"{level:g}").inc(int(np.count_nonzero(losses[tested] > risk[tested])))

    def judge(self) -> None:
        """Before a checkpoint: how many symbols fail which test, if it is time to look again."""
        if time.monotonic() - self._judged_at < _JUDGED_S:
            return
        self._judged_at = time.monotonic()
        failed = dict.fromkeys(("kupiec", "conditional_coverage", "z2", "basel_red"), 0)
        tested = 0
        for partition, shard in self._table.shards.items():
            rows = shard.live_rows()
            if partition < 0 or not len(rows):
                continue
            state = shard.column("models")
            rows = rows[self._models.backtest.tested(state, rows) >= BASEL_DAYS]
            verdicts = self._models.backtest.verdicts(state, rows)
            tested += len(rows)
            failed["kupiec"] += int(np.count_nonzero((verdicts.kupiec_p < _P).any(axis=1)))
            failed["conditional_coverage"] += int(np.count_nonzero((verdicts.conditional_coverage_p < _P).any(axis=1)))
            failed["z2"] += int(np.count_nonzero(verdicts.es_z2 < _Z2))
            failed["basel_red"] += int(np.count_nonzero(verdicts.is_red))
        self._metrics.backtested.set(tested)
        for test, n in failed.items():
            self._metrics.backtest_failed.labels(test).set(n)

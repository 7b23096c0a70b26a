"""Anomalies of closed bars: volume and number of trades beyond anything usual, and returns that change their ways.

Scores are conformal p-values of the symbol's own past, so a line follows from how many false alarms a day are wanted,
and from nothing else. What a price alert says already is not said again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from stream_app.agents.bar_signals import DAY_S, INNOVATION, LOSS, MOVES
from stream_app.settings_risk import MarketRiskSettings
from stream_app.state.columns import Column, Columns
from stream_app.state.table import Table
from topics.spans import Spans
from tsrec_models.risk.alerts import Rule, Signal
from tsrec_models.risk.anomaly import VIEWS, AnomalyDetector
from tsrec_models.risk.bar_outcome import BarOutcome, occurrences
from tsrec_models.risk.bars import Bars
from tsrec_models.risk.changepoint import ChangePoints

__all__ = ["CHANGE", "RATE", "VOLUME", "BarAnomalies", "anomaly_columns"]

VOLUME, RATE, CHANGE = "volume_anomaly", "rate_anomaly", "change_point"

#: Resolution of the time of day: a quarter of an hour. Days of the week would take weeks to know.
_DAY_BINS = 96

#: Bars of calm that end an episode, and seconds at least.
_QUIET_BARS, _QUIET_S = 30, 600.0

#: Below so many times the usual a bar is rare at most, and nobody's business.
_LEAST_RATIO = 5.0

#: A change of volatility that is told: so many times the usual, over so many of the latest bars.
_LEAST_CHANGE, _LATEST = 3.0, 30

#: Bars of a symbol before it is judged: a rank among fewer says little, and a tail fitted to them less.
_LEAST_BARS = 200

#: Column of a detector's row with its mean, and with how many values it has had.
_SEEN, _MEAN = 0, 1


def _detector() -> AnomalyDetector:
    # An episode is one alert by the alert book; here a score is what it says, and no more.
    return AnomalyDetector(1, quiet=0, day_bins=_DAY_BINS, week_bins=0)


def anomaly_columns() -> Columns:
    """A symbol: 17 KB, changed by closed bars."""
    width = _detector().width
    return Columns(
        begun=Column(np.bool_), volume=Column(np.float64, (width,)), trades=Column(np.float64, (width,)),
        change=Column(np.float64, (ChangePoints.width,)),
    )  # fmt: skip


class BarAnomalies:
    """Detectors of all symbols; their state is in `table`, with `anomaly_columns`."""

    def __init__(self, table: Table, settings: MarketRiskSettings) -> None:
        self.table = table
        self.settings = settings
        #: False alarms a bar of each of the three.
        self.rate = min(0.01, settings.alarms_per_day * settings.bar_s / DAY_S / 3.0)
        self._detector = _detector()
        self._changes = ChangePoints(1, mean_time=1.0 / self.rate)

    def rules(self) -> list[Rule]:
        """Rules of these kinds; values are surprises over the line, so that 1 is the line."""
        quiet_s = max(_QUIET_S, _QUIET_BARS * self.settings.bar_s)
        return [
            Rule(kind, 1.0, severity="info", quiet_s=quiet_s, cooldown_s=quiet_s) for kind in (VOLUME, RATE, CHANGE)
        ]

    @staticmethod
    def told_by(signal: Signal) -> Sequence[str]:
        """Kinds that, where one is open for the subject, make this signal a repetition."""
        if signal.kind == VOLUME:
            return (*MOVES, "large_trade", INNOVATION, LOSS)
        if signal.kind == RATE:
            return (*MOVES, "large_trade", INNOVATION, LOSS, VOLUME)
        return (*MOVES, INNOVATION, LOSS) if signal.kind == CHANGE else ()

    def of(
        self,
        partition: int,
        names: Spans,
        bars: Bars,
        outcome: BarOutcome,
        sources: Sequence[str],
        returns_of: Callable[[int], NDArray[np.float64]],
    ) -> Iterator[tuple[int, Signal]]:
        """Step the detectors with the bars of an outcome; signals with the place of their bar among `bars`.

        returns_of: the window of returns of a row of the models, oldest first.
        """
        at = outcome.at
        if not len(at):
            return
        shard = self.table.shard(partition)
        rows = shard.locate(names.take(at))
        shard.touch(rows)
        begun = shard.column("begun")
        new = np.unique(rows[~begun[rows]])
        if len(new):
            fresh = self._detector.initial_rows(1)
            for name in ("volume", "trades"):
                shard.column(name)[new] = fresh
            begun[new] = True
        times = (bars.number[at] + 1.0) * bars.width_s
        seen_before = shard.column("volume")[rows, _SEEN]
        place, _ = occurrences(rows)
        for kind, name, values in ((VOLUME, "volume", bars.volume[at]), (RATE, "trades", bars.count[at])):
            yield from self._unusual(kind, shard.column(name), rows, place, values, times, names, at, sources)
        # Returns are exchangeable in a market that stays as it is; their clusters are why a change must be large, too.
        settled = seen_before + place >= _LEAST_BARS
        changed = self._changes.update(np.where(settled, outcome.returns, np.nan), rows, shard.column("change"))
        for i in np.flatnonzero(changed).tolist():
            returns = returns_of(int(outcome.rows[i]))
            now, before = _size(returns[-_LATEST:]), _size(returns[:-_LATEST])
            if not now >= _LEAST_CHANGE * before > 0.0:
                continue  # evident, and too small for anybody to act on: the models' own drift monitors deal with it
            subject = _name(names, at[i])
            message = (
                f"{subject}: bars of {self.settings.bar_s:g} s move {now * 1e4:.2f} bp where they moved "
                f"{before * 1e4:.2f} bp; by chance it looks so once in {1.0 / self.rate:,.0f} bars"
            )
            evidence = {"move_bps": now * 1e4, "usual_bps": before * 1e4, "bars": _LATEST}
            ratio = now / before / _LEAST_CHANGE
            yield int(at[i]), Signal(CHANGE, subject, ratio, float(times[i]), sources[at[i]], message, evidence)

    def _unusual(
        self,
        kind: str,
        state: NDArray[np.float64],
        rows: NDArray[np.int64],
        place: NDArray[np.int64],
        values: NDArray[np.float64],
        times: NDArray[np.float64],
        names: Spans,
        at: NDArray[np.int64],
        sources: Sequence[str],
    ) -> Iterator[tuple[int, Signal]]:
        logs = np.log(np.where(values > 0.0, values, np.nan))
        scores, views = np.zeros(len(rows)), np.full(len(rows), -1, np.int64)
        usual, seen = np.zeros(len(rows)), np.zeros(len(rows))
        for k in range(int(place.max()) + 1):  # a symbol's bars one after another: each is judged by those before it
            now = np.flatnonzero(place == k)
            usual[now], seen[now] = state[rows[now], _MEAN], state[rows[now], _SEEN]
            scores[now], views[now] = self._detector.explain(logs[now], times[now], rows[now], state)
        ratio = np.exp(logs - usual)
        odd = (1.0 - scores <= self.rate) & (ratio >= _LEAST_RATIO) & (seen >= _LEAST_BARS)
        for i in np.flatnonzero(odd).tolist():
            p = max(1.0 - float(scores[i]), 1e-12)
            subject, what = _name(names, at[i]), "volume" if kind == VOLUME else "number of trades"
            message = (
                f"{subject}: {what} {values[i]:,.6g} in {self.settings.bar_s:g} s, {ratio[i]:.0f} times the usual; its "
                f"own past has the like once in {1.0 / p:,.0f} bars"
            )
            evidence = {
                "value": float(values[i]), "usual": float(np.exp(usual[i])), "p": p, "view": VIEWS[int(views[i])],
                "start": float(times[i] - self.settings.bar_s), "width_s": self.settings.bar_s,
            }  # fmt: skip
            surprise = float(np.log(p) / np.log(self.rate))
            yield int(at[i]), Signal(kind, subject, surprise, float(times[i]), sources[at[i]], message, evidence)


def _size(returns: NDArray[np.float64]) -> float:
    """Root of the mean square; 0 where there are none."""
    return float(np.sqrt(np.mean(returns * returns))) if len(returns) else 0.0


def _name(names: Spans, i: int) -> str:
    return (names[int(i)] or b"").decode()

"""What a closed bar has to say to the alert book: a return out of its band, a loss beyond its risk, a risk model that
fails. Every threshold follows from a stated rate of false alarms, none from the bars it is used on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from stream_app.settings_risk import MarketRiskSettings
from tsrec_models.risk.alerts import Rule, Signal
from tsrec_models.risk.backtests_running import Verdict
from tsrec_models.risk.bar_models import LEVELS, BarModels, BarOutcome
from tsrec_models.risk.bars import Bars
from tsrec_models.risk.innovation_band import TAIL_INDEX, alarm_sigmas

__all__ = ["BACKTEST", "DAY_S", "INNOVATION", "LOSS", "MOVES", "BarSignals"]

INNOVATION, LOSS, BACKTEST = "forecast_break", "var_exceedance", "var_backtest"

DAY_S = 86_400.0

#: Kinds that say what a broken forecast or a large loss would say again.
MOVES = ("price_spike", "price_acceleration")

#: Quiet seconds, in bars, after which an alert of a bar is over.
_QUIET_BARS = 10

#: A failing backtest is over when its evidence has fallen to this share of the alarm.
_CLEAR = 0.1


class BarSignals:
    """Turns outcomes of bars into signals."""

    def __init__(self, settings: MarketRiskSettings, models: BarModels) -> None:
        self.settings = settings
        self.models = models
        #: False alarms a bar: what `alarms_per_day` comes to.
        rate = min(0.05, settings.alarms_per_day * settings.bar_s / DAY_S)
        self.sigmas = alarm_sigmas(rate)
        # Beyond its 99 % quantile a loss falls as a power: so many times VaR as is passed at the stated rate.
        self.var_multiple = max(1.0, ((1.0 - LEVELS[-1]) / rate) ** (1.0 / TAIL_INDEX))
        self.min_move = settings.min_move_bps / 1e4

    def rules(self) -> list[Rule]:
        """Rules of these kinds, relative to the threshold each signal brings."""
        quiet_s = max(60.0, _QUIET_BARS * self.settings.bar_s)
        return [
            Rule(INNOVATION, 1.0, critical_at=2.0, quiet_s=quiet_s, cooldown_s=quiet_s, relative=True),
            Rule(LOSS, 1.0, critical_at=2.0, quiet_s=quiet_s, cooldown_s=quiet_s, relative=True),
            Rule(BACKTEST, 1.0, _CLEAR, cooldown_s=3600.0, relative=True),
        ]

    @staticmethod
    def told_by(signal: Signal) -> Sequence[str]:
        """Kinds that, where one is open for the subject, make this signal a repetition."""
        if signal.kind == INNOVATION:
            return MOVES
        return (*MOVES, INNOVATION) if signal.kind == LOSS else ()

    def of(
        self,
        bars: Bars,
        outcome: BarOutcome,
        names: Sequence[str],
        sources: Sequence[str],
        is_open: Callable[[str, str], bool],
        verdict: Callable[[int], Verdict],
    ) -> Iterator[tuple[int, Signal]]:
        """Signals with the place of their bar among `bars`. is_open(kind, subject): whether such an alert is
        open; verdict(row): all backtests of a row of the models."""
        losses = -np.expm1(outcome.returns)
        moved = np.abs(np.expm1(outcome.returns)) >= self.min_move
        line = outcome.var_before[:, -1] * self.var_multiple
        for i in np.flatnonzero(moved & (np.abs(outcome.z) >= self.sigmas)).tolist():
            at = int(outcome.at[i])
            yield at, self._innovation(bars, outcome, i, names[at], sources[at])
        for i in np.flatnonzero(moved & (losses >= line)).tolist():
            at = int(outcome.at[i])
            yield at, self._loss(bars, outcome, i, float(line[i]), names[at], sources[at])
        alarm = self.settings.backtest_alarm
        for i, evidence in enumerate(outcome.evidence.tolist()):
            at = int(outcome.at[i])
            if evidence >= alarm or (evidence < _CLEAR * alarm and is_open(BACKTEST, names[at])):
                found = verdict(int(outcome.rows[i]))
                yield at, self._backtest(bars, evidence, at, names[at], sources[at], found)

    def _innovation(self, bars: Bars, outcome: BarOutcome, i: int, name: str, source: str) -> Signal:
        at = int(outcome.at[i])
        sigma, z, move = float(outcome.sigma[i]), float(outcome.z[i]), float(np.expm1(outcome.returns[i]))
        message = (
            f"{name}: a bar of {bars.width_s:g} s moved {move * 1e4:+.1f} bp to {bars.close[at]:g}, {abs(z):.1f} "
            f"standard deviations of {sigma * 1e4:.1f} bp from its forecast; more than {self.sigmas:.1f} come "
            f"{self.settings.alarms_per_day:g} times a day by chance"
        )
        evidence = _bar(bars, at) | {"z": z, "sigma_bps": sigma * 1e4}
        return Signal(INNOVATION, name, abs(z), _end(bars, at), source, message, evidence, self.sigmas)

    def _loss(self, bars: Bars, outcome: BarOutcome, i: int, line: float, name: str, source: str) -> Signal:
        at = int(outcome.at[i])
        loss, var = float(-np.expm1(outcome.returns[i])), float(outcome.var_before[i, -1])
        message = (
            f"{name}: lost {loss * 1e4:.1f} bp within {bars.width_s:g} s, {loss / var:.1f} times its value at risk at "
            f"99 % of {var * 1e4:.1f} bp; more than {line * 1e4:.1f} bp come "
            f"{self.settings.alarms_per_day:g} times a day by chance"
        )
        evidence = _bar(bars, at) | {"var_99_bps": var * 1e4, "es_975_bps": float(outcome.es_before[i]) * 1e4}
        return Signal(LOSS, name, loss * 1e4, _end(bars, at), source, message, evidence, line * 1e4)

    def _backtest(self, bars: Bars, evidence: float, at: int, name: str, source: str, verdict: Verdict) -> Signal:
        message = (
            f"{name}: its value at risk understates losses; a sound model would look like this "
            f"once in {evidence:,.0f} bars; at {LEVELS[-1]:.0%} {verdict.hits[-1]} losses beyond it, where "
            f"{verdict.expected[-1]:.1f} were to come, Basel's light is {verdict.basel}"
        )
        tests = {
            f"{level:g}": {
                "hits": int(verdict.hits[k]), "expected": float(verdict.expected[k]),
                "kupiec_p": float(verdict.kupiec_p[k]), "independence_p": float(verdict.independence_p[k]),
                "conditional_coverage_p": float(verdict.conditional_coverage_p[k]),
                "evidence": float(verdict.evidence[k]),
            }
            for k, level in enumerate(LEVELS)
        }  # fmt: skip
        shown = {"bars": verdict.days, "tests": tests, "es_z2": verdict.es_z2, "basel": verdict.basel}
        return Signal(BACKTEST, name, evidence, _end(bars, at), source, message, shown, self.settings.backtest_alarm)


def _end(bars: Bars, at: int) -> float:
    return float((bars.number[at] + 1.0) * bars.width_s)


def _bar(bars: Bars, at: int) -> dict[str, Any]:
    """The bar in plain values, as evidence."""
    fields = ("open", "high", "low", "close", "volume", "vwap", "imbalance")
    shown: dict[str, Any] = {name: float(getattr(bars, name)[at]) for name in fields}
    return {"start": float(bars.start[at]), "width_s": bars.width_s, **shown, "trades": int(bars.count[at])}

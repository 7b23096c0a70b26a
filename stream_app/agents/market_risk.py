"""Market risk: trades become bars; each closed bar steps its symbol's models, is forecast from, and is looked at."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_app.agents.alerts import Alerts
from stream_app.agents.bar_anomalies import BarAnomalies
from stream_app.agents.bar_signals import BarSignals
from stream_app.agents.refits import Refits
from stream_app.agents.symbol_bars import tell_bars
from stream_app.agents.watched_models import WatchedModels
from stream_app.batch import Batch, BatchTopic
from stream_app.inference import Inference
from stream_app.metrics import Metrics
from stream_app.rehearsal import NOWHERE
from stream_app.settings_risk import MarketRiskSettings
from stream_app.state.columns import Column, Columns
from stream_app.state.shard import Shard
from stream_app.state.table import Table
from topics.columns import encode_columns
from topics.decisions import Forecast
from topics.spans import Spans
from tsrec_models.risk.alerts import Signal
from tsrec_models.risk.bar_models import BarModels, BarModelSettings, BarOutcome
from tsrec_models.risk.bar_stepping import Stepping
from tsrec_models.risk.bars import BUY, SELL, WIDTH, Bars, TimeBars
from tsrec_models.risk.market_watch import MARKET_WIDTH, MarketWatch

__all__ = ["CHANNEL", "MarketRisk", "bar_models", "model_columns", "sides", "symbol_columns", "time_bars"]

#: The alert book of this agent.
CHANNEL = "market"

#: Bars of a rehearsal: enough to warm up, to fit, and to step what was fitted.
_REHEARSED_BARS = 2


def time_bars(settings: MarketRiskSettings) -> TimeBars:
    """Bars as the settings want them."""
    return TimeBars(settings.bar_s, settings.bar_lateness_s)


def bar_models(settings: MarketRiskSettings) -> BarModels:
    """Models of bars as the settings want them."""
    return BarModels(
        BarModelSettings(
            settings.order,
            settings.level,
            settings.warmup_bars,
            settings.refit_bars,
            settings.window_bars,
            delay=settings.refit_delay_bars,
            regressors=settings.regressors,
        )
    )


def symbol_columns(bars: TimeBars) -> Columns:
    """What every trade changes: open bars, the watch over moves and large orders, whether an account trades it."""
    return Columns(
        begun=Column(np.bool_),
        owned=Column(np.bool_),
        bars=Column(np.float64, (bars.width,)),
        watch=Column(np.float64, (MARKET_WIDTH,)),
    )


def model_columns(models: BarModels) -> Columns:
    """What only a closed bar changes: a row of 17 KB with a window of 500."""
    return Columns(told=Column(np.bool_), models=Column(np.float64, (models.width,)))


def sides(columns: Any) -> NDArray[np.int8]:
    """The aggressor's side of trades: BUY, SELL or 0."""
    signs = {"buy": BUY, "sell": SELL}
    table = np.array([signs[name] for name in columns.codes("side")] + [0], np.int8)
    out: NDArray[np.int8] = table[columns.side]  # -1, no side, takes the last
    return out


def _times(batch: Batch) -> NDArray[np.float64]:
    """When trades happened; one whose clock is ahead happened when it was written, and closes no bar before."""
    times: NDArray[np.float64] = np.minimum(batch.columns.ts, batch.records.stamped_s())
    return times


class MarketRisk:
    """The agent of `trades`: bars -> ARIMA, intervals, tail risk -> `forecasts`; what is unusual -> `risk-alerts`."""

    def __init__(
        self,
        *,
        symbols: Table,
        models: Table,
        forecasts: BatchTopic,
        bar_topic: BatchTopic | None,
        alerts: Alerts,
        bars: TimeBars,
        bar_models: BarModels,
        watch: MarketWatch,
        signals: BarSignals,
        anomalies: BarAnomalies,
        refits: Refits,
        inference: Inference,
        metrics: Metrics,
    ) -> None:
        self.refits = refits
        self.symbols = symbols
        self.models = models
        self.forecasts = forecasts
        self.bar_topic = bar_topic
        self.alerts = alerts
        self.bars = bars
        self.bar_models = bar_models
        self.watch = watch
        self.signals = signals
        self.anomalies = anomalies
        self.inference = inference
        self.metrics = metrics
        self.watched = WatchedModels(models, bar_models, metrics)

    async def __call__(self, batch: Batch) -> None:
        """Watch prices and sizes, close bars, step their models, forecast, and last tell the alert book."""
        shard = self.symbols.shard(batch.partition)
        before = float(shard.column("_ts")[shard.live_rows()].max(initial=-np.inf))
        trades, times = batch.columns, _times(batch)
        rows, fresh = shard.admit(trades.symbol, self.symbols.source(batch.topic.name), batch.offsets, times)
        if not fresh.all():  # replayed after a crash: already in the bars, already told
            batch, rows = batch.only(fresh), rows[fresh]
            trades, times = batch.columns, times[fresh]
            if not len(batch):
                return
        self._begin(shard, rows)
        shard.column("owned")[rows[trades.account_id.start >= 0]] = True
        side = sides(trades)
        unusual = self.watch.update(
            shard.column("watch"), rows, side, trades.price, trades.quantity, times, batch.offsets
        )
        closed, by = self._close(batch, shard, rows, side, times, before)
        found = [(int(unusual.table["at"][i]), signal) for i, signal in enumerate(self._named(batch, shard, unusual))]
        if len(closed):
            found += await self._step(batch, shard, closed, by)
        if batch.partition == NOWHERE:
            await self._rehearse(shard, rows)
        found.sort(key=lambda pair: pair[0])
        newest = int(np.argmax(times))
        self.alerts.take(
            batch, CHANNEL, [signal for _, signal in found], (float(times[newest]), batch.source(newest)),
            lambda signal: (*self.signals.told_by(signal), *self.anomalies.told_by(signal)),
        )  # fmt: skip

    def _begin(self, shard: Shard, rows: NDArray[np.int64]) -> None:
        begun = shard.column("begun")
        new = np.unique(rows[~begun[rows]])
        if len(new):
            self.bars.clear(shard.column("bars"), new)
            begun[new] = True

    def _close(
        self,
        batch: Batch,
        shard: Shard,
        rows: NDArray[np.int64],
        side: NDArray[np.int8],
        times: NDArray[np.float64],
        before: float,
    ) -> tuple[Bars, NDArray[np.int64]]:
        """Bars that closed, and the place in the batch of the trade that closed each. before: newest time so far."""
        trades, state = batch.columns, shard.column("bars")
        width_s, lateness_s = self.bars.width_s, self.bars.lateness_s
        # What closes a bar is the time of its partition, whatever symbol's trade brings it: so the same trades close
        # it, and are late for it, however they come in batches.
        newest = np.maximum.accumulate(np.append(before, times))
        in_time = np.floor(times / width_s) >= np.floor((newest[:-1] - lateness_s) / width_s)
        if not in_time.all():
            self.metrics.late_events.labels(batch.topic.name).inc(int(np.count_nonzero(~in_time)))
        taken = np.flatnonzero(in_time)
        closed, _ = self.bars.add(
            state, rows[taken], trades.price[taken], trades.quantity[taken], side[taken], times[taken]
        )
        watermark = float(newest[-1]) - lateness_s
        if np.floor(watermark / width_s) > np.floor((before - lateness_s) / width_s):
            every = shard.live_rows()
            every = every[shard.column("begun")[every]]
            shard.touch(every)
            quiet = self.bars.advance(state, every, watermark)
            closed = Bars(
                np.concatenate([closed.rows, quiet.rows]), np.concatenate([closed.fields, quiet.fields]), width_s
            )
        ends = (closed.number + 1.0) * width_s + lateness_s
        by = np.minimum(np.searchsorted(newest[1:], ends), len(rows) - 1)
        order = np.argsort(by, kind="stable")
        return Bars(closed.rows[order], closed.fields[order], width_s), by[order]

    async def _step(self, batch: Batch, shard: Shard, closed: Bars, by: NDArray[np.int64]) -> list[tuple[int, Signal]]:
        """Step the models of the symbols whose bars closed, publish forecasts; what there is to say, by trade."""
        names = shard.index.keys(closed.rows)
        models = self.models.shard(batch.partition)
        rows = models.locate(names)
        models.advance(
            rows, self.models.source(batch.topic.name), batch.offsets[by], (closed.number + 1.0) * self.bars.width_s
        )
        bars = Bars(rows, closed.fields, closed.width_s)
        stepping = await self._models_step(models, bars, batch.partition != NOWHERE)
        outcome = stepping.outcome()
        sources = [batch.source(i) for i in by.tolist()]
        self._forecast(batch, names, bars, outcome, sources)
        if self.bar_topic is not None:
            owned = shard.column("owned")[closed.rows]
            tell_bars(batch, self.bar_topic, names, bars, owned, models, self.bar_models, stepping)
        told = self.signals.of(
            bars, outcome, [(name or b"").decode() for name in names.tolist()], sources,
            lambda kind, subject: self.alerts.is_open(CHANNEL, batch.partition, kind, subject),
            lambda row: self.bar_models.verdict(models.column("models"), row),
        )  # fmt: skip
        found = [(int(by[at]), signal) for at, signal in told]
        # After what the models say: where that is an alert, these are not.
        odd = self.anomalies.of(
            batch.partition, names, bars, outcome, sources,
            lambda row: self.bar_models.risk.returns(models.column("models"), row),
        )  # fmt: skip
        return found + [(int(by[at]), signal) for at, signal in odd]

    async def _models_step(self, models: Shard, bars: Bars, counted: bool) -> Stepping:
        """Through the models; parameters that are due by a bar are waited for, and nothing else is."""
        stepping = await self.inference.run(self._started, models.column("models"), bars)
        while True:
            for job in stepping.asked:
                self.refits.begin(job)
            if stepping.due:
                began = time.perf_counter()
                found = [await self.refits.result(job) for job in stepping.due]
                await self.inference.run(stepping.swap, found)
                if counted:
                    self.metrics.refit_wait.observe(time.perf_counter() - began)
                    for parameters in found:
                        self.refits.count(parameters)
            if stepping.done:
                break
            await self.inference.run(stepping.advance)
        if counted:
            self.watched.take(stepping.outcome())
            self.metrics.drifted.inc(stepping.drifted)
        return stepping

    def _started(self, state: NDArray[np.float64], bars: Bars) -> Stepping:
        stepping = self.bar_models.begin(state, bars)
        stepping.advance()
        return stepping

    def _forecast(self, batch: Batch, names: Spans, bars: Bars, outcome: BarOutcome, sources: Sequence[str]) -> None:
        """One record a closed bar of a symbol that has warmed up: the price one bar on."""
        ready = np.flatnonzero(np.isfinite(outcome.mean) & np.isfinite(outcome.half_width))
        if not len(ready):
            return
        at = outcome.at[ready]
        close, mean, half = bars.close[at], outcome.mean[ready], outcome.half_width[ready]
        subjects = names.take(at)
        values = encode_columns(
            Forecast,
            subject=subjects,
            ts=(bars.number[at] + 1.0) * bars.width_s,
            horizon=1,
            mean=close * np.exp(mean),
            lower=close * np.exp(mean - half),
            upper=close * np.exp(mean + half),
            level=self.bar_models.settings.level,
            model=f"arima{'x' if self.bar_models.settings.regressors else ''}{self.bar_models.order}",
            step_s=bars.width_s,
            var_95=outcome.var[ready, 0],
            var_99=outcome.var[ready, 2],
            es_975=outcome.es[ready],
            volatility=outcome.volatility[ready],
            source=Spans.of([sources[i].encode() for i in at.tolist()]),
            value=close,
        )
        batch.send(self.forecasts, subjects, values)
        if batch.partition != NOWHERE:
            self.metrics.decisions.labels("forecast", "arima").inc(len(ready))

    def _named(self, batch: Batch, shard: Shard, unusual: Any) -> list[Signal]:
        if not len(unusual):
            return []

        def name(row: int) -> str:
            return (shard.index.keys(np.array([row]))[0] or b"").decode()

        signals: list[Signal] = unusual.signals(name, name, f"{batch.records.topic}:{batch.partition}")
        return signals

    async def _rehearse(self, shard: Shard, rows: NDArray[np.int64]) -> None:
        """Compile what only runs when a symbol has warmed up."""
        self.refits.warm_up(self.bar_models.settings.order)
        models = self.models.shard(NOWHERE)
        row = models.locate(shard.index.keys(rows[:1]))
        n = self.bar_models.settings.warmup + self.bar_models.settings.delay + _REHEARSED_BARS
        models.touch(row)
        fields = np.ones((n, WIDTH))
        fields[:, 0] = np.arange(n)
        fields[:, -1] = 1e-4 * np.sin(np.arange(n) ** 2)
        await self._models_step(models, Bars(np.repeat(row, n), fields, self.bars.width_s), False)

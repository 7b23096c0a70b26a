"""Portfolio risk: what accounts hold goes through the past bars of its symbols together -> `account-risk`, alerts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream_app.agents.account_risk import AccountRisk
from stream_app.agents.account_state import PartitionAccounts
from stream_app.agents.alerts import Alerts
from stream_app.agents.books import Books
from stream_app.batch import Batch, BatchTopic
from stream_app.inference import Inference
from stream_app.metrics import Metrics
from stream_app.rehearsal import NOWHERE
from stream_app.settings_risk import PortfolioSettings
from stream_app.state.columns import Column, Columns
from stream_app.state.shard import Shard
from stream_app.state.table import Table
from topics.columns import encode_columns
from topics.decisions import AccountRisk as AccountRiskRecord
from topics.spans import Spans
from tsrec_models.risk.alerts import Rule, Signal
from tsrec_models.risk.fhs import FilteredHistoricalSimulation
from tsrec_models.risk.volatility import GarchParameters

__all__ = ["CHANNEL", "VAR_LIMIT", "PortfolioRisk", "portfolio_rules", "scenario_columns"]

#: The alert book of this agent.
CHANNEL = "portfolios"

VAR_LIMIT = "var_limit"

#: A symbol that has told of no bar for so many is not waited for.
_STILL_BARS = 20


def scenario_columns(simulation: FilteredHistoricalSimulation) -> Columns:
    """A symbol as a partition of accounts knows it: price, and the window of its residuals (16 KB for 500)."""
    return Columns(
        begun=Column(np.bool_), assessed=Column(np.float64, initial=-np.inf),
        last=Column(np.float64, initial=-np.inf), close=Column(np.float64, initial=np.nan),
        state=Column(np.float64, (simulation.width,)),
    )  # fmt: skip


def portfolio_rules() -> list[Rule]:
    """The rule of this agent's alert, relative to the limit of the settings."""
    return [Rule(VAR_LIMIT, 1.0, 0.9, critical_at=2.0, cooldown_s=3600.0, relative=True)]


class PortfolioRisk:
    """The agent of `symbol-bars`: each partition steps the volatilities of its symbols, and once a bar puts its largest
    accounts through them."""

    def __init__(
        self,
        *,
        scenarios: Table,
        simulation: FilteredHistoricalSimulation,
        accounts: AccountRisk,
        output: BatchTopic,
        alerts: Alerts,
        settings: PortfolioSettings,
        bar_s: float,
        inference: Inference,
        metrics: Metrics,
    ) -> None:
        self.scenarios = scenarios
        self.simulation = simulation
        self.accounts = accounts
        self.output = output
        self.alerts = alerts
        self.settings = settings
        self.bar_s = bar_s
        self.inference = inference
        self.metrics = metrics

    async def __call__(self, batch: Batch) -> None:
        """Take bars in, and when all symbols have told of a bar, look at the accounts; a backlog is looked at once."""
        shard, bars = self.scenarios.shard(batch.partition), batch.columns
        newest = float(shard.column("last")[shard.live_rows()].max(initial=-np.inf))
        rows, fresh = shard.admit(bars.symbol, self.scenarios.source(batch.topic.name), batch.offsets, bars.ts)
        new = np.empty(len(rows), np.bool_)
        _is_new(
            shard.column("last"), rows, bars.number, fresh, new
        )  # a bar told twice, since a worker died, counts once
        taken = np.flatnonzero(new)
        if not len(taken):
            return
        self._take(shard, rows[taken], bars.take(taken))
        if batch.partition == NOWHERE:  # compile it
            one = np.array([0, 1]), rows[:1], np.ones(1)
            await self.inference.run(self.simulation.portfolio, shard.column("state"), *one)
        live = shard.live_rows()
        last, assessed = shard.column("last")[live], shard.column("assessed")
        number = _due(last, newest, float(assessed[live].max(initial=-np.inf)))
        if number is not None:
            assessed[rows[taken]] = number
            latest = int(taken[np.argmax(bars.number[taken])])
            await self._assess(batch, latest, shard, (number + 1.0) * self.bar_s)

    def _take(self, shard: Shard, rows: NDArray[np.int64], columns: Any) -> None:
        state, begun = shard.column("state"), shard.column("begun")
        unknown = np.unique(rows[~begun[rows]])
        self.simulation.clear(state, unknown)
        begun[unknown] = True
        numbers, returns = columns.number, columns.log_return
        parameters = np.stack([getattr(columns, name) for name in ("omega", "alpha", "gamma", "beta", "mu")], axis=1)
        begin = 0
        for end in (*np.flatnonzero(np.isfinite(parameters[:, 0])).tolist(), len(rows) - 1):
            part = slice(begin, end + 1)
            if end >= begin:
                self.simulation.update(state, rows[part], returns[part], numbers[part])
                if np.isfinite(parameters[end, 0]):
                    self.simulation.swap(state, int(rows[end]), GarchParameters(*parameters[end].tolist()))
            begin = end + 1
        shard.column("close")[rows] = columns.close

    async def _assess(self, batch: Batch, latest: int, shard: Shard, ts: float) -> None:
        state = self.accounts.partition(batch.partition)
        books = Books.largest(state, shard, self.settings.accounts, self.settings.min_exposure)
        source = batch.source(latest)
        signals: list[Signal] = []
        if len(books):
            var, es, scenarios = await self.inference.run(
                self.simulation.portfolio, shard.column("state"), books.offsets, books.rows, books.exposures
            )
            equity, drawdown = _equity(state, books.accounts)
            names = state.account_numbers.names(books.accounts)
            self._publish(batch, names, ts, books, equity, drawdown, var, es, scenarios, source)
            signals = self._signals(names, ts, books, var[:, -1], source)
        self.alerts.take(batch, CHANNEL, signals, (ts, source))

    def _publish(
        self,
        batch: Batch,
        names: Spans,
        ts: float,
        books: Books,
        equity: NDArray[np.float64],
        drawdown: NDArray[np.float64],
        var: NDArray[np.float64],
        es: NDArray[np.float64],
        scenarios: NDArray[np.int64],
        source: str,
    ) -> None:
        values = encode_columns(
            AccountRiskRecord, account_id=names, ts=ts, step_s=self.bar_s, exposure=books.gross, net=books.net,
            positions=books.positions, scenarios=scenarios, covered=books.covered, equity=equity, drawdown=drawdown,
            model="fhs-gjr", source=source, var_95=var[:, 0], var_99=var[:, -1], es_975=es,
        )  # fmt: skip
        batch.send(self.output, names, values)
        if batch.partition != NOWHERE:
            self.metrics.decisions.labels("account-risk", "fhs").inc(len(books))

    def _signals(self, names: Spans, ts: float, books: Books, var: NDArray[np.float64], source: str) -> list[Signal]:
        limit = self.settings.var_limit
        if not np.isfinite(limit):
            return []
        signals = []
        for i in np.flatnonzero(np.isfinite(var)).tolist():
            name = (names[i] or b"").decode()
            message = (
                f"{name}: one bar of {self.bar_s:g} s in a hundred would lose {var[i]:,.0f} or more of positions worth "
                f"{books.gross[i]:,.0f}; the limit is {limit:,.0f}"
            )
            evidence = {
                "exposure": float(books.gross[i]), "net": float(books.net[i]), "positions": books.largest_of(i),
                "covered": float(books.covered[i]),
            }  # fmt: skip
            signals.append(Signal(VAR_LIMIT, name, float(var[i]), ts, source, message, evidence, limit))
        return signals


def _equity(state: PartitionAccounts, accounts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows = state.watch.accounts[accounts]
    equity = rows["realised"] + rows["unrealised"]
    return equity, np.maximum(rows["peak"] - equity, 0.0)


def _due(last: NDArray[np.float64], newest: float, assessed: float) -> float | None:
    """The bar to assess books at, or None. last: the latest bar of each symbol; newest: of all before this batch.

    Symbols come from several partitions: a bar is waited for until every symbol that is traded has told of it, or until
    a later one comes.
    """
    latest = float(last.max())
    if np.all((last == latest) | (last < latest - _STILL_BARS)):
        newest = latest
    return newest if newest > assessed else None


@njit(cache=True)
def _is_new(last, rows, numbers, fresh, out):  # type: ignore[no-untyped-def,untyped-decorator]  # pragma: no cover
    """out[i] = bar i is fresh and later than what its row has had; moves `last`."""
    for i in range(len(rows)):
        out[i] = fresh[i] and numbers[i] > last[rows[i]]
        if out[i]:
            last[rows[i]] = numbers[i]

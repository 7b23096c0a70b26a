"""Account risk: trades are keyed again by account, and each account is watched for what it does over many trades."""

from __future__ import annotations

import numpy as np

from stream_app.agents.account_state import PartitionAccounts
from stream_app.agents.alerts import Alerts
from stream_app.agents.market_risk import sides
from stream_app.agents.origins import first_seen, origin_headers, origins_of
from stream_app.batch import Batch, BatchTopic
from stream_app.state.table import Table
from topics.columns import encode_columns
from topics.events import Trade
from tsrec_models.risk.surveillance import Settings, Trades
from tsrec_models.risk.surveillance_settings import ACCOUNT_KINDS

__all__ = ["CHANNEL", "AccountRisk", "Rekey"]

#: The alert book of this agent.
CHANNEL = "accounts"


class Rekey:
    """The agent of `trades` that sends those of an account on to `trades-by-account`, in the contract's own words."""

    def __init__(self, output: BatchTopic) -> None:
        self.output = output

    async def __call__(self, batch: Batch) -> None:
        """Each trade with an account, to the partition of its account, with its origin in the headers."""
        owned = np.flatnonzero(batch.columns.account_id.start >= 0)
        if not len(owned):
            return
        batch = batch.only(owned)
        trades = batch.columns
        values = batch.records.values
        if batch.topic.dialect is not None:
            values = encode_columns(
                Trade, symbol=trades.symbol, price=trades.price, quantity=trades.quantity, ts=trades.ts,
                account_id=trades.account_id, side=trades.side, trade_id=trades.trade_id,
            )  # fmt: skip
        batch.send(
            self.output, trades.account_id, values, rekey=True, timestamps_ms=batch.records.timestamps_ms,
            headers=origin_headers(batch.partition, batch.offsets),
        )  # fmt: skip


class AccountRisk:
    """The agent of `trades-by-account`: velocity, wash trades, structuring, limits -> `risk-alerts` with evidence."""

    def __init__(
        self, *, accounts: Table, traded: Table, population: Table, settings: Settings, alerts: Alerts
    ) -> None:
        self.accounts, self.traded, self.population = accounts, traded, population
        self.settings = settings
        self.alerts = alerts
        self._partitions: dict[int, PartitionAccounts] = {}

    async def __call__(self, batch: Batch) -> None:
        """Number accounts and symbols, watch, and tell the alert book: from the watch on nothing may fail, since
        memory is not taken back."""
        shard = self.accounts.shard(batch.partition)
        source = self.accounts.source(batch.topic.name)
        rows = shard.locate(batch.columns.account_id)
        fresh = shard.fresh(rows, source, batch.offsets)
        batch, rows = batch.only(fresh), rows[fresh]  # the others were watched before a crash, or have no account
        if not len(batch):
            return
        shard.advance(rows, source, batch.offsets, batch.columns.ts)
        new = np.empty(len(rows), np.bool_)
        first_seen(shard.column("origin"), rows, *origins_of(batch.records.header_spans), new)
        new &= batch.columns.quantity > 0.0  # a trade of nothing is a quote
        batch, rows = batch.only(new), rows[new]
        if not len(batch):
            return
        trades, state = batch.columns, self.partition(batch.partition)
        account = state.account_numbers.of(rows)
        symbol = state.symbol_numbers.of(state.traded.locate(trades.symbol))
        side = sides(trades)
        signals = state.watch.update(
            Trades(account, symbol, side, trades.price, trades.quantity, trades.ts, batch.offsets)
        )
        state.changed(account, symbol)
        named = signals.signals(
            state.account_numbers.name, state.symbol_numbers.name, f"{batch.records.topic}:{batch.partition}"
        )
        newest = int(np.argmax(trades.ts))
        # Of prices and sizes of a market, the agent of `trades` speaks: it sees all of them, in order.
        named = [signal for signal in named if signal.kind in ACCOUNT_KINDS]
        self.alerts.take(batch, CHANNEL, named, (float(trades.ts[newest]), batch.source(newest)))

    def partition(self, number: int) -> PartitionAccounts:
        """The accounts of one partition; read anew where their shard was dropped and recovered."""
        shard = self.accounts.shard(number)
        known = self._partitions.get(number)
        if known is None or known.accounts is not shard:
            known = self._partitions[number] = PartitionAccounts(
                shard, self.traded.shard(number), self.population.shard(number), self.settings
            )
        return known

    def write_back(self) -> None:
        """Before a checkpoint: what changed, into the rows."""
        for number, partition in list(self._partitions.items()):
            if self.accounts.shards.get(number) is partition.accounts:
                partition.write_back()
            else:
                del self._partitions[number]

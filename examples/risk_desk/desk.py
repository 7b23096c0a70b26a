"""A worker with one rule more: an order far off the last price of its symbol is an alert (a fat finger)."""

from __future__ import annotations

import numpy as np

from stream_app.app import build
from stream_app.batch import Batch
from stream_app.settings import load
from stream_app.state import Column, Columns
from stream_app.worker import run_worker
from topics import wire
from topics.decisions import RiskAlert, alert_id
from topics.events import Trade
from topics.spans import Spans

LIMIT = 0.05  # an order 5 % off the last price of its symbol

application = build(load())
app = application.processor
trades = app.batch_topic("trades", Trade)
alerts = app.batch_topic("risk-alerts", RiskAlert)
last = app.columnar_table("last-prices", Columns(price=Column(np.float64)), sources=[trades])


@app.process(trades)
async def fat_finger(batch: Batch) -> None:
    """Each trade against the one of its symbol before it: in order, since that is what the rule is about."""
    shard = last.shard(batch.partition)
    trade, source = batch.columns, last.source("trades")
    rows, fresh = shard.admit(trade.symbol, source, batch.offsets, trade.ts)
    shard.touch(rows)
    price = shard.column("price")
    keys, found = [], []
    for i in np.flatnonzero(fresh):
        before, now = float(price[rows[i]]), float(trade.price[i])
        price[rows[i]] = now
        if before and abs(now / before - 1) > LIMIT:
            keys.append(symbol := trade.symbol[i])
            found.append(_alert(batch, i, symbol.decode(), before, now))
    batch.send(alerts, Spans.of(keys), Spans.of(wire.encode(found)))


def _alert(batch: Batch, i: int, symbol: str, before: float, now: float) -> RiskAlert:
    off, ts, source = now / before - 1, float(batch.columns.ts[i]), batch.source(i)
    return RiskAlert(
        alert_id=alert_id(source, "fat_finger", symbol), kind="fat_finger", subject=symbol, severity="warning",
        status="firing", value=abs(off), threshold=LIMIT, message=f"{symbol} at {now:g}, {off:+.1%} off {before:g}",
        evidence={"before": before, "now": now}, first_ts=ts, last_ts=ts, source=source,
    )  # fmt: skip


if __name__ == "__main__":
    run_worker(app)

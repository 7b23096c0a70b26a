"""The whole application over a backlog, for the tests that kill it: deterministic trades and purchases, and what is
left of them on the broker, outputs and state.

All trades lie in one partition, so that accounts get them in one order whoever reads when; purchases lie in the
partitions of their users, and what is compared of them does not depend on how these are mixed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import msgspec
import numpy as np
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from stream_app.app import build
from stream_app.settings import Settings
from stream_app.state.shard import Shard
from stream_app.state.table import Table
from stream_app.transport.partitioning import partitions_of
from tests.system.kafka_io import Record, create_topics, end_offsets, produce, read_all
from topics import wire
from topics.events import Purchase, Trade
from topics.spans import Spans

__all__ = ["PURCHASES", "Desk", "counts", "environment", "purchases", "tables", "trades"]

PARTITIONS = 4
SYMBOLS, SECONDS, TRADES = 16, 300, 6_000
PURCHASES, HOURS = 16_000, 60
START = 1_699_999_200.0  # a full hour


def environment(bootstrap: str, name: str, **more: str) -> dict[str, str]:
    """Settings of the application: short bars, batches of few rows, and a backlog that lasts some seconds."""
    return {
        "TSREC_BOOTSTRAP": bootstrap, "TSREC_GROUP": name, "TSREC_TOPIC_PREFIX": f"{name}-", "TSREC_WEB_PORT": "0",
        "TSREC_SESSION_TIMEOUT_S": "5", "TSREC_CHECKPOINT_INTERVAL_S": "0.3", "TSREC_MARKET__BAR_S": "2",
        "TSREC_MARKET__REFIT_PROCESSES": "0", "TSREC_MARKET__WINDOW_BARS": "100", "TSREC_MARKET__ALARMS_PER_DAY": "50",
        "TSREC_SURVEILLANCE__VELOCITY_LIMIT": "20", "TSREC_LADDER__BUDGET_MS": "60000",
        "TSREC_BATCH_BYTES": "65536", "TSREC_FETCH_BYTES": "16384", "TSREC_FETCH_PACE_MS": "150",
        "TSREC_TRADES__LATENESS_S": "1e9", **more,
    }  # fmt: skip


def trades() -> list[Trade]:
    """Random walks of 16 symbols, some of them jumping, traded by 300 accounts, one of which never rests."""
    rng = np.random.default_rng(11)
    ts = START + np.sort(rng.uniform(0, SECONDS, TRADES)).round(3)
    symbol = rng.integers(0, SYMBOLS, TRADES)
    steps = rng.normal(0, 2e-4, TRADES) + np.where(rng.uniform(size=TRADES) < 1e-3, 0.02, 0.0)
    log_price = np.zeros(SYMBOLS)
    size = rng.lognormal(0, 1, TRADES).round(3) + 0.001
    account = np.where(rng.uniform(size=TRADES) < 0.02, 0, rng.integers(0, 300, TRADES))
    sides = rng.choice(["buy", "sell"], TRADES).tolist()
    out = []
    for i in range(TRADES):
        log_price[symbol[i]] += steps[i]
        price = round(100.0 * float(np.exp(log_price[symbol[i]])), 6)
        out.append(Trade(f"SYM-{symbol[i]}", price, float(size[i]), float(ts[i]), f"acc-{account[i]}", sides[i]))
    return out


def purchases() -> list[Purchase]:
    """Users who buy over sixty hours, popular items more often."""
    rng = np.random.default_rng(12)
    ts = START + np.sort(rng.uniform(0, HOURS * 3600, PURCHASES)).round(3)
    users = rng.integers(0, 2000, PURCHASES)
    items = np.minimum(rng.geometric(0.02, PURCHASES), 400)
    # As long as to be read no faster than the trades.
    order = "o" * 200
    return [
        Purchase(f"u{u}", f"i{i}", float(t), order_id=order)
        for u, i, t in zip(users.tolist(), items.tolist(), ts.tolist(), strict=True)
    ]


def counts(bought: list[Purchase]) -> dict[tuple[str, int], int]:
    """(item, window) -> purchases in it, window by window; the windows that are still open at the end of a partition
    are left out."""
    found: dict[tuple[str, int], int] = defaultdict(int)
    keys = Spans.of([one.user_id.encode() for one in bought])
    places = partitions_of(keys, PARTITIONS)
    last = {p: max(one.ts for one, q in zip(bought, places, strict=True) if q == p) // 3600 for p in range(PARTITIONS)}
    for one, place in zip(bought, places.tolist(), strict=True):
        if one.ts // 3600 < last[place]:
            found[one.item_id, int(one.ts // 3600)] += 1
    return dict(found)


def tables(env: dict[str, str]) -> dict[str, Table]:
    """The tables of an application with these settings, empty."""
    with mock.patch.dict(os.environ, env):
        app = build(Settings()).processor
    return {table.name: table for table in app.columnar_tables}


@dataclass
class Desk:
    """What one application has on the broker."""

    bootstrap: str
    name: str
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.env = environment(self.bootstrap, self.name)

    async def fill(self) -> None:
        """Write the backlog."""
        await create_topics(self.bootstrap, f"{self.name}-trades", f"{self.name}-purchases", partitions=PARTITIONS)
        traded, bought = trades(), purchases()
        await produce(
            self.bootstrap, f"{self.name}-trades",
            [Record(0, t.symbol.encode(), v) for t, v in zip(traded, wire.encode(traded), strict=True)],
        )  # fmt: skip
        keys = Spans.of([one.user_id.encode() for one in bought])
        places = partitions_of(keys, PARTITIONS).tolist()
        await produce(
            self.bootstrap, f"{self.name}-purchases",
            [Record(p, k, v) for p, k, v in zip(places, keys.tolist(), wire.encode(bought), strict=True)],
        )  # fmt: skip

    async def done(self, topic: str) -> int:
        """Records in an output."""
        return sum((await end_offsets(self.bootstrap, f"{self.name}-{topic}", "read_uncommitted")).values())

    async def settled(self, timeout_s: float = 60.0) -> None:
        """Until everything in every input has been processed and committed, twice in a row: agents feed each other."""
        inputs = ("trades", "purchases", "trades-by-account", "symbol-bars", "item-counts")
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            deadline, calm, before = time.monotonic() + timeout_s, 0, None
            while calm < 2:
                assert time.monotonic() < deadline, "not everything was processed"
                await asyncio.sleep(0.4)
                offsets = {tp: one.offset for tp, one in (await admin.list_consumer_group_offsets(self.name)).items()}
                ends = {
                    TopicPartition(f"{self.name}-{topic}", p): end
                    for topic in inputs
                    for p, end in (await end_offsets(self.bootstrap, f"{self.name}-{topic}")).items()
                    if end
                }
                is_calm = all(offsets.get(tp, -1) == end for tp, end in ends.items()) and before in (None, ends)
                calm, before = (calm + 1 if is_calm else 0), ends
        finally:
            await admin.close()

    async def outputs(self, topic: str) -> list[dict[str, Any]]:
        """Everything published to an output."""
        return [
            msgspec.json.decode(record.value or b"null")
            for record in await read_all(self.bootstrap, f"{self.name}-{topic}")
        ]

    async def state(self, table: Table) -> dict[tuple[int, bytes], np.void]:
        """(partition, key) -> row, as the changelog has them in the end."""
        shards: dict[int, Shard] = {p: Shard(table.layout, table.name, p) for p in range(PARTITIONS)}
        records = await read_all(self.bootstrap, table.changelog_topic_name)
        for p, shard in shards.items():
            mine = [record for record in records if record.partition == p]
            shard.apply(Spans.of([r.key for r in mine]), Spans.of([r.value for r in mine]))
        out = {}
        for p, shard in shards.items():
            rows = shard.live_rows()
            for key, row in zip(shard.index.keys(rows).tolist(), rows.tolist(), strict=True):
                out[p, key or b""] = shard._rows[row].copy()
        return out

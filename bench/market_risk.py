"""Market risk: trades a second through the agents, per stage and as a whole; JSON lines.

    python bench/market_risk.py                     # the handler alone, real and synthetic trades
    python bench/market_risk.py --kafka             # through a worker and an Apache Kafka of its own
    python bench/market_risk.py --kafka --copies 1 --bar-s 60 --show        # what the person on duty reads

The real trades are those of the demo (Binance, six symbols, eleven minutes), replicated in time; the synthetic ones
have `--symbols` symbols. Times of the handler are CPU seconds of the process, since the machine may be busy.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from stream_app.batch import Batch  # noqa: E402
from tests.stream_app.agents.desk import Desk, record_batch  # noqa: E402
from tests.system.brokers import borrow_kafka  # noqa: E402
from tests.system.kafka_io import Record, create_topics, end_offsets, produce, read_all  # noqa: E402
from tests.system.workers import WorkerProcess, wait_until  # noqa: E402
from topics.columns import encode_columns  # noqa: E402
from topics.events import Trade  # noqa: E402
from topics.spans import Spans  # noqa: E402

TRADES = ROOT / "stream_app" / "demo" / "data" / "trades.parquet"


def real(copies: int) -> tuple[Spans, list[bytes]]:
    """The demo's trades, `copies` times one after another: keys and JSON."""
    table = pq.read_table(TRADES)
    ts = np.asarray(table["ts_ms"], np.float64) / 1e3
    span = ts.max() - ts.min() + 1.0
    n = len(ts)
    symbols = [str(s).encode() for s in table["symbol"].to_pylist()] * copies
    side = np.array([0 if s == "buy" else 1 for s in table["side"].to_pylist()], np.int8)
    keys = Spans.of(symbols)
    values = encode_columns(
        Trade, symbol=keys, price=np.tile(np.asarray(table["price"], np.float64), copies),
        quantity=np.tile(np.asarray(table["quantity"], np.float64), copies),
        ts=np.tile(ts, copies) + np.repeat(np.arange(copies), n) * span, side=np.tile(side, copies),
    )  # fmt: skip
    return keys, [value or b"" for value in values.tolist()]


def synthetic(n: int, symbols: int, accounts: int, rate: float) -> tuple[Spans, list[bytes]]:
    """Random walks: `rate` trades a second of event time over all symbols."""
    rng = np.random.default_rng(1)
    which = rng.integers(0, symbols, n)
    keys = Spans.of([b"SYM-%d" % k for k in which.tolist()])
    owners = Spans.of([b"acc-%d" % k for k in rng.integers(0, accounts, n).tolist()]) if accounts else None
    values = encode_columns(
        Trade, symbol=keys, price=100.0 * np.exp(np.cumsum(rng.normal(0, 1e-6, n))),
        quantity=rng.lognormal(0, 1, n).round(4) + 1e-4, ts=1.7e9 + np.arange(n) / rate,
        side=rng.integers(0, 2, n).astype(np.int8), account_id=owners,
    )  # fmt: skip
    return keys, [value or b"" for value in values.tolist()]


async def through_handlers(values: list[bytes], size: int, bar_s: float, profile: bool) -> dict[str, object]:
    """CPU seconds of decoding and of each agent; a checkpoint each 100,000 trades, as the engine would."""
    # Estimates are made by a process of their own, as in a worker: its CPU time is not in these figures.
    desk = Desk(market={"bar_s": bar_s, "refit_processes": 1})
    await desk.app.rehearse()
    topic = desk.topics["trades"]
    spent: dict[str, float] = {"decode": 0.0, "MarketRisk": 0.0, "Rekey": 0.0, "AccountRisk": 0.0, "checkpoint": 0.0}
    profiler = cProfile.Profile()
    sent = dict.fromkeys(("forecasts", "risk-alerts"), 0)
    internal = 0
    for k in range(0, len(values), size):
        records = record_batch("trades", 0, values[k : k + size], k)
        began = time.process_time()
        columns = topic.decode(records.values)
        spent["decode"] += time.process_time() - began
        for name, handler in desk.app._handlers["trades"]:
            batch = Batch(topic, records, columns)
            shards = desk.app.shards(0)
            began = time.process_time()
            for shard in shards:
                shard.savepoint()
            if profile and name == "MarketRisk":
                profiler.enable()
            await handler(batch)
            profiler.disable()
            for shard in shards:
                shard.release()
            spent[name] += time.process_time() - began
            for out in batch.outgoing:
                if out.topic in sent:
                    sent[out.topic] += len(out.values)
                    continue
                if out.topic != "trades-by-account":  # bars for the partitions of accounts are not measured here
                    continue
                records_by = record_batch(
                    out.topic, 0, [v or b"" for v in out.values.tolist()], internal, headers=out.headers
                )
                internal += len(out.values)
                by_account = desk.topics[out.topic]
                ((_, accounts),) = desk.app._handlers[out.topic]
                decoded = by_account.decode(records_by.values)
                began = time.process_time()
                await accounts(Batch(by_account, records_by, decoded))
                spent["AccountRisk"] += time.process_time() - began
        if k // 100_000 != (k + size) // 100_000:
            began = time.process_time()
            for prepare in desk.app.checkpoint.before_cut:
                prepare()
            for table in desk.app.columnar_tables:
                for shard in table.dirty_shards():
                    shard.drain_dirty()
            spent["checkpoint"] += time.process_time() - began
    if profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(25)
    desk.close()
    market = spent["decode"] + spent["MarketRisk"] + spent["checkpoint"]
    return {
        "trades": len(values), "batch": size, "bar_s": bar_s, **sent,
        "trades_per_cpu_s": round(len(values) / market),
        "ns_per_trade": {name: round(seconds / len(values) * 1e9) for name, seconds in spent.items()},
    }  # fmt: skip


async def through_kafka(values: list[bytes], keys: Spans, bar_s: float, show: bool) -> dict[str, object]:
    """A worker of the whole application against its own broker: from the first fetch to the last commit."""
    folder = Path(tempfile.mkdtemp(prefix="market-risk-"))
    with ExitStack() as stack:
        broker = borrow_kafka(stack, folder, sys.exit)
        env = {
            "TSREC_BOOTSTRAP": broker.bootstrap, "TSREC_GROUP": "bench", "TSREC_WEB_PORT": "0",
            "TSREC_MARKET__BAR_S": str(bar_s), "TSREC_LOG_LEVEL": "INFO",
        }  # fmt: skip
        worker = WorkerProcess(folder, "worker", "-m", "stream_app.cli", "worker", **env)
        stack.callback(worker.close)
        await create_topics(broker.bootstrap, "trades")
        from stream_app.transport.partitioning import partitions_of

        places = partitions_of(keys, 4).tolist()
        names = keys.tolist()
        await produce(
            broker.bootstrap, "trades",
            (Record(p, key, value) for p, key, value in zip(places, names, values, strict=True)),
        )  # fmt: skip
        worker.start()
        worker.wait_for_log("worker ready", 240)
        began = time.perf_counter()
        cpu = worker.cpu_s()
        await asyncio.to_thread(
            wait_until, lambda: _committed(broker.bootstrap, "bench", "trades") >= len(values), 600, "all committed"
        )
        took, used = time.perf_counter() - began, worker.cpu_s() - cpu
        for record in await read_all(broker.bootstrap, "risk-alerts") if show else ():
            alert = json.loads(record.value or b"{}")
            print(", ".join(str(alert[name]) for name in ("kind", "subject", "severity", "status", "message")))
        sent = {t: sum((await end_offsets(broker.bootstrap, t)).values()) for t in ("forecasts", "risk-alerts")}
        return {
            "trades": len(values), "bar_s": bar_s, **sent, "trades_per_s": round(len(values) / took),
            "trades_per_cpu_s": round(len(values) / used), "seconds": round(took, 2), "load": os.getloadavg()[0],
        }  # fmt: skip


def _committed(bootstrap: str, group: str, topic: str) -> int:
    from aiokafka.admin import AIOKafkaAdminClient

    async def ask() -> int:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(group)
            return sum(meta.offset for tp, meta in offsets.items() if tp.topic == topic and meta.offset > 0)
        finally:
            await admin.close()

    return asyncio.run(ask())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka", action="store_true", help="through a broker and a worker")
    parser.add_argument("--copies", type=int, default=5, help="of the real trades")
    parser.add_argument("--trades", type=int, default=400_000, help="synthetic ones")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--rate", type=float, default=2_000.0, help="synthetic trades a second of event time")
    parser.add_argument("--bar-s", type=float, default=10.0)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--show", action="store_true", help="print the alerts, as the person on duty reads them")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    keys, values = real(args.copies)
    if args.kafka:
        print(
            json.dumps(
                {
                    "bench": "market_risk",
                    "run": "kafka, real",
                    **asyncio.run(through_kafka(values, keys, args.bar_s, args.show)),
                }
            )
        )
        return
    runs = (
        ("handler, real", values),
        ("handler, synthetic", synthetic(args.trades, args.symbols, 0, args.rate)[1]),
        ("handler, synthetic with accounts", synthetic(args.trades // 2, args.symbols, 20_000, args.rate)[1]),
    )
    for name, trades in runs:
        result = asyncio.run(through_handlers(trades, args.batch, args.bar_s, args.profile))
        print(json.dumps({"bench": "market_risk", "run": name, **result}), flush=True)


if __name__ == "__main__":
    main()

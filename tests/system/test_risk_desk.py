"""The risk desk on a real broker: trades in, alerts with evidence out, a person's answer back in; through kill -9."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_app.transport.partitioning import partitions_of
from tests.system.brokers import Kafka
from tests.system.kafka_io import Record, create_topics, produce, read_all
from tests.system.workers import WorkerProcess
from topics import wire
from topics.decisions import RiskAlert
from topics.events import AlertAction, Trade
from topics.spans import Spans

pytestmark = [pytest.mark.system, pytest.mark.kafka, pytest.mark.timeout(240)]

START = 1_700_000_000.0


def trades() -> list[Trade]:
    """A calm market of honest accounts, one washer, and a jump of two per cent at the end."""
    rng = np.random.default_rng(1)
    ts = START + np.sort(rng.uniform(0, 600, 3000))
    sizes = rng.lognormal(0, 1, len(ts)).round(3) + 0.001
    found = [
        Trade("SYM-0", 100.0 * (1.02 if t > START + 590 else 1.0), float(q), float(t), f"acc-{rng.integers(300)}", s)
        for t, q, s in zip(ts, sizes, rng.choice(["buy", "sell"], len(ts)).tolist(), strict=True)
    ]
    found += [
        Trade("SYM-0", 100.0, 7.313, START + 300 + 10 * k + 0.4 * (side == "sell"), "washer", side)
        for k in range(6)
        for side in ("buy", "sell")
    ]
    return sorted(found, key=lambda trade: trade.ts)


def keyed(records: list[Trade]) -> list[Record]:
    keys = Spans.of([record.symbol.encode() for record in records])
    places = partitions_of(keys, 4).tolist()
    return [Record(p, k, v) for p, k, v in zip(places, keys.tolist(), wire.encode(records), strict=True)]


async def alerts_of(bootstrap: str, topic: str) -> list[RiskAlert]:
    return [msgspec.json.decode(r.value or b"", type=RiskAlert) for r in await read_all(bootstrap, topic)]


async def until(bootstrap: str, topic: str, done: object, timeout_s: float = 60.0) -> list[RiskAlert]:
    """The alerts, once `done(alerts)`."""
    assert callable(done)
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        found = await alerts_of(bootstrap, topic)
        if done(found):
            return found
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"alerts so far: {[(a.kind, a.subject, a.status) for a in found]}")
        await asyncio.sleep(0.5)


async def test_alerts_come_with_evidence_survive_a_kill_and_take_answers(
    kafka: Kafka, tmp_path: Path, name: str
) -> None:
    prefix = f"{name}-risk-"
    env = {
        "TSREC_BOOTSTRAP": kafka.bootstrap, "TSREC_GROUP": f"{name}-risk", "TSREC_TOPIC_PREFIX": prefix,
        "TSREC_WEB_PORT": "0", "TSREC_SESSION_TIMEOUT_S": "5", "TSREC_MARKET__BAR_S": "2",
        "TSREC_GUARANTEE": "exactly_once",
    }  # fmt: skip
    worker = WorkerProcess(tmp_path, "desk", "-m", "stream_app.cli", "worker", **env)
    records = keyed(trades())
    await create_topics(kafka.bootstrap, f"{prefix}trades")
    try:
        worker.start()
        worker.wait_for_log("worker ready", 120)
        await produce(kafka.bootstrap, f"{prefix}trades", records[:2000])
        topic = f"{prefix}risk-alerts"
        found = await until(kafka.bootstrap, topic, lambda a: any(x.subject == "washer" for x in a))
        worker.kill()
        worker.start()
        worker.wait_for_log("worker ready", 120, times=2)
        await produce(kafka.bootstrap, f"{prefix}trades", records[2000:])
        found = await until(kafka.bootstrap, topic, lambda a: any(x.kind == "price_spike" for x in a))
        washing = [a for a in found if a.kind == "wash_trade"]
        assert {a.subject for a in washing} == {"washer"}
        assert len({a.alert_id for a in washing}) == 1
        assert len({(a.alert_id, a.severity, a.status) for a in found}) == len(found), "an alert was sent twice"
        sources = {t["source"] for t in washing[-1].evidence["trades"]}
        kept = {f"{r.partition}:{r.offset}" for r in await read_all(kafka.bootstrap, f"{prefix}trades-by-account")}
        assert {source.split(":", 1)[1] for source in sources} <= kept
        answer = AlertAction(washing[0].alert_id, "acknowledge", START + 700, by="eve")
        await produce(
            kafka.bootstrap, f"{prefix}alert-actions", [Record(0, answer.alert_id.encode(), wire.encode([answer])[0])]
        )
        await until(kafka.bootstrap, topic, lambda a: any(x.evidence.get("acknowledged_by") == "eve" for x in a))
        assert await read_all(kafka.bootstrap, f"{prefix}dead-letters") == []
        assert worker.terminate() == 0
    finally:
        worker.close()

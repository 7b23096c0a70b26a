"""A backlog of card payments, two workers, one killed in the middle of it: every payment is scored, and as offline."""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_app.transport.partitioning import partitions_of
from tests.stream_app.agents.test_card_fraud import folder, payments, records
from tests.system.brokers import Kafka
from tests.system.kafka_io import Record, create_topics, end_offsets, produce, read_all
from tests.system.workers import WorkerProcess
from topics import wire
from topics.decisions import FraudScore, decision_id
from topics.spans import Spans
from tsrec_models.risk.fraud_features import FraudFeatures
from tsrec_models.risk.fraud_model import FraudModel

__all__ = ["folder"]  # the trained model

pytestmark = [pytest.mark.system, pytest.mark.kafka, pytest.mark.timeout(240)]

DAYS, PER_DAY = 20, 2000
PAYMENTS = DAYS * PER_DAY


def backlog(data: dict[str, np.ndarray]) -> list[Record]:
    """Payments in the partitions of their cards, written an hour ago."""
    paid = records(data, slice(0, None))
    keys = Spans.of([one.account_id.encode() for one in paid])
    places = partitions_of(keys, 4).tolist()
    written_ms = round(time.time() * 1000) - 3_600_000
    rows = zip(places, keys.tolist(), wire.encode(paid), strict=True)
    return [Record(place, key, value, timestamp_ms=written_ms) for place, key, value in rows]


async def scored(bootstrap: str, topic: str) -> int:
    return sum((await end_offsets(bootstrap, topic)).values())


@pytest.mark.parametrize(
    ("guarantee", "dies_after"),
    [
        ("at_least_once", "merchants"),
        ("at_least_once", "payments-held"),
        ("at_least_once", "payment-clocks"),
        ("exactly_once", "nothing"),
    ],
)
async def test_a_worker_killed_in_a_backlog_changes_no_score(
    kafka: Kafka, tmp_path: Path, name: str, folder: Path, guarantee: str, dies_after: str
) -> None:
    """Without transactions it is killed in the middle of a checkpoint: when the broker has the rows of one table."""
    data = payments(DAYS, 41, n_cards=600, n_merchants=200, per_day=PER_DAY)
    env = {
        "TSREC_BOOTSTRAP": kafka.bootstrap, "TSREC_GROUP": name, "TSREC_TOPIC_PREFIX": f"{name}-",
        "TSREC_WEB_PORT": "0", "TSREC_SESSION_TIMEOUT_S": "5", "TSREC_CHECKPOINT_INTERVAL_S": "0.3",
        "TSREC_FRAUD__MODEL": str(folder), "TSREC_GUARANTEE": guarantee,
        # Slow enough that the backlog lasts longer than one worker is ready before the other.
        "TSREC_FETCH_BYTES": "262144", "TSREC_FETCH_PACE_MS": "500",
        # Partitions of a backlog are read at different speeds: nothing of it is late.
        "TSREC_CARD_TRANSACTIONS__LATENESS_S": "1e9",
    }  # fmt: skip
    now = tmp_path / "now"
    first = WorkerProcess(
        tmp_path, "worker0", "-m", "tests.system.dies_within", "worker",
        DIES_WHEN=str(now), DIES_AFTER=dies_after, **env,
    )  # fmt: skip
    group = [first, WorkerProcess(tmp_path, "worker1", "-m", "stream_app.cli", "worker", **env)]
    topic = f"{name}-fraud-scores"
    await create_topics(kafka.bootstrap, f"{name}-card-transactions")
    try:
        await produce(kafka.bootstrap, f"{name}-card-transactions", backlog(data))
        for worker in group:
            worker.start()
        for worker in group:
            worker.wait_for_log("worker ready", 120)
        deadline = time.monotonic() + 60
        while (before := await scored(kafka.bootstrap, topic)) < PAYMENTS // 20:
            assert time.monotonic() < deadline, group[0].log()[-3000:]
        now.touch()
        if guarantee == "exactly_once":
            first.kill()
        else:
            assert first.wait(20) == -signal.SIGKILL
        assert before < 0.9 * PAYMENTS, "the backlog was over before the kill"
        deadline, seen = time.monotonic() + 90, dict[str, list[FraudScore]]()
        while len(seen) < PAYMENTS and time.monotonic() < deadline:
            if await scored(kafka.bootstrap, topic) < PAYMENTS:
                continue
            seen = defaultdict(list)
            for record in await read_all(kafka.bootstrap, topic):
                score = msgspec.json.decode(record.value or b"", type=FraudScore)
                seen[score.transaction_id or ""].append(score)
        assert group[1].terminate() == 0, group[1].log()[-3000:]
    finally:
        for worker in group:
            worker.close()
    assert len(seen) == PAYMENTS
    x = FraudFeatures().update(data["card"], data["merchant"], data["ts"], data["amount"])
    expected = FraudModel.load(folder).predict(x)
    for i in (0, -1):  # the first and the last time that a payment was scored
        got = np.array([seen[f"t-{k}"][i].probability for k in range(PAYMENTS)])
        np.testing.assert_allclose(got, expected, rtol=1e-9)
    assert all(one.decision_id == decision_id(one.source) for scores in seen.values() for one in scores)
    if guarantee == "exactly_once":
        assert all(len(scores) == 1 for scores in seen.values())

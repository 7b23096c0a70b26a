"""From a file to answers in the stream: train, save, start a worker with the folders, ask over the embedded broker."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_app.transport.partitioning import partitions_of
from tests.system.brokers import Tansu
from tests.system.kafka_io import Record, create_topics, produce, read_all
from tests.system.workers import ROOT, WorkerProcess
from topics import wire
from topics.decisions import CreditScore, FraudScore, decision_id
from topics.events import CardTransaction, CreditApplication
from topics.spans import Spans
from tsrec_models.risk.fraud_features import FraudFeatures
from tsrec_models.risk.fraud_model import FraudModel

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

START = 1_700_006_400.0


def credit_file(path: Path) -> Path:
    """Applicants who default the more often the longer the loan, and the less they earn."""
    rng = np.random.default_rng(1)
    months, income = rng.integers(6, 60, 300), rng.lognormal(8, 0.4, 300).round()
    job = rng.choice(["clerk", "miner", "cook"], 300)
    odds = -1.0 + 0.08 * (months - 30) - 2.0 * (np.log(income) - 8)
    bad = rng.random(300) < 1 / (1 + np.exp(-odds))
    rows = zip(months.tolist(), income.tolist(), job.tolist(), bad.astype(int).tolist(), strict=True)
    path.write_text("months,income,job,default\n" + "\n".join(",".join(map(str, row)) for row in rows))
    return path


def fraud_file(path: Path) -> tuple[Path, list[CardTransaction]]:
    """Four weeks of payments; a fraud is ten times what the card usually pays. And the payments of the days after."""
    rng = np.random.default_rng(2)
    n = 34 * 150
    ts = START + np.sort(rng.uniform(0, 34 * 86_400.0, n))
    card, shop = rng.integers(0, 40, n), rng.integers(0, 20, n)
    is_fraud = rng.random(n) < 0.03
    usual = rng.lognormal(3, 0.5, 40)[card]
    amount = (usual * rng.lognormal(0, 0.2, n) * np.where(is_fraud, 10.0, 1.0)).round(2)
    rows = list(zip(ts.tolist(), card.tolist(), shop.tolist(), amount.tolist(), is_fraud.tolist(), strict=True))
    past = [row for row in rows if row[0] < START + 28 * 86_400.0]
    lines = "\n".join(f"{t},card-{c},shop-{s},{a},{int(f)}" for t, c, s, a, f in past)
    path.write_text("ts,account_id,merchant_id,amount,label\n" + lines)
    return path, [CardTransaction(f"card-{c}", f"shop-{s}", t, a, "fraud" if f else "good") for t, c, s, a, f in rows]


def tsrec(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "stream_app.cli", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def keyed(records: list[Any]) -> list[Record]:
    keys = Spans.of([record.account_id.encode() for record in records])
    places = partitions_of(keys, 4).tolist()
    return [Record(p, k, v) for p, k, v in zip(places, keys.tolist(), wire.encode(records), strict=True)]


def in_order(scores: list[FraudScore]) -> list[FraudScore]:
    return sorted(scores, key=lambda score: score.ts)


def offline(model: Path, paid: list[CardTransaction]) -> Any:
    """Probabilities of payments in order of time, by the features computed in one place."""
    card, shop = (
        np.array([int(getattr(one, field).split("-")[1]) for one in paid]) for field in ("account_id", "merchant_id")
    )
    ts, amount = np.array([one.ts for one in paid]), np.array([one.amount for one in paid])
    return FraudModel.load(model).predict(FraudFeatures().update(card, shop, ts, amount))


async def answers(bootstrap: str, topic: str, type_: Any, wanted: int) -> list[Any]:
    """What is in a topic, once there are `wanted`."""
    for _ in range(200):
        found = await read_all(bootstrap, topic, "read_uncommitted")
        if len(found) >= wanted:
            return [msgspec.json.decode(record.value or b"", type=type_) for record in found]
        await asyncio.sleep(0.3)
    raise TimeoutError(f"{len(found)} of {wanted} in {topic}")


async def test_from_a_file_to_scores_on_the_topic(tansu: Tansu, tmp_path: Path, name: str) -> None:
    credit, fraud = tmp_path / "credit-model", tmp_path / "fraud-model"
    said = tsrec("evaluate", "credit", credit_file(tmp_path / "loans.csv"), "--label", "default", "--folds", 2,
                 "--save", credit)  # fmt: skip
    assert f"TSREC_CREDIT__MODEL={credit}" in said
    file, paid = fraud_file(tmp_path / "payments.csv")
    said = tsrec("evaluate", "fraud", file, "--last", 1, "--save", fraud)
    assert f"TSREC_FRAUD__MODEL={fraud}" in said
    env = {
        "TSREC_BOOTSTRAP": tansu.bootstrap, "TSREC_GROUP": name, "TSREC_TOPIC_PREFIX": f"{name}-",
        "TSREC_WEB_PORT": "0", "TSREC_SESSION_TIMEOUT_S": "6", "TSREC_CREDIT__MODEL": str(credit),
        "TSREC_FRAUD__MODEL": str(fraud), "TSREC_CARD_TRANSACTIONS__LATENESS_S": "1e9",
    }  # fmt: skip
    await create_topics(tansu.bootstrap, f"{name}-credit-applications", f"{name}-card-transactions")
    applications = [
        CreditApplication("long", 1.7e9, {"months": 59, "income": 1200.0, "job": "miner"}),
        CreditApplication("short", 1.7e9, {"months": 6, "income": 6000.0, "job": "cook"}),
        CreditApplication("unknown", 1.7e9, {"months": 24, "income": None, "job": "never seen"}),
    ]
    # A backlog in four partitions, which are read at different speeds.
    await produce(tansu.bootstrap, f"{name}-card-transactions", keyed(paid))
    worker = WorkerProcess(tmp_path, "worker", "-m", "stream_app.cli", "worker", **env)
    try:
        worker.start()
        worker.wait_for_log("worker ready", 120)
        await produce(tansu.bootstrap, f"{name}-credit-applications", keyed(applications))
        scores = {s.account_id: s for s in await answers(tansu.bootstrap, f"{name}-credit-scores", CreditScore, 3)}
        assert scores["long"].probability > 0.5 > scores["short"].probability
        assert (scores["long"].decision, scores["short"].decision) == ("decline", "approve")
        assert scores["long"].score < scores["short"].score
        assert any(reason.startswith("months 59") and reason.endswith("points") for reason in scores["long"].reasons)
        assert scores["unknown"].reasons
        assert scores["long"].decision_id == decision_id(scores["long"].source)
        judged = await answers(tansu.bootstrap, f"{name}-fraud-scores", FraudScore, len(paid))
        assert len(judged) == len(paid)
        np.testing.assert_allclose([score.probability for score in in_order(judged)], offline(fraud, paid), rtol=1e-9)
        late = [score for score in judged if score.ts >= START + 29 * 86_400.0]
        by_kind = {k: np.mean([s.probability for s in late if s.transaction_id == k]) for k in ("fraud", "good")}
        assert by_kind["fraud"] > 0.5
        assert by_kind["good"] < 0.05
        assert {s.is_warning for s in late if s.transaction_id == "fraud"} != {False}
        assert worker.terminate() == 0
        assert "Traceback" not in worker.log()
    finally:
        worker.close()

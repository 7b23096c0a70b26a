"""Training from topics: read to the present end, in the dialect, in bounded memory."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path

import numpy as np
import pytest

from stream_app.errors import UsageError
from stream_app.settings import Settings
from stream_app.topic_log import read_topics
from tests.stream_app.commands.conftest import Run
from tests.system.kafka_io import Record, create_topics, produce
from topics.catalog import Catalog
from tsrec_models.artifacts import load_artifact


def records(n: int, users: int, seed: int) -> list[Record]:
    draw = np.random.default_rng(seed)
    at: dict[int, int] = {}
    out = []
    for i in range(n):
        user = int(draw.integers(users))
        at[user] = (at.get(user, int(draw.integers(12))) + 1) % 12
        value = json.dumps({"user_id": f"u{user}", "item_id": f"sku{at[user]}", "ts": 1.7e9 + i}).encode()
        out.append(Record(user % 4, b"u%d" % user, value))
    return out


@pytest.fixture
def prefix(broker: str) -> str:
    """Topics with clicks, some of them bad, and purchases."""
    prefix = f"train-{uuid.uuid4().hex[:6]}-"
    catalog = Catalog(prefix)

    async def fill() -> None:
        await create_topics(broker, catalog["clicks"].kafka_name, catalog["purchases"].kafka_name)
        bad = [Record(1, b"u", b'{"user_id":"u"}'), Record(2, b"u", b"nothing")]
        await produce(broker, catalog["clicks"].kafka_name, records(1200, 60, 1) + bad)
        await produce(broker, catalog["purchases"].kafka_name, records(300, 80, 2))

    asyncio.run(fill())
    return prefix


def settings(broker: str, prefix: str) -> Settings:
    return Settings(_env_file=None, bootstrap=broker, topic_prefix=prefix)  # type: ignore[call-arg]


def test_the_log_is_what_was_sent(broker: str, prefix: str) -> None:
    read = asyncio.run(read_topics(broker, settings(broker, prefix), Catalog(prefix), ("clicks", "purchases"), 10**6))
    assert (len(read.log), read.bad, read.older) == (1500, 2, 0)
    assert read.log.n_users == 80
    sent: dict[str, list[tuple[float, str]]] = {}
    for record in records(1200, 60, 1) + records(300, 80, 2):
        event = json.loads(record.value or b"")
        sent.setdefault(event["user_id"], []).append((event["ts"], event["item_id"]))
    for user, name in enumerate(read.log.user_ids.tolist()):
        history = [str(read.log.item_ids[i]) for i in read.log.history(user)]
        times = read.log.times[read.log.indptr[user] : read.log.indptr[user + 1]].tolist()
        assert times == sorted(stamp for stamp, _ in sent[name])
        assert sorted(zip(times, history, strict=True)) == sorted(sent[name])


def test_of_too_many_events_the_latest_are_kept(broker: str, prefix: str) -> None:
    read = asyncio.run(read_topics(broker, settings(broker, prefix), Catalog(prefix), ("clicks",), 200))
    assert (len(read.log), read.older) == (200, 1000)
    assert sorted(read.log.times.tolist()) == [1.7e9 + i for i in range(1000, 1200)]


def test_a_model_is_trained_from_topics(run: Run, broker: str, prefix: str, tmp_path: Path) -> None:
    out = tmp_path / "model"
    outcome = run(
        "train", "--from-topic", "clicks", "--from-topic", "purchases", "--bootstrap", broker, "--out", out, "--model",
        "gru", "--set", "width=8", "--set", "epochs=2", "--set", "hidden=8", TSREC_TOPIC_PREFIX=prefix,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "2 records do not fit the contract" in outcome.err
    assert json.loads(outcome.out.splitlines()[-1])["events"] == 1500
    assert set(load_artifact(out, device="cpu").item_ids) == {f"sku{i}" for i in range(12)}


def test_a_topic_that_says_nothing_of_items_is_refused(run: Run, broker: str, tmp_path: Path) -> None:
    given = ("--bootstrap", broker, "--out", tmp_path / "m")
    outcome = run("train", "--from-topic", "trades", *given)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "clicks and purchases do" in outcome.err
    assert "either a FILE or --from-topic" in run("train", *given).err
    with pytest.raises(UsageError, match="has no topic"):
        asyncio.run(read_topics(broker, settings(broker, "none-"), Catalog("none-"), ("clicks",), 10))

"""`tsrec replay-decision` and `tsrec explain`, from topics and from a log."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_app.app import build
from stream_app.settings import Settings
from tests.stream_app.agents.conftest import batch_of
from tests.stream_app.commands.conftest import Run
from tests.system.kafka_io import Record, create_topics, produce
from topics.audit import DecisionRecord
from topics.catalog import Catalog
from topics.events import Click


def decisions() -> tuple[list[bytes], list[bytes]]:
    """Published recommendations of an application, and their records."""
    app = build(Settings(_env_file=None, audit_share=1.0))  # type: ignore[call-arg]
    app.recommender.catalog_ready.set()
    draw = np.random.default_rng(0)
    clicks = [Click(f"u{draw.integers(9)}", f"i{draw.integers(40)}", 1e9 + i) for i in range(120)]
    topic = app.processor.batch_topics[app.catalog["clicks"].kafka_name]
    out: dict[str, list[bytes]] = {}

    async def answer() -> None:
        for first in range(0, 120, 20):  # what a batch teaches, the next answers with
            batch = batch_of(topic, list(clicks[first : first + 20]), offset=first)
            await app.recommender(batch)
            for entry in batch.outgoing:
                out.setdefault(entry.topic, []).extend(value or b"" for value in entry.values.tolist())

    asyncio.run(answer())
    return out["recommendations"], out["decision-records"]


Told = tuple[str, list[DecisionRecord]]


@pytest.fixture(scope="module")
def told(broker: str) -> Told:
    """A prefix under which both topics are filled, the last record tampered with."""
    prefix = f"audit-{uuid.uuid4().hex[:6]}-"
    catalog = Catalog(prefix)
    published, written = decisions()
    records = [msgspec.json.decode(value, type=DecisionRecord) for value in written]
    assert len(records[-1].rules) > 1
    tampered = msgspec.structs.replace(records[-1], rules=records[-1].rules[1:])
    written = [*written[:-1], msgspec.json.encode(tampered)]

    async def fill() -> None:
        names = [catalog[name].kafka_name for name in ("recommendations", "decision-records")]
        await create_topics(broker, *names)
        for name, values in zip(names, (published, written), strict=True):
            await produce(broker, name, [Record(i % 4, b"u", value) for i, value in enumerate(values)])

    asyncio.run(fill())
    return prefix, records


def test_a_decision_is_made_again_from_its_topics(run: Run, broker: str, told: Told) -> None:
    prefix, records = told
    wanted = records[100]
    outcome = run("replay-decision", wanted.decision_id, "--bootstrap", broker, "--json", TSREC_TOPIC_PREFIX=prefix)
    assert outcome.code == 0, outcome.err
    verdict = json.loads(outcome.out)
    assert verdict["same"]
    assert [item["item_id"] for item in verdict["items"]] == [shown.item_id for shown in wanted.items]
    assert any("the published list" in check for check in verdict["checks"])


def test_a_tampered_record_and_an_unknown_one_have_their_exit_codes(run: Run, broker: str, told: Told) -> None:
    prefix, records = told
    given = ("--bootstrap", broker)
    outcome = run("replay-decision", records[-1].decision_id, *given, TSREC_TOPIC_PREFIX=prefix)
    assert outcome.code == 1
    assert "NOT the same" in outcome.out
    outcome = run("replay-decision", "0" * 24, *given, TSREC_TOPIC_PREFIX=prefix)
    assert outcome.code == 2
    assert "no decision" in outcome.err


def test_reasons_of_a_decision_add_up_to_its_rules(run: Run, broker: str, told: Told) -> None:
    prefix, records = told
    wanted = records[100]
    outcome = run(
        "explain", wanted.decision_id, "--bootstrap", broker, "--json", "--most", "99", TSREC_TOPIC_PREFIX=prefix
    )
    assert outcome.code == 0, outcome.err
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert [line["item_id"] for line in lines] == [shown.item_id for shown in wanted.items]
    scores = {entry.item_id: entry.score for entry in wanted.rules}
    for line in lines:
        if line["because"]:
            total = sum(because["by_rules"] for because in line["because"])
            assert total == pytest.approx(line["rules_score"], rel=1e-5)
            assert line["rules_score"] == pytest.approx(scores[line["item_id"]], rel=1e-4)


def test_a_user_of_a_log_is_explained_without_a_broker(run: Run, tmp_path: Path) -> None:
    rows = [f"u{user},{kind}{i},{1000 * user + i}" for user in range(40) for kind in "ab"[user % 2] for i in range(3)]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["user_id,item_id,ts", *rows, "new,a0,90000"]))
    outcome = run("explain", "--user", "new", "--log", path, "-k", "2", "--json")
    assert outcome.code == 0, outcome.err
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert {line["item_id"] for line in lines} == {"a1", "a2"}
    assert all(line["because"][0]["item_id"] == "a0" for line in lines)
    assert "has no user" in run("explain", "--user", "nobody", "--log", path).err
    assert "either a decision's id" in run("explain").err

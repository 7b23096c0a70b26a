"""The application as deployed: `tsrec worker` on Apache Kafka, killed in the middle, watched through its pages."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stream_app.embedded import free_port
from stream_app.transport.partitioning import partitions_of
from tests.system.brokers import Kafka
from tests.system.kafka_io import Record, end_offsets, produce, read_all
from tests.system.workers import WorkerProcess, wait_until
from topics.spans import Spans

pytestmark = [pytest.mark.system, pytest.mark.kafka]

USERS, ITEMS, EVENTS = 200, 50, 6000


def clicks(n: int) -> list[Record]:
    draw = np.random.default_rng(5)
    users, items = draw.integers(0, USERS, n), draw.integers(0, ITEMS, n)
    keys = [b"u%d" % user for user in users.tolist()]
    places = partitions_of(Spans.of(keys), 4).tolist()
    begin = time.time() - n
    return [
        Record(place, key, b'{"user_id":"%b","item_id":"i%d","ts":%.3f}' % (key, item, begin + i))
        for i, (place, key, item) in enumerate(zip(places, keys, items.tolist(), strict=True))
    ]


def page(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (urllib.error.URLError, ConnectionError):
        return 0, ""


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
async def test_every_click_is_answered_though_the_worker_is_killed(
    kafka: Kafka, tmp_path: Path, name: str, guarantee: str
) -> None:
    port = free_port()
    settings = {
        "TSREC_BOOTSTRAP": kafka.bootstrap, "TSREC_TOPIC_PREFIX": f"{name}-", "TSREC_GROUP": name,
        "TSREC_GUARANTEE": guarantee, "TSREC_SESSION_TIMEOUT_S": "6", "TSREC_WEB_PORT": str(port),
        "TSREC_LADDER__BUDGET_MS": "60000", "TSREC_CHECKPOINT_INTERVAL_S": "0.3", "TSREC_LOG_LEVEL": "INFO",
    }  # fmt: skip

    def worker(i: int) -> WorkerProcess:
        return WorkerProcess(tmp_path, f"worker{i}", "-m", "stream_app.cli", "worker", **settings).start()

    answers = f"{name}-recommendations"
    events = clicks(EVENTS)
    first = worker(0)
    try:
        # Kernels may have to be compiled first.
        wait_until(lambda: page(port, "/readyz")[0] == 200, 200, f"readiness; the log:\n{first.log()[-3000:]}")
        await produce(kafka.bootstrap, f"{name}-clicks", events[: EVENTS // 2])
        deadline = time.monotonic() + 60
        while sum((await end_offsets(kafka.bootstrap, answers, "read_uncommitted")).values()) < EVENTS // 4:
            assert time.monotonic() < deadline, first.log()[-3000:]
        first.kill()
    finally:
        first.close()
    await produce(kafka.bootstrap, f"{name}-clicks", events[EVENTS // 2 :])
    second = worker(1)
    try:
        deadline, seen = time.monotonic() + 120, set[str]()
        while len(seen) < EVENTS and time.monotonic() < deadline:
            seen = {json.loads(r.value or b"")["source"] for r in await read_all(kafka.bootstrap, answers)}
        _, metrics = page(port, "/metrics")
        assert f'tsrec_events_total{{topic="{name}-clicks"}}' in metrics
        assert "tsrec_event_to_decision_seconds_bucket" in metrics
        assert page(port, "/healthz")[0] == 200
        assert second.terminate() == 0, second.log()[-3000:]
    finally:
        second.close()
    decisions = [json.loads(record.value or b"") for record in await read_all(kafka.bootstrap, answers)]
    sources = Counter(decision["source"] for decision in decisions)
    assert len(sources) == EVENTS
    if guarantee == "exactly_once":
        assert set(sources.values()) == {1}
    ids = {decision["source"]: decision["decision_id"] for decision in decisions}
    assert len(set(ids.values())) == EVENTS
    assert all(ids[decision["source"]] == decision["decision_id"] for decision in decisions)
    assert sum((await end_offsets(kafka.bootstrap, f"{name}-dead-letters")).values()) == 0
    last = [decision for decision in decisions if decision["rung"] == "rules"]
    assert last
    assert all(len(decision["items"]) == 10 for decision in last[-100:])

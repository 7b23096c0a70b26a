"""Models changed under load on the embedded broker: no event is lost, no decision is late."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream_app.embedded import free_port
from stream_app.model_store import ModelStore
from stream_app.transport.partitioning import partitions_of
from tests.system.brokers import Tansu
from tests.system.kafka_io import create_topics
from tests.system.workers import WorkerProcess, wait_until
from topics.catalog import Catalog
from topics.spans import Spans
from tsrec_models.artifacts import load_artifact, save_artifact
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.gru import GRU
from tsrec_models.sequence.neural import NeuralRecommender
from tsrec_models.sequence.training import fit
from tsrec_models.sequence.training_settings import Settings as TrainingSettings
from tsrec_models.sequence.transformer import Transformer

pytestmark = pytest.mark.system

USERS, ITEMS, RATE, SECONDS = 300, 400, 300, 12.0


def train(folder: Path, seed: int, kind: type[NeuralRecommender]) -> Path:
    draw = np.random.default_rng(seed)
    users, items = draw.integers(0, 200, 4000), draw.integers(0, ITEMS, 4000)
    log = Log.from_arrays(users, items, np.arange(4000.0), item_ids=[f"i{i}" for i in range(ITEMS)], n_items=ITEMS)
    model = fit(log, model=kind, settings=TrainingSettings(epochs=1), validation=None, seed=seed)
    save_artifact(folder, model, list(log.item_ids), data_hash="-", settings={"neural_weight": 0.5}, metrics={})
    return folder


async def play(bootstrap: str, catalog: Catalog, sent: dict[str, float], changes: list) -> None:  # type: ignore[type-arg]
    """Clicks at RATE a second for SECONDS, in slices of 20 ms; each change at its time meanwhile."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0)
    await producer.start()
    draw = np.random.default_rng(3)
    began, n = time.time(), 0
    try:
        while (passed := time.time() - began) < SECONDS:
            while changes and passed > changes[0][0]:
                await asyncio.to_thread(changes.pop(0)[1])
            waiting = []
            for _ in range(n, int(passed * RATE)):
                user, now = b"u%d" % draw.integers(USERS), time.time()
                place = int(partitions_of(Spans.of([user]), 4)[0])
                value = b'{"user_id":"%b","item_id":"i%d","ts":%.6f}' % (user, draw.integers(ITEMS), now)
                waiting.append((await producer.send(catalog["clicks"].kafka_name, value, user, place), now))
                n += 1
            for future, now in waiting:
                done = await future
                sent[f"{done.topic}:{done.partition}:{done.offset}"] = now
            await asyncio.sleep(0.02)
    finally:
        await producer.stop()


@pytest.mark.parametrize("kind", [GRU, Transformer])
async def test_models_are_swapped_under_load(tansu: Tansu, tmp_path: Path, kind: type[NeuralRecommender]) -> None:
    store = ModelStore(tmp_path / "store")
    versions = [store.push(train(tmp_path / f"m{seed}", seed, kind)) for seed in (1, 2, 3)]
    width = load_artifact(store.folder / "versions" / versions[0], device="cpu").model.state_width
    wide = tmp_path / "wide"
    log = Log.from_arrays([0, 0, 1, 1], [0, 1, 2, 3], n_items=4)
    model = fit(log, model=kind, settings=TrainingSettings(hidden=300, window=60, epochs=1), validation=None)
    save_artifact(wide, model, list("abcd"), data_hash="-", settings={}, metrics={})
    store.point("active", versions[0])
    prefix = f"hot-{kind.name}-"
    catalog, port = Catalog(prefix), free_port()
    await create_topics(tansu.bootstrap, *(catalog[name].kafka_name for name in ("clicks", "recommendations")))
    worker = WorkerProcess(
        tmp_path, "worker", "-m", "stream_app.cli", "worker", TSREC_BOOTSTRAP=tansu.bootstrap,
        TSREC_TOPIC_PREFIX=prefix, TSREC_GROUP=f"hot-{kind.name}", TSREC_MODEL=str(store.folder),
        TSREC_HIDDEN_WIDTH=str(width), TSREC_SESSION_TIMEOUT_S="6", TSREC_WEB_PORT=str(port),
        TSREC_LADDER__BUDGET_MS="60000", TSREC_TRIAL__POLL_S="0.2",
    ).start()  # fmt: skip
    consumer = AIOKafkaConsumer(bootstrap_servers=tansu.bootstrap, fetch_max_wait_ms=50)
    await consumer.start()
    try:
        await asyncio.to_thread(wait_until, lambda: ready(port) or ended(worker), 200, "readiness")
        assert not ended(worker), worker.log()[-2000:]
        tps = [TopicPartition(catalog["recommendations"].kafka_name, p) for p in range(4)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        sent: dict[str, float] = {}
        answers: dict[str, tuple[float, str]] = {}

        async def read() -> None:
            while True:
                for records in (await consumer.getmany(timeout_ms=50)).values():
                    now = time.time()
                    for record in records:
                        decision = json.loads(record.value)
                        answers[decision["source"]] = (now, decision["model"])

        reader = asyncio.create_task(read())
        changes = [
            (4.0, lambda: store.point("active", versions[1])),
            (5.0, lambda: store.point("shadow", versions[0])),
            (7.0, lambda: store.point("active", store.push(wide))),
            (9.0, lambda: store.point("active", versions[2])),
        ]
        await play(tansu.bootstrap, catalog, sent, changes)
        await asyncio.to_thread(wait_until, lambda: len(answers) >= len(sent), 30, f"{len(sent)} answers")
        reader.cancel()
        assert set(answers) == set(sent), "an event was lost"
        used = [answers[source][1] for source in sorted(sent, key=sent.__getitem__)]
        assert [v for v in dict.fromkeys(used) if v in versions] == versions  # each in its turn, the wide one never
        assert "model refused" in worker.log()
        assert "TSREC_HIDDEN_WIDTH=" in worker.log()
        late = {source: answers[source][0] - at for source, at in sent.items()}
        # What the machine itself does to a steady stream is in the figure before the first change.
        began = min(sent.values())
        before = max(took for source, took in late.items() if sent[source] < began + 4.0)
        after = max(took for source, took in late.items() if sent[source] >= began + 4.0)
        print(f"{kind.name}: slowest decision before a change {before:.3f} s, from the first change on {after:.3f} s")
        assert after < before + 1.0
    finally:
        await consumer.stop()
        worker.close()


def ended(worker: WorkerProcess) -> bool:
    return worker.process is None or worker.process.poll() is not None


def ready(port: int) -> bool:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False

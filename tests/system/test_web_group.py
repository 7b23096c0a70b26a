"""Two workers on a real broker, over TLS with a token: each answers for all users, also after one was killed."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream_app.transport.partitioning import partition_of
from tests.system.brokers import Kafka, free_port
from tests.system.kafka_io import Record, produce
from tests.system.workers import WorkerProcess, wait_until
from tests.web_tls import make_certificate
from topics import wire
from topics.catalog import Catalog
from topics.events import Click

pytestmark = [pytest.mark.system, pytest.mark.kafka, pytest.mark.timeout(240)]

TOKEN = "the-token-of-this-test-0123456789"
USERS = [f"u{i}" for i in range(40)]


def clicks() -> list[Record]:
    now = time.time()
    events = [Click(user, f"i{(n + i) % 8}", now + i) for i in range(3) for n, user in enumerate(USERS)]
    return [
        Record(partition_of(event.user_id.encode(), 4), event.user_id.encode(), value)
        for event, value in zip(events, wire.encode(events), strict=True)
    ]


class Client:
    """Asks workers as a program would."""

    def __init__(self, certificate: Path) -> None:
        self._tls = ssl.create_default_context(cafile=str(certificate))

    def ask(self, port: int, path: str, token: str | None = TOKEN) -> tuple[int, Any]:
        """Status and decoded body; status 0 where nobody answers."""
        request = urllib.request.Request(f"https://127.0.0.1:{port}{path}")
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=20, context=self._tls) as answer:
                body = answer.read()
                return answer.status, json.loads(body) if path != "/metrics" else body.decode()
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except OSError:
            return 0, None


async def test_each_of_two_workers_answers_for_all_users(kafka: Kafka, tmp_path: Path, name: str) -> None:
    catalog = Catalog(f"{name}-")
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic.kafka_name, topic.partitions, 1) for topic in catalog.values()])
    await admin.close()
    certificate, key = make_certificate(tmp_path)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    ports = [free_port(), free_port()]
    workers = [
        WorkerProcess(
            tmp_path, f"worker-{i}", "-m", "stream_app.cli", "worker", TSREC_BOOTSTRAP=kafka.bootstrap,
            TSREC_TOPIC_PREFIX=f"{name}-", TSREC_GROUP=name, TSREC_WEB_PORT=str(port), TSREC_WEB_HOST="0.0.0.0",
            TSREC_WEB_ADVERTISE=f"https://127.0.0.1:{port}", TSREC_WEB_TOKEN_FILE=str(token),
            TSREC_WEB_TLS_CERT=str(certificate), TSREC_WEB_TLS_KEY=str(key), TSREC_WEB_TLS_CA=str(certificate),
            TSREC_SESSION_TIMEOUT_S="5",
        ).start()
        for i, port in enumerate(ports)
    ]  # fmt: skip
    client = Client(certificate)
    try:
        for worker in workers:
            worker.wait_for_log(r"worker ready: .*clicks \d \d(,|$)", 120)  # two partitions each
        await produce(kafka.bootstrap, catalog["clicks"].kafka_name, clicks())

        def known(port: int) -> bool:
            return all(client.ask(port, f"/recommendations/{user}")[0] == 200 for user in USERS)

        for port in ports:
            wait_until(lambda port=port: known(port), 60, "all users are known to both")  # type: ignore[misc]
        for user in USERS[:8]:
            one, two = (client.ask(port, f"/recommendations/{user}")[1] for port in ports)
            assert one["user_id"] == user
            assert one["decision_id"] == two["decision_id"]
            assert one["items"] == two["items"]
            assert client.ask(ports[0], f"/decisions/{one['decision_id']}")[1]["recommendation"]["user_id"] == user
        assert [client.ask(port, "/recommendations/nobody")[0] for port in ports] == [404, 404]
        assert [client.ask(port, "/recommendations/u1", token=None)[0] for port in ports] == [401, 401]
        assert client.ask(ports[0], "/alerts")[1] == {"alerts": [], "total": 0}

        workers[0].kill()
        wait_until(lambda: known(ports[1]), 90, "all users are known to the one that is left", every_s=0.5)
        wait_until(lambda: client.ask(ports[1], "/readyz")[0] == 200, 60, "it is ready")
        assert workers[1].terminate() == 0
        for worker in workers:
            assert TOKEN not in worker.log()
            assert "Traceback" not in worker.log()
    finally:
        for worker in workers:
            worker.close()

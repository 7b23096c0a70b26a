"""The API under requests that nobody would write by hand: no 5xx, every answer as the document says."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

import pytest

from tests.test_web_api import clicks, trades
from tests.web_worker import WebWorker, serving

#: Requests drawn here; `bench/api_fuzz.py` sends ten thousand to a worker on a broker.
REQUESTS = 240


@pytest.fixture(scope="module")
def worker():  # type: ignore[no-untyped-def]
    with serving(web_rate=0.0, web_timeout_s=5.0) as found:
        found.feed("clicks", clicks(), lambda click: click.user_id)
        found.feed("trades", trades(), lambda trade: trade.symbol)
        yield found


def test_what_the_document_allows_and_what_it_forbids_is_answered_as_it_says(worker: WebWorker) -> None:
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    from tests.web_fuzz import fuzz

    alert = worker.ask("/alerts").json()["alerts"][0]["alert_id"]
    known = {"user_id": ["u1", "u39"], "item_id": ["a0", "b1"], "symbol": ["ACME"], "alert_id": [alert]}
    known["decision_id"] = [alert, worker.ask("/recommendations/u39").json()["decision_id"]]
    statuses = fuzz(worker.url, worker.ask("/openapi.json").json(), REQUESTS, path_values=known)
    assert sum(statuses.values()) >= REQUESTS
    assert {200, 202, 400, 404} <= set(statuses)
    assert max(statuses) < 500


def test_bytes_that_are_no_request_are_survived(worker: WebWorker) -> None:
    draw = random.Random(3)
    whole = b"POST /alerts/x/silence HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    whole += b'Content-Length: 20\r\n\r\n{"duration_s": 10.5}'
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(draw.randrange(1, 8)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        with socket.create_connection(("127.0.0.1", worker.server.port), timeout=10) as connection:
            connection.sendall(bytes(data[: draw.randrange(1, len(data))]))
            connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                answer = connection.recv(65536)
                assert not answer or (answer.startswith(b"HTTP/1.") and answer[9:10] in b"234")
    assert worker.ask("/healthz").status == 200
    assert worker.ask("/recommendations/u39").status == 200

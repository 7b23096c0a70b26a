"""Several workers: a request is answered by the one that holds its key, whoever was asked, and passed on only once."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import msgspec
import pytest

from stream_app.errors import UsageError
from stream_app.settings import Settings
from stream_app.transport.partitioning import partition_of
from stream_app.web.peers import FORWARDED, advertised_url, member_url, unserved_url
from tests.test_web_api import trades
from tests.web_worker import WebWorker, serving
from topics.decisions import Recommendation
from topics.events import AlertAction, Click

TOKEN = "a-token-that-both-workers-have"


def user_of(partition: int) -> str:
    return next(user for user in (f"u{i}" for i in range(100)) if partition_of(user.encode(), 4) == partition)


#: One user in each partition, and a symbol in its own.
USERS = [user_of(partition) for partition in range(4)]


@pytest.fixture(scope="module")
def workers() -> Iterator[tuple[WebWorker, WebWorker]]:
    """The first has partitions 0 and 1 and those of ACME's trades, the second the others; each got its own events."""
    with serving(web_token=TOKEN) as one, serving(web_token=TOKEN) as two:
        home = partition_of(b"ACME", 4)
        mine = {home, (home + 1) % 4}
        for worker in (one, two):
            worker.assign({one.member: sorted(mine), two.member: sorted(set(range(4)) - mine)})
            held = mine if worker is one else set(range(4)) - mine
            events = [Click(user, f"i{i}", 1000.0 + i) for p, user in enumerate(USERS) for i in range(3) if p in held]
            worker.published = worker.feed("clicks", events, lambda click: click.user_id)  # type: ignore[attr-defined]
        one.feed("trades", trades(), lambda trade: trade.symbol)
        yield one, two


def test_every_user_is_found_whichever_worker_is_asked(workers: tuple[WebWorker, WebWorker]) -> None:
    for user in USERS:
        answers = [worker.ask(f"/recommendations/{user}?k=2") for worker in workers]
        assert [answer.status for answer in answers] == [200, 200]
        assert answers[0].json()["user_id"] == user
        assert answers[0].json()["items"] == answers[1].json()["items"]


def test_a_request_with_a_whole_address_is_passed_on_by_its_path(workers: tuple[WebWorker, WebWorker]) -> None:
    """What a client writes before the path must never become a part of the address that gets the token."""
    for worker in workers:
        for user in USERS:
            for before in ("http://localhost", "http://x@evil.example:9", "HTTP://evil.example"):
                with socket.create_connection(("127.0.0.1", worker.server.port), timeout=10) as connection:
                    connection.sendall(
                        f"GET {before}/recommendations/{user}?k=2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                        f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
                    )
                    answer = b""
                    while part := connection.recv(65536):
                        answer += part
                assert answer.startswith(b"HTTP/1.1 200 "), answer
                assert b'"user_id":"%b"' % user.encode() in answer


def test_problems_of_the_other_worker_are_passed_back(workers: tuple[WebWorker, WebWorker]) -> None:
    stranger = next(
        user for user in (f"stranger{i}" for i in range(100))
        if partition_of(user.encode(), 4) in workers[1].application.processor.assignor
        .external_topic_distribution[workers[1].member]["clicks"]
    )  # fmt: skip
    reply = workers[0].ask(f"/recommendations/{stranger}")
    assert reply.status == 404
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert stranger in reply.json()["detail"]


def test_forecasts_alerts_and_decisions_are_found_from_the_other_worker(workers: tuple[WebWorker, WebWorker]) -> None:
    one, two = workers
    assert two.ask("/forecasts/ACME").json() == one.ask("/forecasts/ACME").json()
    assert two.ask("/forecasts/NONE").status == 404
    ours, theirs = one.ask("/alerts").json(), two.ask("/alerts").json()
    assert ours == theirs
    assert ours["total"] >= 1
    reviews = [worker.ask("/reviews").json() for worker in (one, two)]
    assert reviews[0] == reviews[1]
    assert reviews[0]["total_waiting"] >= 1
    alert = ours["alerts"][0]["alert_id"]
    assert two.ask(f"/decisions/{alert}").json()["alert"]["alert_id"] == alert
    decision = msgspec.json.decode(one.published[-1], type=Recommendation).decision_id  # type: ignore[attr-defined]
    assert two.ask(f"/decisions/{decision}").json() == one.ask(f"/decisions/{decision}").json()
    assert two.ask("/decisions/0123456789abcdef01234567").status == 404


def test_an_alert_is_acted_on_by_the_worker_that_has_it(workers: tuple[WebWorker, WebWorker]) -> None:
    one, two = workers
    alert = one.ask("/alerts").json()["alerts"][0]["alert_id"]
    reply = two.ask(f"/alerts/{alert}/silence", "POST", body={"by": "bob", "duration_s": 30})
    assert reply.status == 202
    assert two.sent == []
    action = msgspec.json.decode(one.sent[-1][1], type=AlertAction)
    assert (action.alert_id, action.by) == (alert, "bob")
    assert two.ask("/alerts/0123456789abcdef01234567/silence", "POST", body={}).status == 404


@pytest.fixture
def moving(workers: tuple[WebWorker, WebWorker]) -> Iterator[tuple[WebWorker, WebWorker]]:
    """The two, for a test that moves partitions: they are moved back after it."""
    kept = [worker.assigned for worker in workers]
    yield workers
    for worker, assigned in zip(workers, kept, strict=True):
        worker.assign(assigned)


def test_a_request_is_passed_on_once(moving: tuple[WebWorker, WebWorker]) -> None:
    one, two = moving  # each believes that the other has everything
    one.assign({one.member: [], two.member: range(4)})
    two.assign({two.member: [], one.member: range(4)})
    reply = one.ask(f"/recommendations/{USERS[0]}")
    assert reply.status == 503
    assert "passed on" in reply.json()["detail"]
    assert reply.headers["Retry-After"] == "2"


def test_a_worker_that_is_gone_is_said_to_be(moving: tuple[WebWorker, WebWorker]) -> None:
    one, _ = moving
    gone = f"http://127.0.0.1:9#{socket.gethostname()}/x"
    one.assign({one.member: [], gone: range(4)})
    assert one.ask(f"/recommendations/{USERS[0]}").status == 502
    assert one.ask("/alerts").json()["missing"] == [gone]
    assert one.ask("/reviews").json()["missing"] == [gone]
    one.assign({one.member: [], str(unserved_url()): range(4)})
    reply = one.ask(f"/recommendations/{USERS[0]}")
    assert reply.status == 503
    assert "has no web server" in reply.json()["detail"]


def test_a_worker_of_another_machine_that_serves_that_machine_only_is_said_to(
    moving: tuple[WebWorker, WebWorker],
) -> None:
    one, _ = moving  # on loopback like this one, at the same port: that is not us
    one.assign({one.member: [], f"{one.url}#elsewhere/1": range(4)})
    reply = one.ask(f"/recommendations/{USERS[0]}")
    assert reply.status == 503
    assert "the worker on elsewhere" in reply.json()["detail"]


def test_two_workers_of_one_address_are_told_apart() -> None:
    url = advertised_url(settings(), 6066, tls=False)
    assert member_url(url) != member_url(url)


def test_passing_on_needs_the_token_too(workers: tuple[WebWorker, WebWorker]) -> None:
    _, two = workers
    assert two.ask("/models", token=None, headers={FORWARDED: "http://anybody"}).status == 401


def settings(**given: object) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[call-arg, arg-type]


def test_a_worker_tells_the_others_an_address_that_leads_to_it() -> None:
    assert str(advertised_url(settings(), 1234, tls=False)) == "http://127.0.0.1:1234"
    assert str(advertised_url(settings(web_host="::1"), 1, tls=True)) == "https://[::1]:1"
    every = advertised_url(settings(web_host="0.0.0.0", bootstrap="127.0.0.1:9092"), 1, tls=False)
    assert every.host == "127.0.0.1"  # the way to the broker
    given = settings(web_advertise="https://worker-3.example:6066")
    assert str(advertised_url(given, 1, tls=False)) == "https://worker-3.example:6066"
    with pytest.raises(UsageError, match="TSREC_WEB_ADVERTISE"):
        advertised_url(settings(web_advertise="worker-3:6066"), 1, tls=False)


def test_workers_without_a_web_server_have_names_of_their_own() -> None:
    assert unserved_url() != unserved_url()

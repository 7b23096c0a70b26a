"""The short way says what the long way says, and is taken only behind a head that the long way let pass."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.web.shortcut import Shortcut, is_plain
from tests.test_web_api import clicks
from tests.web_worker import WebWorker, serving
from topics.columns import decode_columns
from topics.events import Click, Item
from topics.spans import Spans

TOKEN = "correct-horse-battery-staple-42"
TIMEOUT_S = 1.0
HEAD = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
ASK = b"GET /recommendations/u39 HTTP/1.1\r\n" + HEAD


@pytest.fixture(scope="module")
def worker() -> Iterator[WebWorker]:
    with serving(web_token=TOKEN, web_rate=0.0, web_timeout_s=TIMEOUT_S, k=4) as found:
        found.feed("clicks", clicks(), lambda click: click.user_id)
        for user in ("u37", "u38", "u39"):
            assert found.ask(f"/recommendations/{user}").status == 200  # where its row is, is known by now
        yield found


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Request lines that were answered the short way."""
    lines: list[bytes] = []
    answer = Shortcut.answer

    def spy(self: Shortcut, client: str, line: bytes) -> bytes | None:
        found = answer(self, client, line)
        if found is not None:
            lines.append(line)
        return found

    monkeypatch.setattr(Shortcut, "answer", spy)
    return lines


class Client:
    """One connection, and the answers that come on it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._read = b""

    def ask(self, data: bytes) -> tuple[bytes, bytes]:
        """Head and body of the answer to these bytes."""
        self.connection.sendall(data)
        return self.answer()

    def answer(self) -> tuple[bytes, bytes]:
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))  # type: ignore[union-attr]
        while len(self._read) < length:
            self._more()
        body, self._read = self._read[:length], self._read[length:]
        return head, body

    def _more(self) -> None:
        part = self.connection.recv(65536)
        if not part:
            raise ConnectionError("closed")
        self._read += part


@contextmanager
def connected(worker: WebWorker) -> Iterator[Client]:
    with socket.create_connection(("127.0.0.1", worker.server.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield Client(connection)


def flood(client: Client) -> None:
    """Ask one by one and read nothing, until the server has had enough."""
    for _ in range(2_000_000):
        client.connection.sendall(ASK)


def headers(head: bytes) -> dict[bytes, bytes]:
    """Without what changes by the second."""
    lines = head.split(b"\r\n")
    found = dict(line.split(b": ", 1) for line in lines[1:])
    found.pop(b"Date")
    return {b"status": lines[0], **found}


@pytest.mark.parametrize("path", [b"u39", b"u39?k=2", b"u38"])
def test_both_ways_give_one_answer(worker: WebWorker, short: list[bytes], path: bytes) -> None:
    ask = b"GET /recommendations/%b HTTP/1.1\r\n%b" % (path, HEAD)
    with connected(worker) as client:
        long_head, long_body = client.ask(ask)
        assert short == []
        head, body = client.ask(ask)
        assert len(short) == 1
    assert body == long_body
    assert headers(head) == headers(long_head)


def test_a_new_list_is_shown_and_what_is_no_longer_for_sale_is_not(worker: WebWorker, short: list[bytes]) -> None:
    items = worker.application.items
    with connected(worker) as client:
        client.ask(ASK)
        _, before = client.ask(ASK)
        worker.feed("clicks", [Click("u39", "b2", 50_000.0)], lambda click: click.user_id)
        _, after = client.ask(ASK)
        assert after != before
        assert len(short) == 2
        shown = worker.ask("/recommendations/u39").json()["items"]
        items.update(decode_columns(Item, Spans.of([])), Spans.of([shown[0]["item_id"].encode()]))
        worker.application.web.on_demand._shown_until = -np.inf
        try:
            _, without = client.ask(ASK)
        finally:
            items._deleted[items.index_of(shown[0]["item_id"])] = False
            worker.application.web.on_demand._shown_until = -np.inf
        assert shown[0]["item_id"].encode() not in re.findall(rb'"item_id":"(\w+)"', without)


def test_requests_of_the_short_way_are_counted(worker: WebWorker, short: list[bytes]) -> None:
    def counted() -> float:
        found = re.search(
            rb'tsrec_web_requests_total\{route="/recommendations/\{user_id\}",status="200"\} ([\d.]+)',
            worker.ask("/metrics").body,
        )
        return float(found.group(1)) if found else 0.0

    before = counted()
    with connected(worker) as client:
        for _ in range(5):
            client.ask(ASK)
    assert len(short) == 4
    assert counted() == before + 5


def test_another_head_is_looked_at_anew(worker: WebWorker, short: list[bytes]) -> None:
    wrong = ASK.replace(TOKEN.encode(), TOKEN[:-1].encode() + b"3")
    with connected(worker) as client:
        client.ask(ASK)
        assert client.ask(wrong)[0].startswith(b"HTTP/1.1 401 ")
        assert client.ask(wrong)[0].startswith(b"HTTP/1.1 401 ")
        assert client.ask(ASK)[0].startswith(b"HTTP/1.1 200 ")
    with connected(worker) as client:  # what is let pass without a token vouches for nothing
        probe = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        client.ask(probe)
        assert client.ask(probe.replace(b"healthz", b"recommendations/u39"))[0].startswith(b"HTTP/1.1 401 ")


def test_a_session_vouches_for_nothing_since_it_ends(worker: WebWorker, short: list[bytes]) -> None:
    cookie = worker.server.security.session()
    ask = f"GET /recommendations/u39 HTTP/1.1\r\nHost: localhost\r\nCookie: tsrec_session={cookie}\r\n\r\n".encode()
    with connected(worker) as client:
        for _ in range(3):
            assert client.ask(ask)[0].startswith(b"HTTP/1.1 200 ")
    assert short == []


def test_who_asks_too_much_is_told_so_on_the_short_way_too() -> None:
    with serving(web_rate=5.0, k=4) as worker:
        worker.feed("clicks", clicks(), lambda click: click.user_id)
        ask = b"GET /recommendations/u39 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with connected(worker) as client:
            statuses = [client.ask(ask)[0][9:12] for _ in range(12)]
        assert statuses[:10] == [b"200"] * 10
        assert statuses[-1] == b"429"


def test_a_connection_is_kept_while_it_is_used_and_closed_when_it_is_not(worker: WebWorker, short: list[bytes]) -> None:
    with connected(worker) as client:
        began = time.monotonic()
        while time.monotonic() - began < 2.5 * TIMEOUT_S:
            assert client.ask(ASK)[0].startswith(b"HTTP/1.1 200 ")
            time.sleep(0.05)
        assert len(short) > 10
        began = time.monotonic()
        assert client.connection.recv(1) == b""
        assert time.monotonic() - began < 4 * TIMEOUT_S


def test_who_does_not_read_is_cut_off(worker: WebWorker) -> None:
    with connected(worker) as client:
        client.ask(ASK)
        client.connection.settimeout(6 * TIMEOUT_S)
        with pytest.raises((ConnectionError, TimeoutError)):
            flood(client)


# -- no request hides in another

_LINE = b"/alerts/x/acknowledge HTTP/1.1\r\nContent-Type: application/json"
_POST = b'{"by": "ann", "note": "GET /recommendations/u39 HTTP/1.1"}'
PIECES = {
    "list": ASK,
    "other": ASK.replace(b"u39", b"u38"),
    "stranger": ASK.replace(b"u39", b"nobody"),
    "browser": ASK.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"),
    "wrong": ASK.replace(b"Bearer ", b"Bearer x"),
    "encoded": ASK.replace(b"u39", b"u%33%39"),
    "hidden": b"GET /recommendations/u39 HTTP/1.1\r\nContent-Length: %d\r\n%b%b" % (len(ASK), HEAD, ASK),
    "body": b"POST %b\r\nContent-Length: %d\r\n%b%b" % (_LINE, len(_POST), HEAD, _POST),
    "chunked": b"POST %b\r\nTransfer-Encoding: chunked\r\n%b%x\r\n%b\r\n0\r\n\r\n" % (_LINE, HEAD, len(_POST), _POST),
}  # fmt: skip


@pytest.fixture(scope="module")
def alone(worker: WebWorker) -> dict[str, tuple[bytes, bytes]]:
    """Each piece on a connection of its own: status and body."""
    found = {}
    for name, piece in PIECES.items():
        with connected(worker) as client:
            head, body = client.ask(piece)
            found[name] = (head[9:12], body)
    return found


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_is_sent_in_whatever_parts_is_answered_as_if_alone(
    worker: WebWorker, alone: dict[str, tuple[bytes, bytes]], data: st.DataObject
) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=8))
    wait = data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    with connected(worker) as client:
        owed: list[str] = []
        for name, reads in zip(names, wait, strict=True):
            piece = PIECES[name]
            cut = data.draw(st.sampled_from([0, 1, 20, len(piece) // 2, len(piece) - 1]))
            for part in (piece[:cut], piece[cut:]):
                if part:
                    client.connection.sendall(part)
            owed.append(name)
            if reads:
                for one in owed:
                    head, body = client.answer()
                    assert (head[9:12], body) == alone[one]
                owed = []
        for one in owed:
            head, body = client.answer()
            assert (head[9:12], body) == alone[one]
        client.connection.settimeout(0.02)
        with suppress(TimeoutError):
            assert client.connection.recv(1) == b""  # nothing was answered that nobody asked


@pytest.mark.parametrize(
    "data",
    [
        b"GET /a HTTP/1.1\nContent-Length: 5\r\nHost: x\r\n\r\n", b"GET /a HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nG", b"GET /a HTTP/1.1\r\nHost: x\r\n", b"GET /a HTTP/1.1\r\nHost\r\n\r\n",
        b"GET /a HTTP/1.1\r\ncontent-LENGTH : 5\r\n\r\n", b"GET /a HTTP/1.1\r\nA: b\r\nUpgrade: h2c\r\n\r\n",
        b"GET /a HTTP/1.1\r\nConnection: close\r\n\r\n", b"GET /a HTTP/1.1\r\nConnection: keep-alive, TE\r\n\r\n",
        b"GET /a HTTP/1.0\r\nHost: x\r\n\r\n", b"GET http://localhost/a HTTP/1.1\r\nHost: evil\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\n\r\n\r\n", b"GET /a HTTP/1.1\r\nHost: x\r\nA: \xff\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_not_one_whole_plain_request_is_not_taken_for_one(data: bytes) -> None:
    line, _, head = data.partition(b"\r\n")
    assert not is_plain(line, head)


def test_what_clients_send_is_plain() -> None:
    line, _, head = ASK.partition(b"\r\n")
    assert is_plain(line, head)
    assert is_plain(line, b"Host: x\r\nUser-Agent: python-requests/2\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n")

"""Who is answered and who is not: tokens, hosts, limits, TLS; and that no secret is ever written anywhere."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_app.errors import UsageError
from stream_app.settings import Settings
from stream_app.web.limits import Connections, RateLimit
from stream_app.web.tokens import Security, security_of
from tests.web_tls import make_certificate
from tests.web_worker import Reply, WebWorker, serving

TOKEN = "correct-horse-battery-staple-42"

#: A token close to the right one, so that it would be seen in a log if any were.
WRONG = "wrong-horse-battery-staple-4242"


@pytest.fixture(scope="module")
def worker() -> Iterator[WebWorker]:
    """Bound to every address."""
    with serving(
        web_host="0.0.0.0", web_token=TOKEN, web_timeout_s=1.0, web_body_bytes=2048, web_connections=40, web_rate=1e6
    ) as found:
        yield found


def settings(**given: object) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[call-arg, arg-type]


def raw(worker: WebWorker, data: bytes, *, wait_s: float = 5.0) -> bytes:
    """Bytes sent as they are; what came back until the server closed."""
    with socket.create_connection(("127.0.0.1", worker.server.port), timeout=wait_s) as connection:
        connection.sendall(data)
        found = b""
        with contextlib.suppress(TimeoutError):
            while part := connection.recv(65536):
                found += part
        return found


PATHS = (
    "/recommendations/u1", "/items/a/similar", "/trending", "/forecasts/X", "/alerts", "/decisions/abc", "/models",
    "/metrics", "/openapi.json", "/", "/nothing", "/live/events", "/live/users/u1", "/live/dead-letters",
    "/live/static/main.js",
)  # fmt: skip


@pytest.mark.parametrize("token", [None, WRONG, "", TOKEN + "x", TOKEN[:-1], "ü" * 8], ids=str)
def test_without_the_token_everything_is_refused(worker: WebWorker, token: str | None) -> None:
    for path in PATHS:
        headers = None if token is None else {"Authorization": f"Bearer {token}".encode().decode("latin-1")}
        reply = worker.ask(path, token=None, headers=headers)
        assert reply.status == 401, path
        assert reply.headers["WWW-Authenticate"] == 'Bearer realm="tsrec"'
        assert reply.json()["type"] == "urn:tsrec:problem:unauthorized"
    assert worker.ask("/alerts/x/silence", "POST", body={}, token=None).status == 401
    assert worker.sent == []


def test_with_the_token_it_is_answered(worker: WebWorker) -> None:
    assert worker.ask("/models").status == 200
    assert worker.ask("/models", token=None, headers={"Authorization": f"bearer  {TOKEN}"}).status == 200
    assert worker.ask("/models", token=None, headers={"Authorization": f"Basic {TOKEN}"}).status == 401
    assert worker.ask(f"/models?token={TOKEN}", token=None).status == 401


def test_a_supervisors_probes_need_no_token(worker: WebWorker) -> None:
    assert worker.ask("/healthz", token=None).json() == {"status": "ok"}
    assert worker.ask("/readyz", token=None).json() == {"status": "ready"}


def test_a_browser_logs_in_once_and_out_again(worker: WebWorker) -> None:
    asked = worker.ask("/models", token=None, headers={"Accept": "text/html"})
    assert asked.status == 401
    assert b'<form method="post" action="/login">' in asked.body
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert worker.ask("/login", "POST", body=f"token={WRONG}".encode(), headers=form, token=None).status == 401
    entered = worker.ask("/login", "POST", body=f"token={TOKEN}".encode(), headers=form, token=None)
    cookie = entered.headers["Set-Cookie"]
    assert entered.status == 303
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    value = cookie.split(";")[0]
    assert worker.ask("/models", token=None, headers={"Cookie": value}).status == 200
    for forged in (value[:-1] + "0", value.replace("=", "=9"), "tsrec_session=", "tsrec_session=9999999999."):
        assert forged == value or worker.ask("/models", token=None, headers={"Cookie": forged}).status == 401
    assert 'tsrec_session=""' in worker.ask("/logout", "POST", token=TOKEN).headers["Set-Cookie"]


def test_a_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    security = Security(TOKEN.encode(), None, loopback=False)
    cookie = security.session()
    assert security.accepts_session(cookie)
    assert not Security(WRONG.encode(), None, loopback=False).accepts_session(cookie)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 13 * 3600)
    assert not security.accepts_session(cookie)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(worker: WebWorker) -> None:
    path = "/alerts/x/silence"
    reply = worker.ask(path, "POST", body=b"{" + b" " * 3000 + b"}", headers={"Content-Type": "application/json"})
    assert reply.status == 413
    assert "2,048" in reply.json()["detail"]
    # Announced and never sent: refused at once, not waited for.
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
    assert b" 413 " in raw(worker, f"{head}Content-Length: 99999999999\r\n\r\n".encode())
    # In chunks of no announced size.
    chunks = b"".join(b"3e8\r\n" + b" " * 1000 + b"\r\n" for _ in range(5))
    assert b" 413 " in raw(worker, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks)


def test_a_body_that_is_not_json_is_refused(worker: WebWorker) -> None:
    path = "/alerts/x/silence"
    plain = worker.ask(path, "POST", body=b"{}", headers={"Content-Type": "text/plain"})
    assert plain.status == 415  # what a form on a page from elsewhere could send without asking
    json = {"Content-Type": "application/json"}
    assert worker.ask(path, "POST", body=b"{", headers=json).status == 400
    assert worker.ask(path, "POST", body=b"[" * 2000, headers=json).status == 400
    wrong = worker.ask(path, "POST", body={"duration_s": -1})
    assert [error["name"] for error in wrong.json()["errors"]] == ["duration_s"]


def test_a_header_that_is_too_large_is_refused(worker: WebWorker, caplog: pytest.LogCaptureFixture) -> None:
    long_line = raw(
        worker, f"GET /models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}{'x' * 9000}\r\n\r\n".encode()
    )
    assert b" 431 " in long_line.split(b"\r\n")[0]
    many = "".join(f"X-{i}: {TOKEN}\r\n" for i in range(200))
    assert b" 400 " in raw(worker, f"GET /models HTTP/1.1\r\nHost: x\r\n{many}\r\n".encode()).split(b"\r\n")[0]
    for answer in (long_line,):
        assert TOKEN.encode() not in answer
        assert b"application/problem+json" in answer
    assert TOKEN not in caplog.text


def test_a_client_that_sends_its_header_drop_by_drop_is_cut_off(worker: WebWorker) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", worker.server.port), timeout=10) as connection:
        connection.sendall(b"GET /models HTTP/1.1\r\nHost: x\r\n")
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 8:
                connection.sendall(b"X: y\r\n")
                connection.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    if connection.recv(100) == b"":
                        break
    assert time.monotonic() - began < 4  # the limit is one second
    assert worker.ask("/models").status == 200


def test_a_client_that_sends_its_body_drop_by_drop_is_refused(worker: WebWorker) -> None:
    head = f"POST /alerts/x/silence HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    began = time.monotonic()
    answer = raw(worker, f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert time.monotonic() - began < 4


def test_one_client_does_not_take_all_connections(worker: WebWorker) -> None:
    held = [socket.create_connection(("127.0.0.1", worker.server.port)) for _ in range(30)]
    try:
        for connection in held:
            connection.settimeout(0.3)
        refused = 0
        for connection in held:
            try:
                refused += connection.recv(10) == b""
            except ConnectionError:
                refused += 1
            except TimeoutError:
                pass
            if refused >= 10:
                break
        assert refused >= 10  # half of 40 are for one address
    finally:
        for connection in held:
            connection.close()
    deadline = time.monotonic() + 5
    while True:
        try:
            assert worker.ask("/models").status == 200
            break
        except ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_every_answer_has_the_headers_of_a_careful_server(worker: WebWorker) -> None:
    for reply in (worker.ask("/models"), worker.ask("/nothing"), worker.ask("/models", token=None)):
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["X-Frame-Options"] == "DENY"
        assert reply.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        assert reply.headers["Server"] == "tsrec"


def test_a_method_that_is_not_there_is_refused_with_those_that_are(worker: WebWorker) -> None:
    reply = worker.ask("/models", "DELETE")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")


def test_a_failure_is_logged_without_the_secret_and_answered_without_the_cause(
    worker: WebWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the cause")

    monkeypatch.setattr(worker.application.items, "index_of", broken)
    with caplog.at_level(logging.DEBUG):
        reply = worker.ask("/items/a/similar")
    assert reply.status == 500
    assert b"the cause" not in reply.body
    assert "the cause" in caplog.text
    assert TOKEN not in caplog.text


def test_nothing_that_is_refused_is_logged_with_its_secret(worker: WebWorker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        worker.ask("/models", token=WRONG)
        worker.ask(f"/models?token={WRONG}", token=None)
        worker.ask("/models")
        for request in (
            f"GET /models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\0\r\n\r\n",
            f"GET /models HTTP/9.9\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n",
            f"GET / {TOKEN}\r\n\r\n",
            f"BREW /models HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n",
            f"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\ntoken={TOKEN}",
        ):
            answer = raw(worker, request.encode(), wait_s=2.0)
            assert TOKEN.encode() not in answer
    assert TOKEN not in caplog.text
    assert WRONG not in caplog.text
    assert TOKEN not in repr(worker.server.security)
    assert TOKEN not in repr(worker.application.settings)


# -- what is refused at the start


def test_outside_loopback_the_start_is_refused_without_a_token() -> None:
    for host in ("0.0.0.0", "", "::", "10.0.0.5", "worker.example"):
        with pytest.raises(UsageError, match="TSREC_WEB_TOKEN") as raised:
            security_of(settings(web_host=host))
        assert "\n" not in str(raised.value)
    for host in ("127.0.0.1", "localhost", "::1"):
        assert security_of(settings(web_host=host)).token is None


def test_a_token_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert security_of(settings(web_host="::", web_token_file=file)).token == TOKEN.encode()
    with pytest.raises(UsageError, match="keep one"):
        security_of(settings(web_token=TOKEN, web_token_file=file))
    with pytest.raises(UsageError, match="cannot be read"):
        security_of(settings(web_token_file=tmp_path / "none"))
    for bad in ("short", "x" * 8 + " " + "y" * 8, ""):
        file.write_text(bad)
        with pytest.raises(UsageError, match="at least 16") as raised:
            security_of(settings(web_token_file=file))
        assert not bad or bad not in str(raised.value)


def test_on_loopback_a_page_from_elsewhere_is_not_answered() -> None:
    with serving() as worker:
        assert worker.ask("/models").status == 200
        assert worker.ask("/models", headers={"Host": "localhost:1"}).status == 200
        assert worker.ask("/models", headers={"Host": "evil.example"}).status == 403
        assert worker.ask("/models", headers={"Host": "127.0.0.1.evil.example"}).status == 403


def test_on_loopback_a_page_from_elsewhere_changes_nothing() -> None:
    """A browser sends a form, or a fetch without a body, to any address without asking; it says where it comes from."""
    with serving() as worker:
        path = "/alerts/abc/acknowledge"
        own = f"127.0.0.1:{worker.server.port}"
        for origin in ("http://evil.example", f"http://evil.example:{worker.server.port}", "null", f"http://{own}1"):
            for body in (b"", b"{}"):
                reply = worker.ask(path, "POST", body=body, headers={"Origin": origin})
                assert (reply.status, reply.json()["type"]) == (403, "urn:tsrec:problem:forbidden")
        assert worker.ask(path, "POST", body={}, headers={"Origin": f"http://{own}"}).status == 404
        assert worker.ask(path, "POST", body={}).status == 404  # a program: no such alert


def test_a_body_that_says_not_what_it_is_is_refused_with_none_too() -> None:
    with serving() as worker:
        form = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "0"}
        assert worker.ask("/alerts/abc/acknowledge", "POST", body=b"", headers=form).status == 415
        assert worker.ask("/alerts/abc/acknowledge", "POST", headers={"Content-Length": "0"}).status == 404


def test_too_many_requests_are_told_when_to_come_again() -> None:
    with serving(web_rate=5.0) as worker:
        replies = [worker.ask("/healthz") for _ in range(14)]
        assert [reply.status for reply in replies[:10]] == [200] * 10
        assert replies[-1].status == 429
        assert int(replies[-1].headers["Retry-After"]) >= 1


# -- limits, alone


def test_a_bucket_refills_at_its_rate_and_is_one_for_each_client() -> None:
    limit = RateLimit(10.0)
    assert [limit.take("a", 0.0) for _ in range(21)].count(0.0) == 20
    assert limit.take("a", 0.0) == pytest.approx(0.1)
    assert limit.take("b", 0.0) == 0.0
    assert limit.take("a", 0.1) == 0.0
    assert limit.take("a", 0.1) > 0.0
    assert RateLimit(0.0).take("a", 0.0, 1e9) == 0.0


def test_connections_are_counted_by_client() -> None:
    connections = Connections(4)
    assert [connections.enter("a") for _ in range(3)] == [True, True, False]
    assert [connections.enter("b"), connections.enter("c"), connections.enter("d")] == [True, True, False]
    connections.leave("a")
    assert connections.enter("d")


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for loopback, and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_with_a_certificate_the_server_speaks_tls_only(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    with serving(web_tls_cert=cert, web_tls_key=key, web_token=TOKEN) as worker:
        worker.tls = ssl.create_default_context(cafile=str(cert))
        reply: Reply = worker.ask("/models")
        assert reply.status == 200
        assert "Strict-Transport-Security" in reply.headers
        assert worker.url.startswith("https://127.0.0.1:")
        entered = worker.ask(
            "/login",
            "POST",
            body=f"token={TOKEN}".encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert "Secure" in entered.headers["Set-Cookie"]
        assert b"200" not in raw(worker, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", wait_s=2.0)
        worker.tls = ssl.create_default_context()
        with pytest.raises(ssl.SSLCertVerificationError):
            worker.ask("/models")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with contextlib.suppress(ValueError, DeprecationWarning):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
            worker.tls = old
            with pytest.raises((ssl.SSLError, ConnectionError)):
                worker.ask("/models")


def test_a_certificate_that_cannot_be_used_is_refused_at_the_start(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = certificate
    with pytest.raises(UsageError, match="belong together"):
        security_of(settings(web_tls_cert=cert))
    for bad_cert, bad_key in ((cert, tmp_path / "none"), (key, cert)):
        with pytest.raises(UsageError, match="cannot be used"):
            security_of(settings(web_tls_cert=bad_cert, web_tls_key=bad_key))

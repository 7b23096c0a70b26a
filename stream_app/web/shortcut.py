"""Lists that are at hand are answered where a request's bytes arrive: in one turn of the loop, by one hold of the
interpreter, at a fifth of the cost of the long way through parser, task, guard and route."""

from __future__ import annotations

import re
import time
from email.utils import formatdate

from stream_app.metrics import Metrics
from stream_app.web.api.kept import KeptLists
from stream_app.web.headers import SECURITY_HEADERS, TLS_HEADERS
from stream_app.web.limits import RateLimit
from topics.fields import MAX_ID

__all__ = ["Shortcut", "is_plain"]

#: An id as it is, with nothing that is encoded, decoded or normalised; and at most a `k` that fits.
_LINE = re.compile(
    rb"GET /recommendations/([A-Za-z0-9_~-][A-Za-z0-9._~-]{0,%d})(?:\?k=([1-9][0-9]?))? HTTP/1\.1" % (MAX_ID - 1)
)

#: Any request line of this version; not one with a whole address, which says another host than the head.
_ANY_LINE = re.compile(rb"[A-Z]+ /[\x21-\x7e]* HTTP/1\.1")

#: A head and nothing after it: whole lines of printable characters, each a name and a value.
_HEAD = re.compile(rb"(?:[A-Za-z0-9!#$%&'*+.^_`|~-]+:[ \t\x21-\x7e]*\r\n)*\r\n")

#: Headers that say something of the connection, or of a body; that it is to be kept is nothing special.
_SPECIAL = re.compile(
    rb"(?im)^(?:connection[ \t]*:(?![ \t]*keep-alive[ \t]*\r)|"
    rb"(?:keep-alive|content-length|transfer-encoding|te|trailer|upgrade|expect)[ \t]*:)"
)


def is_plain(line: bytes, head: bytes) -> bool:
    """Whether a request line and what follows it are one whole request, without a body or anything special."""
    whole = _ANY_LINE.fullmatch(line) is not None and _HEAD.fullmatch(head) is not None
    return whole and _SPECIAL.search(head) is None


class Shortcut:
    """Answers to request lines; None where it takes the long way, which decides everything and says why."""

    def __init__(self, kept: KeptLists, rate: RateLimit, metrics: Metrics, *, tls: bool) -> None:
        self._kept = kept
        self._rate = rate
        self._answered = metrics.web_requests.labels("/recommendations/{user_id}", "200")
        self._latency = metrics.web_latency
        headers = SECURITY_HEADERS | (TLS_HEADERS if tls else {})
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        self._date = (0, b"")

    def answer(self, client: str, line: bytes) -> bytes | None:
        """The whole answer to a request of `client` whose head was let pass before."""
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        began = time.monotonic()
        user, k = found.groups()
        body = self._kept.at_hand(user.decode(), None if k is None else int(k))
        if body is None or self._rate.take(client, began):
            return None
        self._answered.inc()
        self._latency.observe(time.monotonic() - began)
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nDate: %b\r\n%b\r\n%b" % (
            len(body), self._now(), self._headers, body,
        )  # fmt: skip

    def _now(self) -> bytes:
        second = int(time.time())
        if second != self._date[0]:
            self._date = (second, formatdate(second, usegmt=True).encode())
        return self._date[1]

"""The web server's port: free, or a worker's, or somebody else's."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import urllib.error
import urllib.request
from typing import Literal

import msgspec

from stream_app.doctor.findings import Finding, ok, warning
from stream_app.settings import Settings

__all__ = ["port_findings"]

#: A worker of this machine answers at once, or not at all.
ANSWER_S = 3.0


class _Health(msgspec.Struct):
    """What /healthz answers."""

    status: Literal["ok", "stuck"]


def port_findings(settings: Settings) -> list[Finding]:
    """Whether the web server can listen."""
    if settings.web_port == 0:
        return [ok("port", "the web server takes any free port (TSREC_WEB_PORT=0)")]
    at = f"{settings.web_host}:{settings.web_port}"
    family = socket.AF_INET6 if ":" in settings.web_host else socket.AF_INET
    with socket.socket(family) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((settings.web_host, settings.web_port))
        except OSError as failure:
            if failure.errno == errno.EADDRINUSE and (state := _worker_at(settings)):
                return [ok("port", f"a worker answers at {at}: {state}")]
            return [warning(
                "port", f"{at} is taken ({failure.strerror}), and what listens there is no worker that answers",
                "end it, or choose another TSREC_WEB_PORT",
            )]  # fmt: skip
    return [ok("port", f"{at} is free")]


def _worker_at(settings: Settings) -> str | None:
    """What a worker's /healthz says at the web server's address; None where no worker answers."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.web_host, settings.web_host)
    secure = settings.web_tls_cert is not None
    # Nothing secret is asked or told, and the certificate is for another name than loopback's.
    context = ssl._create_unverified_context() if secure else None
    url = f"http{'s' * secure}://{f'[{host}]' if ':' in host else host}:{settings.web_port}/healthz"
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S, context=context) as answer:
            body = answer.read(1024)
    except urllib.error.HTTPError as refusal:
        body = refusal.read(1024)
    except (OSError, http.client.HTTPException):
        return None
    try:
        return msgspec.json.decode(body, type=_Health).status
    except msgspec.DecodeError:
        return None

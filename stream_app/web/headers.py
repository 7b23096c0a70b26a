"""Headers of every answer: what a browser must not do with it."""

from __future__ import annotations

from aiohttp import web

__all__ = ["SECURITY_HEADERS", "TLS_HEADERS", "add_headers"]

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Server": "tsrec",
}

#: And where this answer came over TLS, the next one shall too.
TLS_HEADERS = {"Strict-Transport-Security": "max-age=31536000"}


def add_headers(response: web.StreamResponse, *, tls: bool) -> None:
    """Add those that the route has not set itself; over TLS, that it is to be TLS next time too."""
    headers = response.headers
    for name, value in SECURITY_HEADERS.items():
        if name not in headers:
            headers[name] = value
    headers["Server"] = SECURITY_HEADERS["Server"]  # the library names itself and its version before this
    if tls:
        headers.update(TLS_HEADERS)

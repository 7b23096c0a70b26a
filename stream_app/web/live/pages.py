"""The page's own files: read once, served with a tag, so that a browser asks for each only when it has changed."""

from __future__ import annotations

from hashlib import blake2b
from importlib.resources import files

from aiohttp import web

__all__ = ["CONTENT_SECURITY_POLICY", "Pages"]

#: Nothing from elsewhere, nothing inline, nothing in a frame.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

_TYPES = {
    ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml",
}  # fmt: skip


class Pages:
    """The files of the folder `static`, by name."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, str, str]] = {}
        for entry in files("stream_app.web.live").joinpath("static").iterdir():
            kind = _TYPES.get(entry.name[entry.name.rfind(".") :])
            if kind is not None:
                data = entry.read_bytes()
                self._files[entry.name] = (data, kind, blake2b(data, digest_size=8).hexdigest())

    async def index(self, request: web.Request) -> web.Response:
        """GET /: the page."""
        return self._answer(request, "index.html")

    async def file(self, request: web.Request) -> web.Response:
        """GET /live/static/{name}: what the page is made of."""
        return self._answer(request, request.match_info["name"])

    def _answer(self, request: web.Request, name: str) -> web.Response:
        if name not in self._files:
            raise web.HTTPNotFound
        data, kind, tag = self._files[name]
        # `private, no-cache`: kept by the browser alone, and asked about each time.
        headers = {
            "ETag": f'"{tag}"', "Cache-Control": "private, no-cache",
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        }  # fmt: skip
        if f'"{tag}"' in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        return web.Response(body=data, content_type=kind, charset="utf-8", headers=headers)

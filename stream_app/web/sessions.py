"""A browser's way in: it cannot send a bearer token with a page, so the token is typed once and becomes a cookie."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from stream_app.web.problems import Problem
from stream_app.web.tokens import SESSION_COOKIE, SESSION_S, Security

__all__ = ["LOGIN_PATH", "Sessions", "login_page", "wants_page"]

LOGIN_PATH = "/login"

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>tsrec: token</title>
<meta name="viewport" content="width=device-width"></head><body><main><h1>tsrec</h1>
<form method="post" action="/login"><p><label>Token of this server (TSREC_WEB_TOKEN)
<input type="password" name="token" autocomplete="current-password" required autofocus></label>
<button>Open</button></p>__SAID__</form></main></body></html>"""


def wants_page(request: web.Request) -> bool:
    """Whether a person's browser asks for a page, rather than a program for data."""
    return request.method == "GET" and "text/html" in request.headers.get("Accept", "")


def login_page(status: int = 200, said: str = "") -> web.Response:
    """The form that takes the token."""
    text = _PAGE.replace("__SAID__", f'<p role="alert">{said}</p>' if said else "")
    response = web.Response(status=status, text=text, content_type="text/html")
    response.headers["Content-Security-Policy"] = "default-src 'none'; form-action 'self'; frame-ancestors 'none'"
    return response


class Sessions:
    """Login and logout."""

    def __init__(self, security: Security) -> None:
        self._security = security

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """For the server."""
        return [web.get(LOGIN_PATH, self.form), web.post(LOGIN_PATH, self.login), web.post("/logout", self.logout)]

    async def form(self, _request: web.Request) -> web.Response:
        """The form."""
        return login_page()

    async def login(self, request: web.Request) -> web.Response:
        """A form with `token`: a cookie and on to the page."""
        if request.content_type != "application/x-www-form-urlencoded":
            raise Problem(415, "send the form of /login; programs send 'Authorization: Bearer TOKEN' instead")
        token = (await request.post()).get("token")
        if not isinstance(token, str) or not self._security.is_token(token):
            return login_page(401, "This is not the token of this server.")
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(
            SESSION_COOKIE, self._security.session(), max_age=SESSION_S, httponly=True, samesite="Strict", path="/",
            secure=self._security.tls is not None,
        )  # fmt: skip
        return response

    async def logout(self, _request: web.Request) -> web.Response:
        """Forget the cookie."""
        response = web.Response(status=204)
        response.del_cookie(SESSION_COOKIE, path="/")
        return response

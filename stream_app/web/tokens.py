"""Who may ask: a bearer token for programs, a signed cookie made from it for browsers; nothing of it is ever logged."""

from __future__ import annotations

import hmac
import ssl
import time
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address

from stream_app.errors import UsageError
from stream_app.settings import Settings

__all__ = ["SESSION_COOKIE", "SESSION_S", "Security", "is_loopback", "security_of"]

#: A token that can be guessed is none: 16 characters of 64 kinds are 96 bits.
MIN_TOKEN = 16

SESSION_COOKIE = "tsrec_session"

#: A browser asks for the token again after a working day.
SESSION_S = 12 * 3600


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`. An empty one is every address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, repr=False)
class Security:
    """What a server was started with. token: None where none is asked for. tls: None for plain HTTP."""

    token: bytes | None
    tls: ssl.SSLContext | None
    loopback: bool

    def accepts(self, authorization: str | None) -> bool:
        """Whether an Authorization header brings the token. Digests are compared, in constant time."""
        if self.token is None:
            return True
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(sha256(given.strip().encode("utf-8", "replace")).digest(), self._digest())

    def is_token(self, given: str) -> bool:
        """Whether a browser's form brings the token."""
        return self.accepts(f"Bearer {given}")

    def session(self) -> str:
        """A cookie's value that is accepted for `SESSION_S` by every worker of this token."""
        until = str(int(time.time()) + SESSION_S)
        return f"{until}.{self._sign(until)}"

    def accepts_session(self, cookie: str | None) -> bool:
        """Whether a cookie was made by `session` and is not over."""
        if self.token is None:
            return True
        until, _, signature = (cookie or "").partition(".")
        given = signature.encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._sign(until).encode()):
            return False
        return until.isdigit() and int(until) > time.time()

    def _digest(self) -> bytes:
        return sha256(self.token or b"").digest()

    def _sign(self, until: str) -> str:
        return hmac.new(self.token or b"", b"session|" + until.encode("utf-8", "replace"), sha256).hexdigest()


def security_of(settings: Settings) -> Security:
    """What the settings ask for.

    Raises:
        UsageError: bound outside loopback without a token; a token, certificate or key that cannot be used.
    """
    token, loopback = _token(settings), is_loopback(settings.web_host)
    if token is None and not loopback:
        raise UsageError(
            f"TSREC_WEB_HOST={settings.web_host} can be reached from outside, so a token is needed: set "
            "TSREC_WEB_TOKEN or TSREC_WEB_TOKEN_FILE (make one with: openssl rand -base64 32), or bind 127.0.0.1"
        )
    return Security(token, _tls(settings), loopback)


def _token(settings: Settings) -> bytes | None:
    if settings.web_token is not None and settings.web_token_file is not None:
        raise UsageError("TSREC_WEB_TOKEN and TSREC_WEB_TOKEN_FILE are both set: keep one")
    name, text = "TSREC_WEB_TOKEN", None
    if settings.web_token is not None:
        text = settings.web_token.get_secret_value()
    elif settings.web_token_file is not None:
        name = f"TSREC_WEB_TOKEN_FILE={settings.web_token_file}"
        try:
            text = settings.web_token_file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{name} cannot be read ({type(error).__name__}): name a file with the token") from None
    if text is None:
        return None
    text = text.strip()
    if len(text) < MIN_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(f"{name}: the token must have at least {MIN_TOKEN} printable characters and no space")
    return text.encode()


def _tls(settings: Settings) -> ssl.SSLContext | None:
    cert, key = settings.web_tls_cert, settings.web_tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise UsageError("TSREC_WEB_TLS_CERT and TSREC_WEB_TLS_KEY belong together: set both or neither")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"TSREC_WEB_TLS_CERT={cert} with TSREC_WEB_TLS_KEY={key} cannot be used ({error}): give a PEM chain and "
            "its key without a passphrase"
        ) from None
    return context

"""How clients reach the cluster: its address, TLS and SASL, the same for the worker and every command.

A `Cluster` is made once from the settings and given to whatever opens a connection; nothing else knows of certificates
or passwords. What is wrong with them is found when it is made (files), or by `diagnose` (what the broker says of them).
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from stream_app.errors import BrokerRefused, BrokerUnavailable, TsrecError, UsageError

if TYPE_CHECKING:
    from stream_app.settings import Settings
from stream_app.settings_topics import BrokerSettings

__all__ = ["Cluster", "cluster_of", "diagnose", "not_allowed"]

#: Seconds that one address is tried for when it is asked what is wrong.
DIAGNOSE_S = 5.0

_WRONG_CREDENTIALS = (AuthenticationFailedError, SaslAuthenticationFailed)
_NOT_ALLOWED = (ClusterAuthorizationFailedError, GroupAuthorizationFailedError, TopicAuthorizationFailedError)


@dataclass(frozen=True)
class Cluster:
    """Addresses (`bootstrap`, comma separated) and how to speak to them. Without more: plaintext, nobody asked."""

    bootstrap: str
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    mechanism: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, address: Cluster | str) -> Cluster:
        """A cluster as it is, or the one that listens in plaintext at an address."""
        return address if isinstance(address, Cluster) else cls(address)

    @property
    def protocol(self) -> str:
        """Kafka's name for the way of speaking: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
        if self.mechanism:
            return "SASL_SSL" if self.tls else "SASL_PLAINTEXT"
        return "SSL" if self.tls else "PLAINTEXT"

    def security(self) -> dict[str, Any]:
        """Options of an aiokafka connection, the address excepted."""
        options: dict[str, Any] = {"security_protocol": self.protocol}
        if self.tls is not None:
            options["ssl_context"] = self.tls
        if self.mechanism:
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return options

    def options(self) -> dict[str, Any]:
        """Options of an aiokafka consumer, producer or admin client."""
        return {"bootstrap_servers": self.bootstrap, **self.security()}

    def credentials(self) -> Any:
        """The same for Faust (`broker_credentials`); None for plaintext."""
        from faust.auth import SASLCredentials, SSLCredentials

        if self.mechanism:
            return SASLCredentials(
                username=self.username, password=self.password, ssl_context=self.tls, mechanism=self.mechanism
            )
        return SSLCredentials(self.tls) if self.tls is not None else None

    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each address; brackets around an IPv6 host are taken off."""
        found = []
        for server in filter(None, (part.strip() for part in self.bootstrap.split(","))):
            host, _, port = server.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
                raise UsageError(f"setting TSREC_BOOTSTRAP: {server!r} is not HOST:PORT, with a port from 1 to 65535")
            found.append((host.strip("[]"), int(port)))
        return found


def cluster_of(settings: Settings) -> Cluster:
    """The cluster of the settings.

    Raises:
        UsageError: an address that is none, a file that is missing or holds no certificate or key; one line that names
        the setting.
    """
    mine = settings.broker
    if not Cluster(settings.bootstrap).addresses():
        raise UsageError("setting TSREC_BOOTSTRAP is empty: it is HOST:PORT of a broker, or several by commas")
    tls = _context(mine) if mine.tls else None
    if mine.sasl_mechanism is None:
        return Cluster(settings.bootstrap, tls)
    if mine.sasl_password_file is not None:
        password = _read(mine.sasl_password_file, "TSREC_BROKER__SASL_PASSWORD_FILE").strip()
    else:
        password = mine.sasl_password.get_secret_value() if mine.sasl_password is not None else ""
    return Cluster(settings.bootstrap, tls, mine.sasl_mechanism, mine.sasl_username, password)


def _read(path: Path, setting: str) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise UsageError(f"setting {setting}: {path} cannot be read ({error.strerror})") from error


def _context(mine: BrokerSettings) -> ssl.SSLContext:
    if mine.tls_ca is not None:
        _read(mine.tls_ca, "TSREC_BROKER__TLS_CA")
    try:
        context = ssl.create_default_context(cafile=str(mine.tls_ca) if mine.tls_ca else None)
    except ssl.SSLError as error:
        raise UsageError(f"setting TSREC_BROKER__TLS_CA: {mine.tls_ca} holds no certificate in PEM") from error
    context.check_hostname = mine.tls_check_hostname
    if mine.tls_cert is not None:
        key = mine.tls_key or mine.tls_cert
        _read(mine.tls_cert, "TSREC_BROKER__TLS_CERT")
        _read(key, "TSREC_BROKER__TLS_KEY")
        secret = mine.tls_key_password
        # Without a password, OpenSSL would ask the terminal for one.
        password = secret.get_secret_value() if secret is not None else ""
        try:
            context.load_cert_chain(mine.tls_cert, key, lambda: password)
        except (ssl.SSLError, ValueError) as error:
            raise UsageError(
                f"settings TSREC_BROKER__TLS_CERT and TSREC_BROKER__TLS_KEY: {mine.tls_cert} and {key} are not a "
                "certificate in PEM and its key, or TSREC_BROKER__TLS_KEY_PASSWORD is not the key's"
            ) from error
    return context


async def diagnose(cluster: Cluster) -> TsrecError:
    """Why a client cannot work with the cluster, in one line that says what to do.

    aiokafka tells its log only, and raises the same for a dead broker, a wrong password and an untrusted certificate.
    """
    worst: TsrecError | None = None
    for host, port in cluster.addresses():
        found = await _diagnose_one(cluster, host, port)
        if found is None:
            return BrokerUnavailable(f"{host}:{port} answers now; try again")
        if worst is None or isinstance(found, BrokerRefused):
            worst = found
    return worst or UsageError("setting TSREC_BOOTSTRAP is empty")


async def _diagnose_one(cluster: Cluster, host: str, port: int) -> TsrecError | None:
    """What is wrong with one address; None where nothing is."""
    at = f"{host}:{port}"
    try:
        conn = await create_conn(host, port, request_timeout_ms=int(DIAGNOSE_S * 1000), **cluster.security())
    except ssl.SSLCertVerificationError as error:
        if "ostname" in error.verify_message or "IP address mismatch" in error.verify_message:
            return BrokerRefused(
                f"the broker's certificate is not for {host} ({error.verify_message}): use a name that is in it in "
                "TSREC_BOOTSTRAP, or TSREC_BROKER__TLS_CHECK_HOSTNAME=false if you know why"
            )
        return BrokerRefused(
            f"the certificate of the broker at {at} is not trusted ({error.verify_message}): let "
            "TSREC_BROKER__TLS_CA name the file (PEM) of who signed it"
        )
    except ssl.SSLError as error:
        if "wrong version" in str(error).lower() or "record layer" in str(error).lower():
            return BrokerRefused(
                f"the broker at {at} does not speak TLS on that port: use its TLS port, or leave out TSREC_BROKER__TLS"
            )
        return BrokerRefused(f"TLS with the broker at {at} failed ({error.reason or error}): {_client_side(cluster)}")
    except UnsupportedSaslMechanismError as error:
        return BrokerRefused(
            f"the broker at {at} does not take {cluster.mechanism} ({error}): set TSREC_BROKER__SASL_MECHANISM to one "
            "that it does"
        )
    except IllegalSaslStateError:
        return BrokerRefused(
            f"the broker at {at} asks for no password on that port: use its SASL port, or leave out "
            "TSREC_BROKER__SASL_MECHANISM"
        )
    except _WRONG_CREDENTIALS as error:
        return BrokerRefused(
            f"the broker at {at} does not accept the user {cluster.username!r} with this password by "
            f"{cluster.mechanism} ({_said(error)}): see TSREC_BROKER__SASL_USERNAME and TSREC_BROKER__SASL_PASSWORD"
        )
    except (ConnectionRefusedError, TimeoutError) as error:
        if isinstance(error, ConnectionRefusedError):
            return BrokerUnavailable(f"no broker answers at {at}: start one with `tsrec broker`, or see --bootstrap")
        return BrokerUnavailable(f"{at} does not answer within {DIAGNOSE_S:g} s: see --bootstrap, and the firewall")
    except (KafkaError, OSError) as error:
        # An error of Kafka has a number too, and a name of our side of the connection for its text.
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
            return BrokerUnavailable(f"{at} cannot be reached ({error.strerror}): see --bootstrap")
        # The other side hung up during the first words; one that is just starting does so too.
        if cluster.tls is not None and await _speaks(host, port, None):
            return BrokerRefused(
                f"the broker at {at} does not speak TLS on that port: use its TLS port, or leave out TSREC_BROKER__TLS"
            )
        if cluster.tls is None and await _speaks(host, port, _trusting()):
            return BrokerRefused(f"the broker at {at} speaks TLS on that port: set TSREC_BROKER__TLS=true")
        return BrokerUnavailable(f"{at} closes the connection at once: {_client_side(cluster)}")
    conn.close()
    return None


def _trusting() -> ssl.SSLContext:
    """For finding out whether TLS is spoken; nothing is told over it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _speaks(host: str, port: int, tls: ssl.SSLContext | None) -> bool:
    """Whether Kafka's first question (ApiVersions 0) is answered this way."""
    try:
        async with asyncio.timeout(DIAGNOSE_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
            try:
                writer.write(b"\0\0\0\x0a" + b"\0\x12\0\0" + b"\0\0\0\x01" + b"\xff\xff")
                return (await reader.readexactly(8))[4:] == b"\0\0\0\x01"
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


def _client_side(cluster: Cluster) -> str:
    """What to look at where the broker does not say why it hangs up."""
    if cluster.protocol == "PLAINTEXT":
        return "does it want TLS (TSREC_BROKER__TLS=true) or a password (TSREC_BROKER__SASL_MECHANISM)?"
    if cluster.protocol == "SASL_PLAINTEXT":
        return "does it want TLS (TSREC_BROKER__TLS=true), or no password on that port?"
    if cluster.protocol == "SSL":
        return (
            "does it want a certificate of the client (TSREC_BROKER__TLS_CERT, TSREC_BROKER__TLS_KEY) that it trusts, "
            "or a password (TSREC_BROKER__SASL_MECHANISM)?"
        )
    return "is that a SASL_SSL port, and does it want a certificate of the client (TSREC_BROKER__TLS_CERT)?"


def _said(error: BaseException) -> str:
    return str(error).rpartition(": ")[2] or type(error).__name__


def not_allowed(error: BaseException) -> str | None:
    """What to do where the broker knows the user and does not let it: a sentence, or None for other errors."""
    if not isinstance(error, _NOT_ALLOWED):
        return None
    what = {
        TopicAuthorizationFailedError: "the topics (READ, WRITE, DESCRIBE, and CREATE where they are missing)",
        GroupAuthorizationFailedError: "the consumer group (READ)",
        ClusterAuthorizationFailedError: "the cluster (CREATE, IDEMPOTENT_WRITE)",
    }[type(error)]
    return f"the broker does not allow this user {what}: give it the rights of docs/security.md with kafka-acls.sh"

"""The models that are to answer, and what outsiders can reach."""

from __future__ import annotations

import stat
from pathlib import Path

from stream_app.doctor.findings import Finding, error, ok, warning
from stream_app.errors import UsageError
from stream_app.model_store import ModelStore, Role
from stream_app.setting_sources import unknown_variables
from stream_app.settings import Settings
from stream_app.web.tokens import security_of
from tsrec_models.base import ModelError

__all__ = ["model_findings", "security_findings", "setting_findings"]


def model_findings(settings: Settings) -> list[Finding]:
    """Each model of the settings is there, whole (its files have the manifest's hashes), and fits."""
    findings = []
    if settings.model is None:
        findings.append(ok("model", "no neural model is set (TSREC_MODEL): rules and trends answer"))
    else:
        roles: tuple[Role, ...] = ("active", "shadow")
        for role in roles:
            findings += _model(settings, settings.model, role)
    for name, folder, file in (
        ("credit", settings.credit.model, "credit.json"), ("fraud", settings.fraud.model, "fraud.json"),
    ):  # fmt: skip
        if folder is not None and not (folder / file).is_file():
            findings.append(error(
                f"{name}-model", f"{folder} holds no {name} model", f"make one with `tsrec evaluate {name} … --save`"
            ))  # fmt: skip
    return findings


def _model(settings: Settings, folder: Path, role: Role) -> list[Finding]:
    from stream_app.models import check_width
    from tsrec_models.artifacts import load_artifact

    try:
        if role == "shadow" and not folder.exists():
            return []
        path = ModelStore(folder).path(role) if folder.exists() else folder
        if path is None:
            return [] if role == "shadow" else [warning(
                "model", f"the store {folder} has no active model: rules and trends answer",
                "tsrec model push ARTIFACT --activate",
            )]  # fmt: skip
        artifact = load_artifact(path, device="cpu")
        check_width(artifact, path, settings.hidden_width)
    except (ModelError, UsageError) as one:
        return [error(
            "model", str(one), "copy the artifact again, or train one with `tsrec train`; a worker does not start"
        )]  # fmt: skip
    manifest = artifact.manifest
    text = f"{role}: {manifest.version}, {artifact.model.n_items:,} items, its files have their hashes"
    return [ok("model", text, version=manifest.version, hash=manifest.content_hash, role=role)]


def security_findings(settings: Settings) -> list[Finding]:
    """Who can reach and read what."""
    findings = []
    try:
        web = security_of(settings)
    except UsageError as one:
        return [error("web-security", str(one), "a worker does not start like this")]
    if not web.loopback and web.tls is None:
        findings.append(warning(
            "web-security", f"{settings.web_host} can be reached from outside, and the token travels in clear",
            "set TSREC_WEB_TLS_CERT and TSREC_WEB_TLS_KEY, or put a proxy that speaks TLS before it",
        ))  # fmt: skip
    broker = settings.broker
    if broker.sasl_mechanism is not None and not broker.tls:
        clear = "the password" if broker.sasl_mechanism == "PLAIN" else "every event"
        findings.append(warning(
            "broker-security", f"{clear} goes to the broker in clear ({broker.sasl_mechanism} without TLS)",
            "set TSREC_BROKER__TLS=true, and use the broker's SASL_SSL port",
        ))  # fmt: skip
    if broker.tls and not broker.tls_check_hostname:
        findings.append(warning(
            "broker-security", "any host with a certificate of that authority can pose as the broker",
            "leave out TSREC_BROKER__TLS_CHECK_HOSTNAME=false, and use names that are in the certificate",
        ))  # fmt: skip
    for setting, path in (
        ("TSREC_WEB_TOKEN_FILE", settings.web_token_file), ("TSREC_WEB_TLS_KEY", settings.web_tls_key),
        ("TSREC_BROKER__SASL_PASSWORD_FILE", broker.sasl_password_file),
        ("TSREC_BROKER__TLS_KEY", broker.tls_key or broker.tls_cert), (".env", Path(".env")),
    ):  # fmt: skip
        if path is not None and path.is_file() and path.stat().st_mode & stat.S_IROTH and _is_secret(path):
            findings.append(warning(
                "secret-file", f"{path} ({setting}) can be read by every user of this machine", f"chmod 600 {path}"
            ))  # fmt: skip
    where = "this machine only" if web.loopback else "outside, with a token"
    return findings or [ok("security", f"the web server can be reached from {where}")]


def _is_secret(path: Path) -> bool:
    """A `.env` without a secret in it may be read by anybody; the other files are secrets."""
    if path.name != ".env":
        return True
    text = path.read_text(errors="replace").upper()
    return any(word in text for word in ("PASSWORD=", "TOKEN="))


def setting_findings() -> list[Finding]:
    """Variables that look like settings and are none."""
    return [
        warning(
            "settings", f"{name} is in the environment, and is no setting",
            f"did you mean {guess}?" if guess else "docs/settings.md has all of them",
        )
        for name, guess in unknown_variables().items()
    ]  # fmt: skip

"""TLS and SASL to a real Apache Kafka: every command and the worker get in, and who may not is told why in a line."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from stream_app.cli import main
from tests.system.brokers import kafka_home
from tests.system.certificates import Authority
from tests.system.secure_kafka import PASSWORD, SecureKafka
from tests.system.workers import WorkerProcess, wait_until

pytestmark = [pytest.mark.system, pytest.mark.kafka]

WAYS = [
    ("SSL", None), ("SASL_SSL", "PLAIN"), ("SASL_SSL", "SCRAM-SHA-256"), ("SASL_SSL", "SCRAM-SHA-512"),
    ("SASL_PLAINTEXT", "SCRAM-SHA-256"),
]  # fmt: skip


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """A broker with a listener for each way of speaking."""
    home = kafka_home()
    if home is None:
        pytest.skip("no Apache Kafka: set KAFKA_HOME")
    broker = SecureKafka(home, Path(tmp_path_factory.mktemp("secure")))
    broker.start()
    yield broker
    broker.stop()


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def tsrec(folder: Path, *arguments: str, code: int = 0, **env: str) -> Done:
    """Run a command in `folder` with these settings only, in this process: a new one imports for seconds."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["tsrec", *arguments])
        for name in [name for name in os.environ if name.startswith("TSREC_")]:
            patch.delenv(name)
        for name, value in env.items():
            patch.setenv(name, value)
        try:
            main()
            ended = 0
        except SystemExit as exit_:
            ended = int(exit_.code or 0)
    done = Done(ended, out.getvalue(), err.getvalue())
    assert done.returncode == code, done.stdout + done.stderr
    return done


def one_line(done: Done) -> str:
    """The error, which is one line and holds no secret."""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert PASSWORD not in done.stderr
    return done.stderr


@pytest.mark.parametrize(("protocol", "mechanism"), WAYS)
def test_topics_are_made_filled_and_read(
    secure: SecureKafka, tmp_path: Path, protocol: str, mechanism: str | None
) -> None:
    env = secure.environment(protocol, mechanism) | {"TSREC_TOPIC_PREFIX": f"{protocol}.{mechanism}."}
    if protocol == "SSL":
        env["TSREC_BROKER__TLS_CERT"] = str(secure.authority.issue("client"))
    tsrec(tmp_path, "topics", "create", "clicks", "dead-letters", **env)
    events = tmp_path / "events.csv"
    events.write_text("user_id,item_id,ts\nann,i1,1000\n")
    assert "sent 1 records" in tsrec(tmp_path, "replay", str(events), "-t", "clicks", **env).stdout
    assert "item_id=i1" in tsrec(tmp_path, "tail", "clicks", "--from", "beginning", "--until-end", **env).stdout
    assert "no dead letters" in tsrec(tmp_path, "dlq", "list", **env).stdout


def test_a_worker_recommends_over_tls_with_a_password(secure: SecureKafka, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    env = secure.environment("SASL_SSL", "SCRAM-SHA-512") | {
        "TSREC_GROUP": "secure", "TSREC_GUARANTEE": "exactly_once", "TSREC_TOPIC_PREFIX": "secure.",
        "TSREC_WEB_PORT": "0", "TSREC_BROKER__SASL_PASSWORD_FILE": str(password),
    }  # fmt: skip
    del env["TSREC_BROKER__SASL_PASSWORD"]
    tsrec(tmp_path, "topics", "create", **env)
    events = tmp_path / "events.csv"
    events.write_text("user_id,item_id,ts\n" + "".join(f"u{n % 9},i{n % 7},{1000 + n}\n" for n in range(200)))
    tsrec(tmp_path, "replay", str(events), "-t", "clicks", **env)
    worker = WorkerProcess(tmp_path, "worker", "-m", "stream_app.cli", "worker", **env).start()
    try:
        worker.wait_for_log("worker ready", 120)

        def recommended() -> bool:
            return bool(tsrec(tmp_path, "tail", "recommendations", "--from", "beginning", "--until-end", **env).stdout)

        wait_until(recommended, 60, "recommendations")
        assert worker.terminate() == 0, worker.log()
        assert PASSWORD not in worker.log()
    finally:
        worker.close()


def test_a_wrong_password_is_told_in_one_line_by_commands_and_worker(secure: SecureKafka, tmp_path: Path) -> None:
    for mechanism in ("PLAIN", "SCRAM-SHA-256"):
        env = secure.environment("SASL_SSL", mechanism) | {"TSREC_BROKER__SASL_PASSWORD": "wrong"}
        said = one_line(tsrec(tmp_path, "topics", "list", code=3, **env))
        assert "does not accept the user 'ann' with this password" in said
        assert "TSREC_BROKER__SASL_PASSWORD" in said
    worker = WorkerProcess(tmp_path, "worker", "-m", "stream_app.cli", "worker", **env, TSREC_WEB_PORT="0").start()
    try:
        assert worker.wait(120) == 3, worker.log()
        assert "does not accept the user 'ann' with this password" in worker.log()
        assert "Traceback" not in worker.log()
    finally:
        worker.close()


def test_an_untrusted_certificate_is_told_in_one_line(secure: SecureKafka, tmp_path: Path) -> None:
    env = secure.environment("SASL_SSL", "PLAIN")
    stranger = Authority(tmp_path, "stranger")
    said = one_line(tsrec(tmp_path, "tail", "clicks", code=3, **env | {"TSREC_BROKER__TLS_CA": str(stranger.ca)}))
    assert "is not trusted" in said
    assert "TSREC_BROKER__TLS_CA" in said


def test_a_certificate_for_another_host_is_told(secure: SecureKafka, tmp_path: Path) -> None:
    env = secure.environment("SASL_SSL", "PLAIN")
    elsewhere = env["TSREC_BOOTSTRAP"].replace("127.0.0.1", "127.0.0.2")
    # The broker listens on 127.0.0.1 only, so another name for it is used.
    done = tsrec(tmp_path, "topics", "list", code=3, **env | {"TSREC_BOOTSTRAP": elsewhere})
    assert "no broker answers at 127.0.0.2" in one_line(done)
    named = env | {"TSREC_BOOTSTRAP": env["TSREC_BOOTSTRAP"].replace("127.0.0.1", "ip6-localhost")}
    done = tsrec(tmp_path, "topics", "list", code=3, **named)
    assert "TSREC_BOOTSTRAP" in done.stderr or "--bootstrap" in done.stderr


def test_speaking_the_wrong_protocol_is_told(secure: SecureKafka, tmp_path: Path) -> None:
    plaintext = {"TSREC_BOOTSTRAP": f"127.0.0.1:{secure.ports['SASL_SSL']}"}
    assert "speaks TLS on that port: set TSREC_BROKER__TLS=true" in one_line(
        tsrec(tmp_path, "topics", "list", code=3, **plaintext)
    )
    tls = secure.environment("SASL_SSL", "PLAIN") | {"TSREC_BOOTSTRAP": secure.bootstrap}
    assert "does not speak TLS on that port" in one_line(tsrec(tmp_path, "topics", "list", code=3, **tls))
    mechanism = secure.environment("SASL_PLAINTEXT", "SCRAM-SHA-512")
    assert "does not take SCRAM-SHA-512" in one_line(tsrec(tmp_path, "topics", "list", code=3, **mechanism))
    open_to_all = secure.environment("SASL_PLAINTEXT", "PLAIN") | {"TSREC_BOOTSTRAP": secure.bootstrap}
    assert "asks for no password on that port" in one_line(tsrec(tmp_path, "topics", "list", code=3, **open_to_all))
    nobody = secure.environment("SSL")
    assert "TSREC_BROKER__TLS_CERT" in one_line(tsrec(tmp_path, "topics", "list", code=3, **nobody))


def test_files_that_are_no_certificates_are_told_before_anything_is_opened(tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("nothing")
    authority = Authority(tmp_path)
    locked = authority.issue("locked", password="right")
    base = {"TSREC_BROKER__TLS": "true", "TSREC_BOOTSTRAP": "127.0.0.1:1"}
    for given, expected in (
        ({"TSREC_BROKER__TLS_CA": str(tmp_path / "none.pem")}, "TSREC_BROKER__TLS_CA: "),
        ({"TSREC_BROKER__TLS_CA": str(junk)}, "holds no certificate"),
        ({"TSREC_BROKER__TLS_CERT": str(junk)}, "are not a certificate in PEM and its key"),
        ({"TSREC_BROKER__TLS_CERT": str(locked)}, "TSREC_BROKER__TLS_KEY_PASSWORD"),
        ({"TSREC_BROKER__TLS_CERT": str(locked), "TSREC_BROKER__TLS_KEY_PASSWORD": "wrong"}, "is not the key's"),
    ):
        done = tsrec(tmp_path, "topics", "list", code=2, **base, **given)
        assert expected in one_line(done)
    # With the right password the files are fine, and it is the broker that is missing.
    fine = {"TSREC_BROKER__TLS_CERT": str(locked), "TSREC_BROKER__TLS_KEY_PASSWORD": "right"}
    tsrec(tmp_path, "topics", "list", code=3, **base, **fine)
    shown = tsrec(tmp_path, "config", "show", "broker", "--json", **base, **fine).stdout.splitlines()
    assert {"(hidden)"} == {
        row["value"]
        for row in map(json.loads, shown)
        if row["variable"].endswith("_PASSWORD") and row["source"] != "default"
    }

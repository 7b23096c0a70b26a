"""Doctor's judgements, each check by itself; the whole of it on real brokers is in tests/system/test_doctor.py."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
from aiokafka import TopicPartition

from stream_app import broker_kind
from stream_app.contract import catalog_of
from stream_app.doctor import broker, group, machine, port, serving
from stream_app.doctor.findings import Finding, ok, warning, worst
from stream_app.doctor.group import Look, Member, group_findings
from stream_app.doctor.topics import Described, topic_findings
from stream_app.security import Cluster
from stream_app.settings import Settings, load
from tests.web_tls import make_certificate
from tests.web_worker import serving as a_worker
from tsrec_models.artifacts import save_artifact
from tsrec_models.sequence.popularity import Popularity

A, B = TopicPartition("clicks", 0), TopicPartition("clicks", 1)
DAY_MS = 86_400_000


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The defaults, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("TSREC_"):
            monkeypatch.delenv(name)
    return load()


def by_check(findings: list[Finding]) -> dict[str, str]:
    """Severity of each check."""
    return {finding.check: finding.severity for finding in findings}


def healthy(settings: Settings) -> dict[str, Described]:
    """All topics as `tsrec topics create` makes them."""
    return {t.kafka_name: Described(t.partitions, 1, t.config()) for t in catalog_of(settings).values()}


def test_the_gravest_finding_counts() -> None:
    assert worst([]) == "ok"
    assert worst([ok("a", "a"), warning("b", "b", "b")]) == "warning"


def test_topics_as_they_are_created_are_fine(settings: Settings) -> None:
    assert by_check(topic_findings(healthy(settings), catalog_of(settings), settings)) == {"topics": "ok"}


def test_a_wrong_setting_of_partitions_is_one_finding_that_names_the_topics(settings: Settings) -> None:
    mine = settings.model_copy(update={"partitions": 8})
    found = [one for one in topic_findings(healthy(settings), catalog_of(mine), mine) if one.check == "partitions"]
    assert len(found) == 1
    assert found[0].message.startswith("clicks, purchases, trades, ")
    assert found[0].message.endswith(" have 4 partitions, and 8 are declared")
    assert "items" not in found[0].figures["topics"]  # has one, whatever the setting is
    assert "set TSREC_PARTITIONS=4 if all have as many" in found[0].advice


@pytest.mark.parametrize(
    ("topic", "there", "check", "severity"),
    [
        ("clicks", None, "topics-missing", "warning"),
        ("clicks", Described(3, 1, {}), "partitions", "error"),
        ("items", Described(1, 1, {"cleanup.policy": "delete", "retention.ms": "-1"}), "compaction", "error"),
        ("clicks", Described(4, 1, {"cleanup.policy": "compact"}), "compaction", "error"),
        ("clicks", Described(4, 1, {"cleanup.policy": "delete", "retention.ms": "60000"}), "retention", "error"),
        ("clicks", Described(4, 1, {"cleanup.policy": "delete", "retention.ms": str(DAY_MS)}), "retention", "warning"),
        ("forecasts", Described(4, 1, {"cleanup.policy": "delete", "min.insync.replicas": "2"}), "replicas", "error"),
        ("tsrec-users-changelog", Described(4, 1, {"cleanup.policy": "delete"}), "changelog", "error"),
        (
            "tsrec-users-changelog",
            Described(4, 1, {"cleanup.policy": "compact,delete", "retention.ms": "1000"}),
            "changelog",
            "error",
        ),
        ("tsrec-users-changelog", Described(8, 1, {"cleanup.policy": "compact"}), "changelog", "error"),
    ],
)
def test_a_topic_that_is_ill_is_found(
    settings: Settings, topic: str, there: Described | None, check: str, severity: str
) -> None:
    found = healthy(settings)
    found.pop(topic, None)
    if there is not None:
        found[topic] = there
    findings = topic_findings(found, catalog_of(settings), settings)
    assert by_check(findings)[check] == severity
    assert all(topic in finding.message for finding in findings)
    assert all(finding.advice for finding in findings)


def test_changelogs_of_other_groups_are_not_ours_to_judge(settings: Settings) -> None:
    found = healthy(settings) | {"shop-users-changelog": Described(9, 1, {"cleanup.policy": "delete"})}
    assert by_check(topic_findings(found, catalog_of(settings), settings)) == {"topics": "ok"}


MEMBER = Member("w-1", "10.0.0.1", frozenset({A, B}))


def a_look(
    *, a: int = 100, b: int = 100, state: str = "Stable", members: tuple[Member, ...] = (MEMBER,), end: int = 100,
    begin: int = 0,
) -> Look:  # fmt: skip
    return Look(state, list(members), {A: a, B: b}, {A: begin, B: begin}, {A: end, B: end})


def judge(first: Look, second: Look) -> dict[str, str]:
    return by_check(group_findings("tsrec", first, second, 3.0, 0.0))


def test_a_group_that_keeps_up_is_fine() -> None:
    assert judge(a_look(), a_look()) == {"lag": "ok"}
    assert judge(a_look(a=50), a_look(a=90)) == {"lag": "ok"}


def test_a_member_that_commits_nothing_while_records_wait_is_stuck() -> None:
    assert judge(a_look(a=50), a_look(a=50)) == {"stuck": "error"}
    # New records at a partition that had none do not make it stuck.
    assert judge(a_look(), a_look(end=110)) == {"lag": "ok"}


def test_nobody_running_is_told_with_what_waits() -> None:
    assert judge(a_look(members=()), a_look(members=())) == {"workers": "warning"}
    assert judge(a_look(members=(), a=1), a_look(members=(), a=1)) == {"workers": "error"}


def test_a_partition_of_nobody_and_a_worker_of_nothing_are_found() -> None:
    alone = Member("w-1", "h", frozenset({A}))
    assert judge(a_look(members=(alone,)), a_look(members=(alone,))) == {"unassigned": "error"}
    two = (MEMBER, Member("w-2", "h", frozenset()))
    assert judge(a_look(members=two), a_look(members=two)) == {"idle": "warning", "lag": "ok"}


def test_a_lag_that_grows_is_told() -> None:
    first, second = a_look(a=10, b=10, end=5_000), a_look(a=20, b=20, end=9_000)
    assert judge(first, second) == {"lag": "warning"}


def test_offsets_that_are_gone_are_told() -> None:
    assert judge(a_look(begin=120, end=200, a=90), a_look(begin=120, end=200, a=90))["retention-lost"] == "error"
    assert judge(a_look(a=500), a_look(a=500))["made-anew"] == "error"


def test_records_from_the_future_are_a_clock_that_is_wrong() -> None:
    first = Look("Stable", [MEMBER], {A: 1, B: 1}, {A: 0, B: 0}, {A: 1, B: 1}, {A: 1_000_000})
    assert by_check(group_findings("tsrec", first, first, 3.0, 900.0))["clock"] == "warning"
    assert "clock" not in by_check(group_findings("tsrec", first, first, 3.0, 999.0))


def test_the_release_is_read_from_the_brokers_features() -> None:
    feature = (
        b"\x02" + bytes([len(b"metadata.version") + 1]) + b"metadata.version" + struct.pack(">hh", 25, 25) + b"\x00"
    )
    tagged = b"\x01\x02" + bytes([len(feature)]) + feature
    apis = b"\x04" + b"".join(struct.pack(">hhhx", key, 0, 5) for key in (22, 23, 25))
    kind = broker_kind.parse_versions(apis + struct.pack(">i", 0) + tagged)
    assert (kind.apis, kind.level, kind.transactions) == ({22: 5, 23: 5, 25: 5}, 25, True)
    assert [broker_kind.release_of(level) for level in (1, 7, 21, 25, 30, 99)] == [
        "3.0", "3.3", "3.9", "4.0", "4.3", "4.3 or later",
    ]  # fmt: skip


def test_exactly_once_needs_transactions(settings: Settings) -> None:
    embedded = broker_kind.Kind({1: 1}, None)
    wants = settings.model_copy(update={"guarantee": "exactly_once"})
    assert by_check(broker.kind_findings(embedded, Cluster("h:1"), wants)) == {
        "broker": "ok", "transactions": "error", "session": "warning",
    }  # fmt: skip


def test_a_damaged_model_is_found_by_its_hash(settings: Settings, tmp_path: Path) -> None:
    model = Popularity.from_arrays({"n_items": 3}, {"counts": np.ones(3)}, "cpu")
    folder = tmp_path / "model"
    save_artifact(folder, model, ["a", "b", "c"], data_hash="", settings={}, metrics={})
    with_model = settings.model_copy(update={"model": folder})
    (fine,) = serving.model_findings(with_model)
    assert (fine.severity, fine.figures["version"][:10]) == ("ok", "popularity")
    (folder / "items.json").write_text('["a", "b", "x"]')
    (damaged,) = serving.model_findings(with_model)
    assert damaged.severity == "error"
    assert "damaged" in damaged.message
    missing = serving.model_findings(settings.model_copy(update={"model": tmp_path / "none"}))
    assert missing[0].severity == "error"


def test_a_web_server_open_to_all_without_token_or_tls_is_found(settings: Settings) -> None:
    open_ = settings.model_copy(update={"web_host": "0.0.0.0"})
    (found,) = serving.security_findings(open_)
    assert (found.check, found.severity) == ("web-security", "error")
    token = load(web_host="0.0.0.0", web_token="a-token-of-enough-characters")
    assert by_check(serving.security_findings(token)) == {"web-security": "warning"}


def test_passwords_in_clear_and_files_that_anybody_reads_are_found(settings: Settings, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("hush")
    password.chmod(0o644)
    mine = load(broker={"sasl_mechanism": "PLAIN", "sasl_username": "ann", "sasl_password_file": password})
    findings = serving.security_findings(mine)
    assert by_check(findings) == {"broker-security": "warning", "secret-file": "warning"}
    assert not any("hush" in finding.message for finding in findings)
    password.chmod(0o600)
    assert "secret-file" not in by_check(serving.security_findings(mine))


def test_a_taken_port_and_few_open_files_are_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        mine = settings.model_copy(update={"web_port": taken.getsockname()[1]})
        assert by_check(port.port_findings(mine)) == {"port": "warning"}
    assert by_check(port.port_findings(mine)) == {"port": "ok"}
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    assert by_check(machine.file_findings(settings)) == {"files": "warning"}


@pytest.mark.parametrize("tls", [False, True])
async def test_a_port_that_a_worker_has_is_well_and_one_that_another_server_has_is_not(
    settings: Settings, tmp_path: Path, tls: bool
) -> None:
    pair = make_certificate(tmp_path) if tls else (None, None)
    with a_worker(**({"web_tls_cert": pair[0], "web_tls_key": pair[1]} if tls else {})) as worker:
        update = {"web_port": worker.server.port, "web_tls_cert": pair[0], "web_tls_key": pair[1]}
        (found,) = await asyncio.to_thread(port.port_findings, settings.model_copy(update=update))
        assert (found.severity, found.message) == ("ok", f"a worker answers at 127.0.0.1:{worker.server.port}: ok")

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        mine = settings.model_copy(update={"web_port": other.sockets[0].getsockname()[1]})
        (found,) = await asyncio.to_thread(port.port_findings, mine)
        assert (found.severity, "no worker that answers" in found.message) == ("warning", True)


def test_pins_that_are_not_met_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert by_check(machine.pin_findings()) == {"pins": "ok"}
    monkeypatch.setattr(machine.metadata, "requires", lambda _: ["click==0.1", "nothing-of-this-name==1.0", "numpy>=1"])
    (found,) = machine.pin_findings()
    assert found.severity == "error"
    assert "click is 8" in found.message
    assert "nothing-of-this-name is missing" in found.message


def test_memory_is_the_containers_where_that_is_less() -> None:
    found = machine.memory_bytes()
    assert found is None or 0 < found[0] <= found[1]


def test_little_memory_and_disk_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_bytes", lambda: (1 << 29, 1 << 34))
    assert by_check(machine.memory_findings()) == {"memory": "warning"}
    monkeypatch.setattr(machine, "DISK_BYTES", 1 << 62)
    assert by_check(machine.disk_findings())["disk"] == "warning"


def test_a_device_that_is_not_here_is_told(settings: Settings) -> None:
    assert by_check(machine.device_findings(settings)) == {"device": "ok"}
    assert by_check(machine.device_findings(settings.model_copy(update={"device": "warp"}))) == {"device": "error"}


def test_names_are_grouped_by_topic() -> None:
    assert group._names([B, A, TopicPartition("trades", 3)]) == "clicks 0 1, trades 3"

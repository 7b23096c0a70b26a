"""`tsrec doctor` on a real Apache Kafka: topics that were deliberately made wrong, a worker that stands still."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.system.brokers import Kafka, Tansu
from tests.system.kafka_io import Record, create_topics, produce
from tests.system.secure_kafka import PASSWORD
from tests.system.test_security import tsrec
from tests.system.workers import WorkerProcess

pytestmark = [pytest.mark.system, pytest.mark.kafka]

Findings = dict[str, list[dict[str, Any]]]


def doctor(folder: Path, *arguments: str, code: int, **env: str) -> Findings:
    """What it finds, by check."""
    findings: Findings = {}
    for line in tsrec(folder, "doctor", "--json", *arguments, code=code, **env).stdout.splitlines():
        finding = json.loads(line)
        findings.setdefault(finding["check"], []).append(finding)
    return findings


def ill(findings: Findings) -> dict[str, str]:
    """Checks that are not fine, with the gravest severity of each; what depends on the machine left out."""
    machine = ("memory", "disk", "files", "port", "kernels", "pins")
    grave = {
        check: "error" if any(one["severity"] == "error" for one in some) else "warning"
        for check, some in findings.items()
        if any(one["severity"] != "ok" for one in some)
    }
    return {check: severity for check, severity in grave.items() if check not in machine}


def click(n: int) -> Record:
    return Record(n % 4, b"u%d" % n, b'{"user_id":"u%d","item_id":"i%d","ts":%d}' % (n, n % 5, 1_700_000_000 + n))


async def test_a_broker_is_named_topics_that_are_missing_are_listed_and_the_clock_is_asked(
    kafka: Kafka, tmp_path: Path, name: str
) -> None:
    env = {"TSREC_BOOTSTRAP": kafka.bootstrap, "TSREC_TOPIC_PREFIX": f"{name}.", "TSREC_GROUP": name}
    findings = await asyncio.to_thread(doctor, tmp_path, "--probe", code=1, **env)
    assert findings["broker"][0]["message"].startswith("Apache Kafka 4.")
    assert ill(findings) == {"topics-missing": "warning"}
    assert f"{name}.clicks" in findings["topics-missing"][0]["figures"]["topics"]
    assert abs(findings["clock"][0]["figures"]["skew_s"]) < 1
    await asyncio.to_thread(tsrec, tmp_path, "topics", "create", **env)
    findings = await asyncio.to_thread(doctor, tmp_path, code=1, **env)
    assert ill(findings) == {"workers": "warning"}
    assert "no worker of the group" in findings["workers"][0]["message"]


async def test_topics_that_would_lose_state_are_errors(kafka: Kafka, tmp_path: Path, name: str) -> None:
    env = {"TSREC_BOOTSTRAP": kafka.bootstrap, "TSREC_TOPIC_PREFIX": f"{name}.", "TSREC_GROUP": name}
    await create_topics(kafka.bootstrap, f"{name}.clicks", partitions=3)
    await create_topics(kafka.bootstrap, f"{name}.trades", **{"retention.ms": "60000"})
    await create_topics(kafka.bootstrap, f"{name}.items", partitions=1, **{"cleanup.policy": "delete"})
    await create_topics(kafka.bootstrap, f"{name}.forecasts", **{"min.insync.replicas": "2"})
    await create_topics(kafka.bootstrap, f"{name}-users-changelog", **{"cleanup.policy": "delete"})
    await asyncio.to_thread(tsrec, tmp_path, "topics", "create", code=1, **env)
    await produce(kafka.bootstrap, f"{name}.purchases", [click(n) for n in range(20)])
    findings = await asyncio.to_thread(doctor, tmp_path, code=2, **env)
    assert ill(findings) == dict.fromkeys(
        ("partitions", "retention", "compaction", "replicas", "changelog", "workers"), "error"
    )
    messages = " ".join(one["message"] for some in findings.values() for one in some)
    assert f"{name}.clicks has 3 partitions, and 4 are declared" in messages
    assert f"{name}.items has cleanup.policy=delete" in messages
    assert "20 records wait" in messages
    assert all(one["advice"] for some in findings.values() for one in some if one["severity"] != "ok")


async def test_a_worker_that_stands_still_is_found_and_one_that_works_is_fine(
    kafka: Kafka, tmp_path: Path, name: str
) -> None:
    env = {
        "TSREC_BOOTSTRAP": kafka.bootstrap, "TSREC_TOPIC_PREFIX": f"{name}.", "TSREC_GROUP": name,
        "TSREC_SESSION_TIMEOUT_S": "30", "TSREC_WEB_PORT": "0",
    }  # fmt: skip
    await asyncio.to_thread(tsrec, tmp_path, "topics", "create", **env)
    worker = WorkerProcess(tmp_path, "worker", "-m", "stream_app.cli", "worker", **env).start()
    try:
        worker.wait_for_log("worker ready", 120)
        await produce(kafka.bootstrap, f"{name}.clicks", [click(n) for n in range(40)])

        async def caught_up() -> Findings:
            findings: Findings = {}
            for _ in range(10):
                findings = await asyncio.to_thread(_any_code, tmp_path, env)
                if findings["lag"][0]["figures"].get("lag") == 0:
                    return findings
            return findings

        findings = await caught_up()
        assert findings["lag"][0]["severity"] == "ok"
        assert "1 worker, 0 records behind" in findings["lag"][0]["message"]
        worker.signal(signal.SIGSTOP)
        await produce(kafka.bootstrap, f"{name}.clicks", [click(n) for n in range(40, 80)])
        findings = await asyncio.to_thread(doctor, tmp_path, code=2, **env)
        (stuck,) = findings["stuck"]
        assert "committed nothing of" in stuck["message"]
        assert f"{name}.clicks 0 1 2 3" in stuck["message"]
        assert stuck["figures"]["lag"] == 40
        worker.signal(signal.SIGCONT)
    finally:
        worker.close()


def _any_code(folder: Path, env: dict[str, str]) -> Findings:
    for code in (0, 1):
        try:
            return doctor(folder, code=code, **env)
        except AssertionError:
            if code:
                raise
    raise AssertionError


def test_a_broker_that_is_not_there_is_an_error_and_the_rest_is_examined(tmp_path: Path) -> None:
    findings = doctor(tmp_path, code=2, TSREC_BOOTSTRAP="127.0.0.1:1")
    assert findings["broker"][0]["message"] == "no broker answers at 127.0.0.1:1"
    assert {"model", "device", "pins", "memory", "files", "port"} <= findings.keys()
    readable = tsrec(tmp_path, "doctor", "-q", code=2, TSREC_BOOTSTRAP="127.0.0.1:1").stdout
    assert "✗ broker: no broker answers at 127.0.0.1:1" in readable
    assert "→ start one with `tsrec broker`" in readable


def test_the_embedded_broker_is_told_apart(tansu: Tansu, tmp_path: Path) -> None:
    env = {"TSREC_BOOTSTRAP": tansu.bootstrap, "TSREC_GUARANTEE": "exactly_once"}
    findings = doctor(tmp_path, code=2, **env)
    assert findings["broker"][0]["figures"] == {
        "kind": "a broker without transactions (the embedded one)", "transactions": False,
    }  # fmt: skip
    assert ill(findings)["transactions"] == "error"
    assert ill(findings)["session"] == "warning"


def test_a_setting_that_is_wrong_ends_it_with_code_2(tmp_path: Path) -> None:
    done = tsrec(tmp_path, "doctor", code=2, TSREC_PARTITIONS="none", TSREC_WEB_TOKEN=PASSWORD)
    assert "TSREC_PARTITIONS" in done.stderr

"""What ships for monitoring, by the tools that will read it: Prometheus' rules and Alertmanager's routes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.system.brokers import free_port, wait_for_port

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus" / "rules" / "alerts.yml"
TESTS = sorted((DEPLOY / "prometheus" / "tests").glob("*.yml"))
ALERTMANAGER = DEPLOY / "alertmanager" / "alertmanager.yml"


def tool(name: str) -> str:
    """The path of a program; the test is skipped where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(*command: str) -> str:
    """What a program says; its failure is the test's."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def alerts() -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


# -- Prometheus


@pytest.mark.parametrize("name", ["prometheus.yml", "kubernetes.yml"])
def test_prometheus_takes_the_configuration_and_finds_its_rules(tmp_path: Path, name: str) -> None:
    shutil.copytree(DEPLOY / "prometheus", tmp_path / "prometheus")
    token = tmp_path / "web_token"
    token.write_text("a token of the test")
    config = tmp_path / "prometheus" / name
    text = config.read_text()
    assert "/run/secrets/web_token" in text
    # Debian's Prometheus is built without the discovery of pods; everything else of that file is read.
    text = text.replace("kubernetes_sd_configs:\n      - role: pod", "static_configs:\n      - targets: [pod]")
    config.write_text(text.replace("/run/secrets/web_token", str(token)))
    assert "2 rule files found" in run(tool("promtool"), "check", "config", str(config))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_every_alert_fires_when_it_should_and_only_then(path: Path) -> None:
    assert "SUCCESS" in run(tool("promtool"), "test", "rules", str(path))


def test_every_alert_and_severity_is_seen_firing_in_a_rule_test(alerts: list[dict[str, Any]]) -> None:
    seen = set()
    for path in TESTS:
        for labels in re.findall(r"labels: 'ALERTS\{([^}]*)\}'", path.read_text()):
            found = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            if found["alertstate"] == "firing":
                seen.add((found["alertname"], found["severity"]))
    assert seen == {(alert["alert"], alert["labels"]["severity"]) for alert in alerts}


def test_every_alert_says_how_bad_it_is_what_it_is_and_what_to_do(alerts: list[dict[str, Any]]) -> None:
    assert len({alert["alert"] for alert in alerts}) >= 13
    for alert in alerts:
        assert alert["labels"]["severity"] in ("critical", "warning"), alert["alert"]
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}, alert["alert"]
        assert len(alert["annotations"]["description"]) > 80, alert["alert"]


def test_every_threshold_has_its_reason_beside_it() -> None:
    lines = ALERTS.read_text().splitlines()
    bare = [line.strip() for above, line in pairwise(lines) if "- alert:" in line and not above.strip().startswith("#")]
    # The second severity of an alert is explained with the first, where that says both.
    assert bare == ["- alert: TsrecLagGrows"]


def test_every_runbook_is_there(alerts: list[dict[str, Any]]) -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "monitoring.md").read_text(), re.M)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for alert in alerts:
        page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert page == "docs/monitoring.md"
        assert anchor == alert["alert"].lower()
        assert anchor in anchors, f"{alert['alert']} has no section in {page}"


# -- Alertmanager


def test_alertmanager_takes_the_configuration() -> None:
    assert "SUCCESS" in run(tool("amtool"), "check-config", str(ALERTMANAGER))


@pytest.mark.parametrize(("severity", "receiver"), [("critical", "page"), ("warning", "ticket"), ("odd", "ticket")])
def test_only_what_is_critical_wakes_somebody(severity: str, receiver: str) -> None:
    said = run(tool("amtool"), "config", "routes", "test", f"--config.file={ALERTMANAGER}", f"severity={severity}")
    assert said.split() == [receiver]


def test_causes_that_mute_are_alerts_that_wake(alerts: list[dict[str, Any]]) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    critical = {alert["alert"] for alert in alerts if alert["labels"]["severity"] == "critical"}
    known = {alert["alert"] for alert in alerts}
    for rule in yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]:
        names = {name for text in rule["source_matchers"] for name in re.findall(r"Tsrec\w+", text)}
        assert names <= critical, "a page would be muted by something that wakes nobody"
        assert {name for text in rule["target_matchers"] for name in re.findall(r"Tsrec\w+", text)} <= known


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[str]:
    """A running Alertmanager with the shipped configuration; its address."""
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                tool("prometheus-alertmanager"), f"--config.file={ALERTMANAGER}", "--cluster.listen-address=",
                f"--web.listen-address=127.0.0.1:{port}", f"--storage.path={tmp_path}",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_for_port(port, 20, process)
        yield f"http://127.0.0.1:{port}/api/v2/alerts"
    finally:
        process.terminate()
        process.wait(10)


def states(url: str, *sent: dict[str, str]) -> dict[str, str]:
    """Send alerts; alertname/severity -> its state."""
    body = json.dumps([{"labels": labels} for labels in sent]).encode()
    urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=10).close()
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = json.load(answer)
    return {f"{a['labels']['alertname']}/{a['labels']['severity']}": a["status"]["state"] for a in found}


def test_a_worker_that_is_down_mutes_the_lag_it_causes_and_not_the_dead_letters(alertmanager: str) -> None:
    found = states(
        alertmanager,
        {"alertname": "TsrecWorkerDown", "severity": "critical", "job": "tsrec", "instance": "w1"},
        {"alertname": "TsrecLagGrows", "severity": "critical", "job": "tsrec", "topic": "clicks"},
        {"alertname": "TsrecDeadLetters", "severity": "warning", "job": "tsrec", "topic": "clicks", "reason": "empty"},
        {"alertname": "TsrecLagGrows", "severity": "warning", "job": "tsrec-eu", "topic": "clicks"},
    )
    assert found == {
        "TsrecWorkerDown/critical": "active", "TsrecLagGrows/critical": "suppressed",
        "TsrecDeadLetters/warning": "active", "TsrecLagGrows/warning": "active",
    }  # fmt: skip


def test_a_page_mutes_its_own_warning_and_no_other_topics(alertmanager: str) -> None:
    found = states(
        alertmanager,
        {"alertname": "TsrecLagGrows", "severity": "critical", "job": "tsrec", "topic": "clicks"},
        {"alertname": "TsrecLagGrows", "severity": "warning", "job": "tsrec", "topic": "clicks"},
        {"alertname": "TsrecLateEvents", "severity": "warning", "job": "tsrec", "topic": "clicks"},
    )
    assert found["TsrecLagGrows/warning"] == "suppressed"
    assert found["TsrecLateEvents/warning"] == "active"

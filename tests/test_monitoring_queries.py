"""Every query that ships, in rules and dashboard: it parses, and it asks for metrics and labels that exist."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_app.metrics_reference import reference, series_names
from tests.test_monitoring import DEPLOY, ROOT, tool

DASHBOARD = DEPLOY / "grafana" / "dashboards" / "tsrec.json"

#: Prometheus' own series, and the process collector's.
OTHERS = {
    "up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "severity"},
    "process_start_time_seconds": set(), "process_cpu_seconds_total": set(), "process_resident_memory_bytes": set(),
}  # fmt: skip
ALWAYS = {"job", "instance"}
WORDS = {
    "abs", "absent", "and", "bool", "by", "changes", "clamp_max", "count", "deriv", "group_left", "histogram_quantile",
    "increase", "Inf", "max", "offset", "on", "or", "rate", "sqrt", "sum", "time", "unless", "vector",
}  # fmt: skip


def rules() -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    files = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
    return [rule for path in files for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Where a query stands, and the query as Prometheus sees it."""
    for rule in rules():
        yield rule.get("record") or rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$job", "tsrec")


def labels_of_recorded() -> dict[str, set[str]]:
    """Recorded series -> labels that its `by` leaves it."""
    found = {}
    for rule in rules():
        if "record" in rule:
            grouped = re.findall(r"\bby \(([^)]*)\)", rule["expr"])
            found[rule["record"]] = {name.strip() for group in grouped[:1] for name in group.split(",")} - {"le"}
    return found


def asked(query: str) -> tuple[set[str], set[str]]:
    """Names of series and of labels that a query asks for."""
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", "''", query)
    labels = {name for group in re.findall(r"\{([^}]*)\}", bare) for name in re.findall(r"(\w+)\s*[!=]", group)}
    labels |= {
        name.strip()
        for group in re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", bare)
        for name in group.split(",")
        if name.strip()
    }
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|on|group_left) \([^)]*\)|\boffset \w+", " ", bare)
    return {word for word in re.findall(r"[A-Za-z_:][\w:]*", bare) if word not in WORDS}, labels


@pytest.mark.parametrize(("where", "query"), list(queries()), ids=lambda value: re.sub(r"\W+", "-", value)[:40])
def test_every_series_and_label_that_is_asked_for_exists(where: str, query: str) -> None:
    known: dict[str, set[str]] = {name: set(labels) for name, labels in series_names().items()}
    known |= labels_of_recorded() | OTHERS
    series, labels = asked(query)
    assert series, f"{where} asks for nothing: {query}"
    assert series <= known.keys(), f"{where} asks for {series - known.keys()}, which nobody exposes"
    possible = ALWAYS.union(*(known[name] for name in series))
    assert labels <= possible, f"{where} asks for labels {labels - possible}, which {series} have not"


def test_a_name_that_nobody_exposes_is_found() -> None:
    series, labels = asked('sum by (topic) (rate(tserc_events_total{job="x", topc!="y"}[5m] offset 1h)) > bool 2')
    assert series == {"tserc_events_total"}
    assert labels == {"topic", "job", "topc"}


def test_every_query_of_the_dashboard_parses(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    found = [{"record": f"panel:{i}", "expr": query} for i, (_, query) in enumerate(queries())]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": found}]}))
    done = subprocess.run([tool("promtool"), "check", "rules", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(found)} rules found" in done.stdout


def test_the_dashboard_is_not_stale() -> None:
    spec = importlib.util.spec_from_file_location("dashboard", DEPLOY / "grafana" / "dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dashboard"] = module
    spec.loader.exec_module(module)
    assert json.loads(DASHBOARD.read_text()) == module.dashboard(), (
        "run: python deploy/grafana/dashboard.py > deploy/grafana/dashboards/tsrec.json"
    )


def test_panels_do_not_lie_on_each_other_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["description"], panel["title"]


def test_an_operator_finds_every_area_on_the_dashboard() -> None:
    rows = [panel["title"] for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] == "row"]
    assert rows[0] == "Is it well?"
    wanted = {"Traffic", "Latency", "Lag", "Event time", "State", "Checkpoints and recovery", "Rungs", "Models", "Risk",
              "Dead letters"}  # fmt: skip
    assert wanted <= set(rows)


def test_the_dashboard_asks_the_source_that_is_provisioned() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    board = json.loads(DASHBOARD.read_text())
    asked_of = {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]}
    asked_of |= {variable["datasource"]["uid"] for variable in board["templating"]["list"]}
    assert asked_of == {source["uid"]}


def test_the_metrics_page_is_not_stale() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert page == reference(), "run: python -m stream_app.metrics_reference > docs/metrics.md"

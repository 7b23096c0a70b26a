"""The Grafana dashboard, as an operator reads it from above to below: is it well, then where it hurts.

    python deploy/grafana/dashboard.py > deploy/grafana/dashboards/tsrec.json

A dashboard of forty panels is thousands of lines of JSON; this is what there is to decide about it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: As provisioned in provisioning/datasources.
SOURCE = {"type": "prometheus", "uid": "tsrec-prometheus"}
JOB = 'job=~"$job"'
WIDTH = 24

Json = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """One panel. queries: (PromQL, legend). unit: Grafana's name. limits: values where green turns amber and red."""

    title: str
    about: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    stacked: bool = False
    limits: tuple[float, ...] = ()

    def json(self, number: int, x: int, y: int) -> Json:
        """As Grafana wants it."""
        custom: Json = {
            "fillOpacity": 30 if self.stacked else 8,
            "lineWidth": 1,
            "showPoints": "never",
            "spanNulls": False,
        }
        if self.stacked:
            custom["stacking"] = {"mode": "normal", "group": "A"}
        steps: list[Json] = [{"color": "green", "value": None}]
        steps += [{"color": c, "value": v} for c, v in zip(("orange", "red"), self.limits, strict=False)]
        defaults: Json = {"unit": self.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
        panel: Json = {
            "id": number, "title": self.title, "description": self.about, "type": self.kind, "datasource": SOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "targets": [self._target(k, query, legend) for k, (query, legend) in enumerate(self.queries)],
            "fieldConfig": {"defaults": defaults, "overrides": []},
        }  # fmt: skip
        if self.kind == "timeseries":
            defaults["custom"] = custom
            if self.limits:
                custom["thresholdsStyle"] = {"mode": "line"}
            panel["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
        elif self.kind == "stat":
            panel["options"] = {
                "reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background" if self.limits else "value",
                "graphMode": "area", "textMode": "value",
            }  # fmt: skip
        elif self.kind == "heatmap":
            panel["options"] = {"calculate": False, "yAxis": {"unit": self.unit}, "color": {"scheme": "Oranges"}}
        elif self.kind == "table":
            panel["options"] = {"showHeader": True}
            panel["transformations"] = [{"id": "labelsToFields", "options": {"mode": "columns"}}, {"id": "merge"}]
        return panel

    def _target(self, k: int, query: str, legend: str) -> Json:
        target: Json = {"refId": chr(65 + k), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        if self.kind == "heatmap":
            target["format"] = "heatmap"
        if self.kind == "table":
            target |= {"instant": True, "format": "table"}
        return target


def stat(title: str, about: str, query: str, unit: str = "short", limits: tuple[float, ...] = ()) -> Panel:
    """One number with its colour; eight stand in a row."""
    return Panel(title, about, ((query, ""),), unit, "stat", 3, 4, limits=limits)


ROWS: dict[str, tuple[Panel, ...]] = {
    "Is it well?": (
        stat("Alerts firing", "Those of the shipped rules; the list is in Prometheus and Alertmanager.",
             'count(ALERTS{alertstate="firing", alertname=~"Tsrec.*"}) or vector(0)', limits=(1, 3)),
        stat("Workers up", "Targets that answer the scrape.", f"sum(tsrec:workers:up{{{JOB}}})"),
        stat("Events/s", "All topics, mean of five minutes.", f"sum(tsrec:events:rate5m{{{JOB}}})", "cps"),
        stat("Recommendations/s", "Mean of five minutes.",
             f'sum(tsrec:decisions:rate5m{{{JOB}, kind="recommendation"}})', "cps"),
        stat("p99 of budget", "99th percentile from arrival to recommendation as a share of the deadline.",
             f'max(tsrec:decision_latency_seconds:p99_5m{{{JOB}, kind="recommendation"}}) '
             f"/ max(tsrec_decision_budget_seconds{{{JOB}}})", "percentunit", (1, 10)),
        stat("Behind", "How long the largest backlog takes at the present speed; a day stands for never.",
             f"max(tsrec:consumer_lag_seconds{{{JOB}}})", "s", (60, 3600)),
        stat("Oldest checkpoint", "Among workers that read something now: so much is processed again after a crash.",
             f"max(tsrec:checkpoint_age_seconds{{{JOB}}} and on (job, instance) "
             "(sum by (job, instance) (rate(tsrec_events_total[2m])) > 0))", "s", (10, 60)),
        stat("Dead letters, 1 h", "Records that could not be processed; look with `tsrec dlq list`.",
             f"sum(increase(tsrec_dead_letters_total{{{JOB}}}[1h]))", "short", (1, 1000)),
    ),
    "Traffic": (
        Panel("Events in", "Events read, by topic.", ((f"tsrec:events:rate5m{{{JOB}}}", "{{topic}}"),), "cps"),
        Panel("Decisions out", "What was published, by kind.",
              ((f"tsrec:decisions:rate5m{{{JOB}}}", "{{kind}}"),), "cps"),
        Panel("Records in a batch", "Mean. A few: the stream keeps up with ease. Thousands: it is catching up.",
              ((f"sum by (topic) (rate(tsrec_batch_records_sum{{{JOB}}}[5m])) "
                f"/ sum by (topic) (rate(tsrec_batch_records_count{{{JOB}}}[5m]))", "{{topic}}"),)),
    ),
    "Latency": (
        Panel("Event to recommendation", "From the arrival of a batch to its decisions, against the budget.",
              ((f'tsrec:decision_latency_seconds:p50_5m{{{JOB}, kind="recommendation"}}', "p50"),
               (f'tsrec:decision_latency_seconds:p99_5m{{{JOB}, kind="recommendation"}}', "p99"),
               (f"max(tsrec_decision_budget_seconds{{{JOB}}})", "budget")), "s"),
        Panel("Where decisions fall", "How many took how long: two bands are two kinds of batch.",
              ((f'sum by (le) (increase(tsrec_event_to_decision_seconds_bucket{{{JOB}, kind="recommendation"}}[1m]))',
                "{{le}}"),), "s", "heatmap"),
        Panel("Inference, p99", "One call of a rung.",
              ((f"tsrec:inference_seconds:p99_5m{{{JOB}}}", "{{rung}}"),), "s"),
    ),
    "Rungs": (
        Panel("Who answers", "Share of recommendations by the rung that made them.",
              ((f"tsrec:rung_decisions:ratio5m{{{JOB}}}", "{{rung}}"),), "percentunit", width=12, stacked=True),
        Panel("Skipped to keep the deadline", "Batches for which a rung was too slow.",
              ((f"sum by (rung) (rate(tsrec_rungs_skipped_total{{{JOB}}}[5m]))", "{{rung}}"),), "cps", width=6),
        Panel("Rows an inference", "Mean: what waits is answered together.",
              ((f"sum by (rung) (rate(tsrec_inference_batch_rows_sum{{{JOB}}}[5m])) "
                f"/ sum by (rung) (rate(tsrec_inference_batch_rows_count{{{JOB}}}[5m]))", "{{rung}}"),), width=6),
    ),
    "Lag": (
        Panel("Behind, in time", "At the speed of the last five minutes; a day stands for: nothing is read.",
              ((f"tsrec:consumer_lag_seconds{{{JOB}}}", "{{topic}}"),), "s", limits=(60, 3600)),
        Panel("Behind, in records", "Not yet committed. A second's worth is always there.",
              ((f"tsrec:consumer_lag_records:sum{{{JOB}}}", "{{topic}}"),)),
        Panel("Partitions", "Read by each worker, and by nobody.",
              ((f"sum by (instance) (tsrec_partitions_assigned{{{JOB}}})", "{{instance}}"),
               (f"sum(tsrec:partitions_unread{{{JOB}}})", "by nobody"))),
    ),
    "Event time": (
        Panel("Watermark delay", "Clock less the oldest watermark: the lateness, and more while nothing comes.",
              ((f"tsrec:watermark_delay_seconds:max{{{JOB}}}", "{{topic}}"),), "s"),
        Panel("Watermark stands", "For how long, although events of its partition come.",
              ((f"max by (topic) (tsrec_watermark_stalled_seconds{{{JOB}}})", "{{topic}}"),), "s", limits=(900,)),
        Panel("Late events", "Share that came after its window closed.",
              ((f"tsrec:late_events:ratio15m{{{JOB}}}", "{{topic}}"),), "percentunit", limits=(0.05,)),
    ),
    "Dead letters": (
        Panel("Dead letters by reason", "undecodable, invalid: the sender. failed: our code. oversized: the topic.",
              ((f"sum by (topic, reason) (increase(tsrec_dead_letters_total{{{JOB}}}[5m])) > 0",
                "{{topic}}: {{reason}}"),),
              width=12, stacked=True),
        Panel("Share of dead letters", "Of the events read.",
              ((f"tsrec:dead_letters:ratio5m{{{JOB}}}", "{{topic}}"),), "percentunit", width=12, limits=(0.01, 0.05)),
    ),
    "State": (
        Panel("Rows", "Keys held, by table.", ((f"tsrec:state_rows:sum{{{JOB}}}", "{{table}}"),)),
        Panel("Memory of state", "By table, all workers.", ((f"tsrec:state_bytes:sum{{{JOB}}}", "{{table}}"),),
              "bytes", stacked=True),
        Panel("Evicted rows", "Idle past their retention.",
              ((f"sum by (table) (rate(tsrec_state_evicted_rows_total{{{JOB}}}[5m]))", "{{table}}"),), "cps"),
    ),
    "Checkpoints and recovery": (
        Panel("Checkpoint duration, p99", "Close to the interval (1 s) and more: the broker is slow.",
              ((f"tsrec:checkpoint_seconds:p99_5m{{{JOB}}}", "p99"),), "s", limits=(1, 10)),
        Panel("Rows to changelogs", "What a checkpoint writes.",
              ((f"sum by (instance) (rate(tsrec_checkpoint_rows_total{{{JOB}}}[5m]))", "{{instance}}"),), "cps"),
        Panel("Age of the last checkpoint", "Grows while nothing comes: nothing is to be committed then.",
              ((f"tsrec:checkpoint_age_seconds{{{JOB}}}", "{{instance}}"),), "s"),
        Panel("Ready", "1: joined, recovered, catalog read.", ((f"tsrec_ready{{{JOB}}}", "{{instance}}"),), width=6),
        Panel("Last recovery", "What the last hand-over cost.",
              ((f"tsrec_recovery_seconds{{{JOB}}}", "{{instance}}"),), "s", width=6),
        Panel("Rebalances in 10 minutes", "Processing stands still in each.",
              ((f"max by (instance) (increase(tsrec_rebalances_total{{{JOB}}}[10m]))", "{{instance}}"),), width=6,
              limits=(3,)),
        Panel("On the way to the broker", "Full: the broker is slow, and slows the stream.",
              ((f"sum by (instance) (tsrec_outbox_bytes{{{JOB}}})", "{{instance}}"),), "bytes", width=6),
    ),
    "Models": (
        Panel("Models that answer", "Version, and how long ago it was trained.",
              ((f"max by (model, version) (time() - tsrec_model_created_timestamp_seconds{{{JOB}}})", ""),),
              "s", "table"),
        Panel("Interval coverage", "Share of the latest 1,000 intervals that held, against what was promised.",
              ((f"tsrec_interval_coverage{{{JOB}}}", "{{series}} {{instance}}"),
               (f"max by (series) (tsrec_interval_level{{{JOB}}})", "promised: {{series}}")), "percentunit"),
        Panel("Losses beyond value at risk", "Share in an hour; 5 %, 2.5 % and 1 % are right.",
              ((f"sum by (level) (rate(tsrec_var_exceedances_total{{{JOB}}}[1h])) "
                f"/ sum by (level) (rate(tsrec_var_tests_total{{{JOB}}}[1h]))", "VaR {{level}}"),), "percentunit"),
        Panel("Backtests failed", "Symbols, by test; one in twenty fails by chance, basel_red one in 4,000.",
              ((f"sum by (test) (tsrec_backtest_failed{{{JOB}}})", "{{test}}"),
               (f"sum(tsrec_backtest_symbols{{{JOB}}})", "symbols tested"))),
        Panel("Drift", "Index of the input that moved most; from 0.25 on it is another population.",
              ((f"max by (model) (tsrec_input_drift_psi{{{JOB}}})", "{{model}}"),), limits=(0.1, 0.25)),
        Panel("Refits", "New parameters, and estimates that were kept from use; symbols that drifted.",
              ((f"sum by (model, result) (increase(tsrec_model_refits_total{{{JOB}}}[1h]))", "{{model}}: {{result}}"),
               (f"sum(increase(tsrec_model_drift_total{{{JOB}}}[1h]))", "drifted"))),
    ),
    "Risk": (
        Panel("Risk alerts open", "By severity; each is in risk-alerts with its evidence.",
              ((f"sum by (severity) (tsrec_alerts_open{{{JOB}}})", "{{severity}}"),), width=12, stacked=True),
        Panel("Risk alerts an hour", "Published as firing, by kind.",
              ((f'sum by (kind) (increase(tsrec_alerts_total{{{JOB}, status="firing"}}[1h])) > 0', "{{kind}}"),),
              width=12, stacked=True),
    ),
    "Processes": (
        Panel("CPU", "Cores used.",
              ((f"rate(process_cpu_seconds_total{{{JOB}}}[5m])", "{{instance}}"),), width=6),
        Panel("Resident memory", "Against the container's limit.",
              ((f"process_resident_memory_bytes{{{JOB}}}", "{{instance}}"),), "bytes", width=6),
        Panel("Requests to the API and page", "By status.",
              ((f"sum by (status) (rate(tsrec_web_requests_total{{{JOB}}}[5m]))", "{{status}}"),), "reqps", width=6),
        Panel("Request duration, p99", "Off the hot path: slow here is not slow there.",
              ((f"histogram_quantile(0.99, sum by (le) (rate(tsrec_web_request_seconds_bucket{{{JOB}}}[5m])))",
                "p99"),), "s", width=6),
    ),
}  # fmt: skip


def panels() -> Iterator[Json]:
    """Rows of panels, laid out from left to right."""
    number = y = 0
    for title, row in ROWS.items():
        number += 1
        yield {
            "id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
        }  # fmt: skip
        y, x, tallest = y + 1, 0, 0
        for panel in row:
            if x + panel.width > WIDTH:
                y, x, tallest = y + tallest, 0, 0
            number += 1
            yield panel.json(number, x, y)
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest


def dashboard() -> Json:
    """The whole of it."""
    return {
        "uid": "tsrec", "title": "tsrec", "tags": ["tsrec"], "schemaVersion": 39, "version": 1, "editable": True,
        "timezone": "browser", "refresh": "15s", "time": {"from": "now-1h", "to": "now"}, "graphTooltip": 1,
        "annotations": {
            "list": [
                {
                    "name": "Alerts", "enable": True, "datasource": SOURCE, "iconColor": "red",
                    "expr": 'ALERTS{alertstate="firing", alertname=~"Tsrec.*"}', "titleFormat": "{{alertname}}",
                    "textFormat": "{{severity}} {{topic}} {{instance}}",
                }
            ]
        },
        "templating": {
            "list": [
                {
                    "name": "job", "label": "Group", "type": "query", "datasource": SOURCE, "refresh": 2,
                    "query": {"query": 'label_values(up{job=~"tsrec.*"}, job)', "refId": "job"},
                    "includeAll": True, "multi": True, "allValue": "tsrec.*",
                    "current": {"text": "All", "value": "$__all"},
                }
            ]
        },
        "panels": list(panels()),
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))

"""The metrics reference, from the registry: `python -m stream_app.metrics_reference > docs/metrics.md`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from stream_app.metrics import Metrics

__all__ = ["Described", "described", "reference", "series_names"]

_HEAD = """# Metrics

`GET /metrics` of a worker, in Prometheus' text format. Base units; counters only grow within the life of a process;
label values are few: topics, tables, rungs, kinds, never a user or a symbol. `topic` is the name on the broker; join
with `tsrec_topic_partitions` for the contract's name. Gauges are read at the scrape. Beside these there are `process_…`
(resident memory, CPU seconds, open files, start time) as every Prometheus client has them.

What to watch, and what each alert means: [monitoring](monitoring.md).

This page is generated from `stream_app/metrics.py`: `python -m stream_app.metrics_reference > docs/metrics.md`.

| metric | type | labels | what it is |
|---|---|---|---|
"""

#: What a series is called besides its metric.
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}


@dataclass(frozen=True)
class Described:
    """A metric as it is exposed."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def described() -> Iterator[Described]:
    """Every metric of our own, in the order of their declaration."""
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            labels: Any = metric._labelnames
            suffix = "_total" if family.type == "counter" else ""
            yield Described(f"{family.name}{suffix}", family.type, tuple(labels), family.documentation)


def series_names() -> dict[str, tuple[str, ...]]:
    """Name of each series -> its labels; a histogram has three."""
    names = {}
    for metric in described():
        base = metric.name.removesuffix("_total")
        for suffix in _SUFFIXES[metric.kind]:
            names[base + suffix] = metric.labels + (("le",) if suffix == "_bucket" else ())
    return names


def reference() -> str:
    """The page, Markdown."""
    rows = [
        f"| `{metric.name}` | {metric.kind} | {' '.join(f'`{label}`' for label in metric.labels)} | {metric.text} |"
        for metric in described()
    ]
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(reference(), end="")

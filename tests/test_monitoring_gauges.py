"""What a scrape reads from a worker: gauges that say what is so now, and counters that begin at nought."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from faust.types import TP
from prometheus_client import generate_latest

from stream_app.agents.watched_models import Coverage
from stream_app.app import Application, build
from stream_app.metrics import Metrics
from stream_app.settings import Settings
from stream_app.web.gauges import IDLE_S, STALLED_EVENTS, Gauges, Stalls

CLICKS = TP("clicks", 0)


@pytest.fixture(scope="module")
def application() -> Application:
    return build(Settings(_env_file=None, topic_prefix="", partitions=4))  # type: ignore[call-arg]


class Consumer:
    """The part of the consumer that gauges read."""

    def __init__(self, lags: dict[TP, int], read: dict[TP, int]) -> None:
        self.ranges = {tp: SimpleNamespace(committable=read.get(tp)) for tp in lags}
        self.lag = lags.get


def samples(application: Application, name: str) -> dict[str, float]:
    """Label value -> value, of a metric with one label."""
    found = {}
    for family in application.metrics.registry.collect():
        for sample in family.samples:
            if sample.name == name:
                found["/".join(sample.labels.values())] = sample.value
    return found


def scrape(gauges: Gauges, consumer: Consumer) -> None:
    gauges._read_partitions(cast(Any, consumer), time.time())


def test_a_topic_that_went_to_another_worker_no_longer_lags_here(application: Application) -> None:
    gauges, trades = Gauges(application.web), TP("trades", 1)
    scrape(gauges, Consumer({CLICKS: 700, TP("clicks", 1): 50, trades: 9}, {}))
    assert samples(application, "tsrec_consumer_lag_records") == {"clicks": 750, "trades": 9}
    assert samples(application, "tsrec_partitions_assigned") == {"clicks": 2, "trades": 1}
    scrape(gauges, Consumer({trades: 3}, {}))
    assert samples(application, "tsrec_consumer_lag_records") == {"clicks": 0, "trades": 3}
    assert samples(application, "tsrec_partitions_assigned") == {"clicks": 0, "trades": 1}


def test_the_watermark_delay_of_a_topic_that_is_gone_is_no_delay_at_all(application: Application) -> None:
    gauges = Gauges(application.web)
    application.processor.event_time.newest = {CLICKS: time.time() - 100}
    scrape(gauges, Consumer({CLICKS: 0}, {CLICKS: 10}))
    assert samples(application, "tsrec_watermark_delay_seconds")["clicks"] == pytest.approx(3700, abs=5)
    scrape(gauges, Consumer({}, {}))
    assert samples(application, "tsrec_watermark_delay_seconds") == {}


def test_a_watermark_stalls_only_while_events_come_and_it_stands() -> None:
    stalls = Stalls()
    assert stalls.seconds(CLICKS, 50.0, 0, 1000.0) == 0
    assert stalls.seconds(CLICKS, 50.0, STALLED_EVENTS, 1060.0) == 60
    assert stalls.seconds(CLICKS, 50.0, STALLED_EVENTS, 1100.0) == 60, "nothing came since"
    assert stalls.seconds(CLICKS, 50.0, STALLED_EVENTS, 1061.0 + IDLE_S) == 0, "it is idle"
    assert stalls.seconds(CLICKS, 50.5, STALLED_EVENTS + 1, 10_000.0) == 0, "it moved"


def test_a_few_events_out_of_order_are_no_stall() -> None:
    stalls = Stalls()
    stalls.seconds(CLICKS, 50.0, 0, 1000.0)
    assert stalls.seconds(CLICKS, 50.0, STALLED_EVENTS - 1, 5000.0) == 0


def test_a_stall_does_not_outlive_a_rebalance() -> None:
    stalls = Stalls()
    stalls.seconds(CLICKS, 50.0, 0, 1000.0)
    stalls.keep(set())
    assert stalls.seconds(CLICKS, 50.0, 500, 2000.0) == 0
    assert stalls.seconds(CLICKS, 50.0, 20, 3000.0) == 0, "read again from an earlier offset"


def test_counters_that_rules_watch_begin_at_nought(application: Application) -> None:
    dead = samples(application, "tsrec_dead_letters_total")
    assert dead["clicks/undecodable"] == 0
    assert dead["trades/failed"] == 0
    assert not [name for name in dead if name.endswith("/late")], "late events go elsewhere"
    assert samples(application, "tsrec_late_events_total")["clicks"] == 0


def test_a_topic_is_known_by_its_name_on_the_broker_and_in_the_contract() -> None:
    shop = build(Settings(_env_file=None, topic_prefix="eu-", clicks={"name": "pageviews"}))  # type: ignore[call-arg]
    partitions = samples(shop, "tsrec_topic_partitions")
    assert partitions["pageviews/clicks"] == 4
    assert partitions["eu-trades/trades"] == 4


def test_the_process_is_among_the_metrics_and_creation_times_are_not(application: Application) -> None:
    text = generate_latest(application.metrics.registry).decode()
    assert "process_resident_memory_bytes" in text
    assert "_created" not in text.replace("tsrec_model_created_timestamp", "")


def test_a_coverage_says_of_how_many_intervals_it_is() -> None:
    metrics = Metrics()
    coverage = Coverage("symbol", 0.9, metrics)
    coverage.take(np.array([1.0, 0.0, np.nan, 1.0]))
    coverage.take(np.ones(1500))  # more than it remembers
    assert metrics.registry.get_sample_value("tsrec_intervals_total", {"series": "symbol"}) == 1503
    assert metrics.registry.get_sample_value("tsrec_interval_coverage", {"series": "symbol"}) == 1.0

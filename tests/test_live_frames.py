"""What frames are made of: percentiles, forecasts as lines, lists with titles; the page's files and their policy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from stream_app.items import ItemIndex
from stream_app.metrics import Metrics
from stream_app.web.live.feed import MAX_JOURNAL, MAX_POINTS, MAX_SYMBOLS, Prices, Recommendations
from stream_app.web.live.numbers import Numbers, percentile
from stream_app.web.live.pages import Pages
from stream_app.web.live.resolved import MOST, ResolvedAlerts
from topics.columns import decode_columns
from topics.decisions import Forecast, Recommendation, RecommendedItem, RiskAlert
from topics.events import Item
from topics.spans import Spans

BOUNDS = (0.001, 0.01, 0.1, 1.0)


@given(st.lists(st.floats(0.0001, 0.99), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_from_buckets_is_within_the_bucket_of_the_true_one(seconds: list[float], share: float) -> None:
    histogram = Histogram("h", "", buckets=BOUNDS, registry=CollectorRegistry())
    for value in seconds:
        histogram.observe(value)
    buckets = [
        (float(s.labels["le"]), s.value) for f in histogram.collect() for s in f.samples if s.name.endswith("_bucket")
    ]
    true = sorted(seconds)[math.ceil(share * len(seconds)) - 1]
    got = percentile(buckets, share)
    assert got is not None
    bucket = np.searchsorted(BOUNDS, true)
    lower = 0.0 if bucket == 0 else BOUNDS[bucket - 1]
    assert lower <= got / 1000 <= BOUNDS[bucket] + 1e-12


def test_a_percentile_of_nothing_is_none_and_beyond_the_last_bound_that_bound() -> None:
    assert percentile([], 0.5) is None
    assert percentile([(0.1, 0.0), (math.inf, 0.0)], 0.5) is None
    assert percentile([(0.1, 0.0), (math.inf, 5.0)], 0.5) == 100.0


def numbers_of(metrics: Metrics) -> Numbers:
    settings = SimpleNamespace(ladder=SimpleNamespace(budget_ms=40.0))
    return Numbers(SimpleNamespace(metrics=metrics, settings=settings))  # type: ignore[arg-type]


def test_numbers_are_rates_since_shortly_before_and_shares_of_what_was_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("stream_app.web.live.numbers.time.monotonic", lambda: now)
    metrics = Metrics()
    numbers = numbers_of(metrics)
    metrics.events.labels("clicks").inc(1000)
    first = numbers.count()
    assert first["events_s"] == {"clicks": None}  # nothing to compare with yet
    now += 1.0
    metrics.events.labels("clicks").inc(500)
    metrics.decided("recommendation", {"neural": 30, "rules": 10}, 0.015)
    second = numbers.count()
    assert second["events_s"] == {"clicks": 500.0}
    assert second["decisions_s"] == 40.0
    assert second["rungs"] == {"neural": 30, "rules": 10}
    assert 10 <= second["latency_ms"]["p50"] <= 20
    now += 3600.0
    assert numbers.count()["events_s"] == {"clicks": None}  # a rate over an hour would hide the last second
    assert numbers.count()["latency_ms"]["p99"] is not None  # none lately: of all there were


def forecast(symbol: str, ts: float, value: float = 100.0) -> bytes:
    return msgspec.json.encode(
        Forecast(
            symbol,
            ts,
            1,
            value,
            value - 1,
            value + 1,
            0.9,
            "arima",
            step_s=2.0,
            var_99=0.01,
            volatility=0.1,
            value=value,
        )
    )


def merged(client: dict[str, list[Any]], update: dict[str, Any] | None) -> None:
    if update is None:
        return
    if update["all"]:
        client.clear()
    for name, points in update["lines"].items():
        client[name] = (client.get(name, []) + points)[-MAX_POINTS:]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 40), st.booleans()), max_size=60))
def test_a_browser_that_looks_now_and_then_has_the_same_lines_as_one_that_never_missed(
    batches: list[tuple[int, int, bool]],
) -> None:
    prices, slow, seen = Prices(), dict[str, list[Any]](), 0
    ts = 0.0
    for symbol, n, looks in batches:
        records = []
        for _ in range(n):
            ts += 2.0
            records.append(forecast(f"s{symbol}", ts))
        prices.add(records)
        prices.add(records)  # again, as after a crash
        if looks:
            update, seen = prices.since(seen), prices.newest
            merged(slow, update)
    merged(slow, prices.since(seen))
    held = {name: list(line) for name, line in prices.lines.items()}
    assert {name: line for name, line in slow.items() if name in held} == held
    assert len(held) <= MAX_SYMBOLS
    assert all(len(line) <= MAX_POINTS for line in held.values())


def test_forecasts_of_items_are_no_prices() -> None:
    prices = Prices()
    prices.add(
        [msgspec.json.encode(Forecast("lamp", 1.0, 1, 3.0, 1.0, 5.0, 0.9, "arima", value=2.0)), forecast("a", 1.0)]
    )
    assert list(prices.lines) == ["a"]


def test_what_comes_while_the_past_is_read_follows_it_without_a_gap() -> None:
    prices, made = Prices(), [forecast("A", 10.0 * i) for i in range(8)]
    prices.hold([made[5], msgspec.json.encode(Forecast("lamp", 60.0, 1, 3.0, 1.0, 5.0, 0.9, "arima", value=2.0))])
    prices.hold([made[6]])
    prices.add(made[:6])  # the past, which has the first of them already
    prices.release()
    prices.add(made[7:])
    prices.release()
    assert [point[0] for point in prices.lines["A"]] == [10.0 * i for i in range(8)]
    assert list(prices.lines) == ["A"]


def test_an_update_is_only_what_is_new_unless_the_browser_fell_behind() -> None:
    prices = Prices()
    prices.add([forecast("a", float(ts)) for ts in range(10)])
    assert prices.since(0) is not None
    assert prices.since(0)["all"] is True  # type: ignore[index]
    seen = prices.newest
    assert prices.since(seen) is None
    prices.add([forecast("a", 10.0)])
    update = prices.since(seen)
    assert update is not None
    assert update["all"] is False
    assert [point[0] for point in update["lines"]["a"]] == [10.0]
    prices.add([forecast("a", 11.0 + ts) for ts in range(MAX_JOURNAL + 1)])
    update = prices.since(seen)
    assert update is not None
    assert update["all"] is True


def alert(name: str, status: str, last_ts: float) -> bytes:
    evidence = {"orders": 3}
    return msgspec.json.encode(
        RiskAlert(name, "velocity", "acct-1", "info", status, 3.0, 2.0, "m", evidence, 1.0, last_ts, "trades:0:1")  # type: ignore[arg-type]
    )


def test_the_last_alerts_that_are_over_stay_with_their_evidence_until_they_fire_again() -> None:
    resolved = ResolvedAlerts()
    resolved.add([alert(f"a{i}", status, 10.0 * i) for i in range(MOST + 3) for status in ("firing", "resolved")])
    shown = resolved.besides([])
    assert [one["alert_id"] for one in shown] == [f"a{i}" for i in range(MOST + 2, 2, -1)]
    assert (shown[0]["state"], shown[0]["evidence"]) == ("resolved", {"orders": 3})
    resolved.add([alert("a5", "firing", 500.0)])
    assert "a5" not in [one["alert_id"] for one in resolved.besides([])]
    assert resolved.besides(["a9"])[0]["alert_id"] == "a10"  # the books know of a9 still, and more than its record
    assert "a9" not in [one["alert_id"] for one in resolved.besides(["a9"])]


def test_lists_have_titles_and_prices_of_the_catalog_and_ids_where_it_has_none() -> None:
    items = ItemIndex()
    records = [msgspec.json.encode(Item("a", title="Lamp", price=2.5)), msgspec.json.encode(Item("b", title="Mug"))]
    items.update(decode_columns(Item, Spans.of(records)), Spans.of([]))
    lists = Recommendations(items)
    goods = [RecommendedItem("a", 0.9, "follows Mug"), RecommendedItem("b", 0.8), RecommendedItem("new", 0.7)]
    record = msgspec.json.encode(Recommendation("d", "u1", goods, "m", "neural", 1.0, 2.0, "clicks:0:1"))
    made = lists.decode([record])
    assert set(lists.unknown(made)) == {"a", "b", "new"}
    lists.look_up(lists.unknown(made))
    assert lists.unknown(made) == ["new"]  # may be met later, so it is asked for again
    (row,) = lists.rows(made)
    assert [(i["id"], i.get("title"), i.get("price")) for i in row["items"]] == [
        ("a", "Lamp", 2.5), ("b", "Mug", None), ("new", None, None),
    ]  # fmt: skip
    assert (row["user"], row["rung"], row["items"][0]["why"]) == ("u1", "neural", "follows Mug")


# -- the page's files


@pytest.fixture
async def client() -> Any:
    pages = Pages()
    site = web.Application()
    site.add_routes([web.get("/", pages.index), web.get("/live/static/{name}", pages.file)])
    async with TestClient(TestServer(site)) as client:
        yield client


async def test_every_file_that_the_page_names_is_served_with_a_policy_and_a_tag(client: TestClient[Any, Any]) -> None:
    page = await client.get("/")
    html = await page.text()
    named = set(re.findall(r'(?:src|href)="(/live/static/[^"]+)"', html))
    assert len(named) >= 5
    seen = set()
    while named:
        path = named.pop()
        seen.add(path)
        answer = await client.get(path)
        assert answer.status == 200, path
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        again = await client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status == 304
        if path.endswith(".js"):
            named |= {f"/live/static/{m}" for m in re.findall(r'from "\./([^"]+)"', await answer.text())} - seen
    assert {path.rsplit("/", 1)[1] for path in seen} == set(Pages()._files) - {"index.html"}


async def test_nothing_of_the_page_comes_from_elsewhere_or_is_inline(client: TestClient[Any, Any]) -> None:
    looked: Callable[[str], str] = lambda name: Pages()._files[name][0].decode()  # noqa: E731
    for name in Pages()._files:
        source = looked(name).replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]+\.[a-z]+/|url\(", source), name
    html = looked("index.html")
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", html)
    scripts = "".join(looked(name) for name in Pages()._files if name.endswith(".js"))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", scripts)


async def test_a_file_that_is_not_there_is_not_found(client: TestClient[Any, Any]) -> None:
    for name in ("nothing.js", "..%2Fpages.py", "%2e%2e%2fpages.py"):
        assert (await client.get(f"/live/static/{name}")).status == 404

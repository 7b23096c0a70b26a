"""The API over a real application: what is asked is answered from the stream's own state."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from faust.types import TP
from openapi_spec_validator import validate

from stream_app.transport.partitioning import partition_of
from tests.web_worker import WebWorker, serving
from topics.columns import decode_columns
from topics.decisions import Recommendation
from topics.events import AlertAction, Click, Item, Purchase, Trade
from topics.spans import Spans


def clicks(users: int = 40) -> list[Click]:
    """Users who take things that go together: a0 a1 a2 a3, or b0 … b3; each stops after the third."""
    return [
        Click(f"u{user}", f"{'ab'[user % 2]}{(user + i) % 4}", 1000.0 * user + 10.0 * i)
        for user in range(users)
        for i in range(3)
    ]


#: Users who came late enough to get full lists.
RICH = ("u36", "u37", "u38", "u39")


def trades() -> list[Trade]:
    """A price that jumps by a tenth at the end: it is forecast, and then it alarms."""
    noise = np.random.default_rng(3).standard_normal(1200)
    price = 100.0 * np.exp(np.cumsum(1e-4 * noise))
    price[-1] *= 1.1
    return [Trade("ACME", round(float(p), 4), 1.0, 1e6 + 10.0 * i) for i, p in enumerate(price)]


@pytest.fixture(scope="module")
def worker() -> Iterator[WebWorker]:
    with serving(k=4) as found:
        catalog = [Item(f"{kind}{i}", f"Title {kind}{i}", kind, price=i + 0.5) for kind in "ab" for i in range(4)]
        items = found.application.items
        items.update(decode_columns(Item, Spans.of([msgspec.json.encode(item) for item in catalog])), Spans.of([]))
        found.published = {  # type: ignore[attr-defined]
            answer.user_id: answer
            for answer in (
                msgspec.json.decode(value, type=Recommendation)
                for value in found.feed("clicks", clicks(), lambda click: click.user_id)
            )
        }
        found.forecasts = found.feed("trades", trades(), lambda trade: trade.symbol)  # type: ignore[attr-defined]
        yield found


def test_a_list_is_the_one_that_was_published_last(worker: WebWorker) -> None:
    for user in RICH:
        published: Recommendation = worker.published[user]  # type: ignore[attr-defined]
        answer = worker.ask(f"/recommendations/{user}").json()
        assert answer["made"] == "published"
        assert [item["item_id"] for item in answer["items"]] == [item.item_id for item in published.items]
        assert [item["score"] for item in answer["items"]] == [item.score for item in published.items]
        assert [item["reason"] for item in answer["items"]] == [item.reason for item in published.items]
        for name in ("decision_id", "model", "rung", "event_ts", "source"):
            assert answer[name] == getattr(published, name)
        first = answer["items"][0]
        assert first["title"] == f"Title {first['item_id']}"
        assert first["category"] == first["item_id"][0]
        assert first["price"] == int(first["item_id"][1]) + 0.5


def test_fewer_items_are_the_first_of_the_list_and_more_are_computed(worker: WebWorker) -> None:
    few, usual, more = (worker.ask(f"/recommendations/u39?k={k}").json() for k in (2, 4, 6))
    assert few["items"] == usual["items"][:2]
    assert more["made"] == "computed"
    assert len(more["items"]) > len(usual["items"])


def test_an_explanation_adds_up_to_the_score(worker: WebWorker) -> None:
    answer = worker.ask("/recommendations/u1?explain=true&k=8").json()
    by_rules = [item for item in answer["items"] if item["why"]["source"] == "rules"]
    assert by_rules
    for item in by_rules:
        parts = item["why"]["rules"]
        assert sum(part["contribution"] for part in parts) + item["why"]["model"] == pytest.approx(
            item["score"], abs=2e-6
        )
        assert item["reason"] == f"follows {parts[0]['title']}"
    trending = [item for item in answer["items"] if item["why"]["source"] == "trending"]
    assert all("rules" not in item["why"] for item in trending)


def test_after_a_restart_a_list_is_computed_by_the_same_path(worker: WebWorker) -> None:
    application = worker.application
    kept = application.web.latest
    application.web.latest = type(kept)(application.settings.k)
    try:
        answer = worker.ask("/recommendations/u1").json()
    finally:
        application.web.latest = kept
    assert answer["made"] == "computed"
    assert "decision_id" not in answer
    seen = {click.item_id for click in clicks() if click.user_id == "u1"}
    assert not seen & {item["item_id"] for item in answer["items"]}


def test_what_is_no_longer_for_sale_leaves_a_published_list(worker: WebWorker) -> None:
    before = worker.ask("/recommendations/u39").json()["items"]
    assert len(before) > 1
    gone = before[0]["item_id"]
    items = worker.application.items
    items.update(decode_columns(Item, Spans.of([])), Spans.of([gone.encode()]))
    worker.application.web.on_demand._shown_until = -np.inf
    try:
        after = worker.ask("/recommendations/u39").json()["items"]
    finally:
        items._deleted[items.index_of(gone)] = False
        worker.application.web.on_demand._shown_until = -np.inf
    assert [item["item_id"] for item in after] == [item["item_id"] for item in before[1:]]


def test_a_user_who_came_under_a_critical_alert_is_shown_nothing(worker: WebWorker) -> None:
    gate = worker.application.recommender.gate
    gate.set(("accounts", 0), "velocity", "u5", "abc")
    try:
        for path in ("/recommendations/u5", "/recommendations/u5?explain=true"):
            answer = worker.ask(path).json()
            assert answer["items"] == []
            assert answer["note"] == "withheld: critical alert velocity (abc)"
    finally:
        gate.set(("accounts", 0), "velocity", "u5", None)


def test_a_row_that_was_given_to_another_user_does_not_show_the_first_ones_list(worker: WebWorker) -> None:
    users = worker.application.recommender.users
    partition = partition_of(b"u7", 4)
    shard = users.shard(partition)
    row = int(shard.find(Spans.of([b"u7"]))[0])
    latest = worker.application.web.latest
    assert latest.read(shard, row, b"u7") is not None
    assert latest.read(shard, row, b"u8") is None
    marks = shard.column("_mark")
    kept = marks[row].copy()
    marks[row] = -1  # what a batch that failed leaves
    assert latest.read(shard, row, b"u7") is None
    marks[row] = kept


def test_similar_items_are_those_taken_after_it(worker: WebWorker) -> None:
    answer = worker.ask("/items/a0/similar?k=3&explain=true").json()
    assert answer["title"] == "Title a0"
    assert answer["items"][0]["item_id"] == "a1"
    assert answer["items"][0]["reason"] == "follows Title a0"
    assert {item["item_id"][0] for item in answer["items"] if item["why"]["source"] == "rules"} == {"a"}
    assert "a0" not in {item["item_id"] for item in answer["items"]}


def test_what_trends_can_be_asked_of_one_category(worker: WebWorker) -> None:
    answer = worker.ask("/trending?k=3").json()
    scores = [item["score"] for item in answer["items"]]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert {item["category"] for item in worker.ask("/trending?category=b").json()["items"]} == {"b"}
    none = worker.ask("/trending?category=none").json()
    assert (none["items"], none["event_ts"]) == ([], answer["event_ts"])


def test_a_forecast_is_the_record_that_was_published_last(worker: WebWorker) -> None:
    records = [json.loads(value) for value in worker.forecasts if b'"horizon"' in value]  # type: ignore[attr-defined]
    assert worker.ask("/forecasts/ACME").json() == records[-1]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/recommendations/nobody", "nobody"),
        ("/items/nothing/similar", "nothing"),
        ("/forecasts/NONE", "NONE"),
        ("/decisions/0123456789abcdef01234567", "0123456789abcdef01234567"),
        ("/decisions/no-id", "no-id"),
        ("/no/such/page", "/openapi.json"),
    ],
)
def test_what_is_not_known_is_a_problem_that_says_what_to_do(worker: WebWorker, path: str, names: str) -> None:
    reply = worker.ask(path)
    assert reply.status == 404
    assert reply.headers["Content-Type"] == "application/problem+json"
    problem = reply.json()
    assert problem["status"] == 404
    assert problem["type"] == "urn:tsrec:problem:not-found"
    assert names in problem["detail"]
    assert problem["instance"] == path


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/recommendations/u1?k=0", "k"),
        ("/recommendations/u1?k=many", "k"),
        ("/recommendations/u1?k=1&k=2", "k"),
        ("/recommendations/u1?limit=1", "limit"),
        ("/alerts?severity=bad", "severity"),
        ("/recommendations/" + 300 * "x", "user_id"),
    ],
)
def test_a_query_that_does_not_fit_is_refused_by_name(worker: WebWorker, path: str, name: str) -> None:
    reply = worker.ask(path)
    assert reply.status == 400
    assert [error["name"] for error in reply.json()["errors"]] == [name]


def test_the_page_asks_for_users_of_any_characters_too(worker: WebWorker) -> None:
    for path, user in (("%7Bx%7D", "{x}"), ("a%2Fb", "a/b"), ("%E2%82%AC", "€")):
        reply = worker.ask(f"/live/users/{path}")
        assert reply.status == 404
        assert f"nothing is known of user {user!r}" in reply.json()["detail"]


def test_what_a_user_did_is_in_the_order_of_time_whatever_topic_was_ahead(worker: WebWorker) -> None:
    worker.feed("purchases", [Purchase("shopper", "a1", 3e5)], lambda purchase: purchase.user_id)
    worker.feed("clicks", [Click("shopper", "a0", 3e5 - 30.0), Click("shopper", "a2", 3e5 + 1.0)], lambda c: c.user_id)
    history = worker.ask("/live/users/shopper").json()["history"]
    assert [event["id"] for event in history] == ["a2", "a1", "a0"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"reason":"\xff"}', b"[" * 60_000, b'{"reason": 1}', b'{"rate": 9}', b"{}"]
)
def test_a_requeue_that_says_not_which_letters_is_refused(worker: WebWorker, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    reply = worker.ask("/live/dead-letters/requeue", "POST", body=body, headers=headers)
    assert reply.status == 400, reply.body


def test_ids_of_any_characters_are_found(worker: WebWorker) -> None:
    worker.feed("clicks", [Click("a/b ü?&{}", "a0", 1e5)], lambda click: click.user_id)
    reply = worker.ask("/recommendations/a%2Fb%20%C3%BC%3F%26%7B%7D")
    assert reply.status == 200
    assert reply.json()["user_id"] == "a/b ü?&{}"


def test_a_decision_is_found_by_its_id(worker: WebWorker) -> None:
    published: Recommendation = worker.published["u38"]  # type: ignore[attr-defined]
    answer = worker.ask(f"/decisions/{published.decision_id}").json()
    assert answer["kind"] == "recommendation"
    assert answer["recommendation"]["user_id"] == "u38"
    assert answer["recommendation"]["items"] == worker.ask("/recommendations/u38").json()["items"]


def test_alerts_are_listed_filtered_and_acted_on(worker: WebWorker) -> None:
    alerts = worker.ask("/alerts").json()["alerts"]
    assert alerts
    alert = alerts[0]
    assert (alert["subject"], alert["about"], alert["state"]) == ("ACME", "symbol", "firing")
    assert alert["evidence"]
    total = len(alerts)
    assert worker.ask("/alerts?symbol=ACME").json()["total"] == total
    assert worker.ask("/alerts?account=ACME").json()["total"] == 0
    assert worker.ask(f"/alerts?kind={alert['kind']}&severity={alert['severity']}").json()["total"] >= 1
    assert worker.ask("/alerts?state=resolved&symbol=none").json() == {"alerts": [], "total": 0}
    assert worker.ask(f"/decisions/{alert['alert_id']}").json()["alert"]["message"] == alert["message"]

    # Somebody has acted on another alert just now, by a person's clock; the trades are of 1970.
    newest = worker.application.processor.event_time.newest
    newest[TP("alert-actions", partition_of(b"ACME", 4))] = time.time()
    silent = worker.ask(
        f"/alerts/{alert['alert_id']}/silence", "POST", body={"by": "ann", "duration_s": 60, "note": "known"}
    )
    taken = worker.ask(f"/alerts/{alert['alert_id']}/acknowledge", "POST", body={"by": "ann"})
    assert (silent.status, taken.status) == (202, 202)
    topic, value, key, partition = worker.sent[-2]
    action = msgspec.json.decode(value, type=AlertAction)
    assert (topic, key) == ("alert-actions", alert["alert_id"].encode())
    assert partition == partition_of(key, 4)
    assert (action.action, action.by, action.note) == ("silence", "ann", "known")
    # A minute after the newest trade, not after this test's clock.
    assert action.until_ts == pytest.approx(trades()[-1].ts + 60.0)
    assert silent.json()["until_ts"] == action.until_ts
    assert taken.json()["record"].startswith("alert-actions:")

    actions: list[msgspec.Struct] = [msgspec.json.decode(sent[1], type=AlertAction) for sent in worker.sent[-2:]]
    home = partition_of(b"ACME", 4)
    application = worker.application
    worker.run(_act(application, actions, home))
    states = {found["alert_id"]: found["state"] for found in worker.ask("/alerts").json()["alerts"]}
    assert states[alert["alert_id"]] == "acknowledged"
    label = worker.ask(f"/alerts/{alert['alert_id']}/verdict", "POST", body={"confirmed": False})
    assert label.json()["action"] == "reject"

    waiting = worker.ask("/reviews").json()
    assert alert["alert_id"] in [one["alert_id"] for one in waiting["waiting"]]
    assert waiting["labels"] == waiting["agreement"] == []
    worker.run(_act(application, [msgspec.json.decode(worker.sent[-1][1], type=AlertAction)], home))
    reviews = worker.ask("/reviews").json()
    assert reviews["total_waiting"] == waiting["total_waiting"] - 1
    assert alert["alert_id"] not in [one["alert_id"] for one in reviews["waiting"]]
    (judged,) = reviews["labels"]
    assert (judged["alert_id"], judged["confirmed"]) == (alert["alert_id"], False)
    assert alert["evidence"].items() <= judged["evidence"].items()
    (agreement,) = reviews["agreement"]
    assert (agreement["kind"], agreement["reviewed"], agreement["confirmed"]) == (alert["kind"], 1, 0)
    assert agreement["lower"] == 0.0
    assert agreement["upper"] < 1.0
    assert worker.ask("/reviews?kind=nothing_of_this").json()["total_labels"] == 0
    assert worker.ask("/reviews?limit=0").json()["labels"] == []
    (again,) = [one for one in worker.ask("/alerts").json()["alerts"] if one["alert_id"] == alert["alert_id"]]
    assert again["verdict"] == "rejected"


async def _act(application, actions: list[msgspec.Struct], partition: int) -> None:  # type: ignore[no-untyped-def]
    from tests.stream_app.agents.conftest import batch_of

    topic = application.processor.batch_topics["alert-actions"]
    (_, handler), *_ = application.processor._handlers["alert-actions"]
    await handler(batch_of(topic, actions, partition=partition))


def test_an_alert_that_nobody_has_is_not_acted_on(worker: WebWorker) -> None:
    sent = len(worker.sent)
    reply = worker.ask("/alerts/0123456789abcdef01234567/silence", "POST", body={})
    assert reply.status == 404
    assert len(worker.sent) == sent


def test_the_models_that_answer_are_named(worker: WebWorker) -> None:
    answer = worker.ask("/models").json()
    assert {model["role"] for model in answer["models"]} == {"rules", "forecast"}
    assert [rung["rung"] for rung in answer["ladder"]] == worker.application.settings.ladder.rungs


def test_the_openapi_document_is_valid_and_says_what_is_answered(worker: WebWorker) -> None:
    document = worker.ask("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    validate(document)
    assert set(document["paths"]) == {
        "/recommendations/{user_id}", "/items/{item_id}/similar", "/trending", "/forecasts/{symbol}", "/alerts",
        "/alerts/{alert_id}/acknowledge", "/alerts/{alert_id}/silence", "/alerts/{alert_id}/verdict",
        "/reviews", "/decisions/{decision_id}", "/models", "/healthz", "/readyz",
    }  # fmt: skip
    parameters = document["paths"]["/recommendations/{user_id}"]["get"]["parameters"]
    assert {parameter["name"]: parameter["in"] for parameter in parameters} == {
        "user_id": "path",
        "k": "query",
        "explain": "query",
    }


def test_while_state_is_recovered_strangers_are_told_to_come_again(worker: WebWorker) -> None:
    tables = worker.application.processor.tables
    tables.actives_ready = False
    try:
        replies = [worker.ask(path) for path in ("/recommendations/nobody", "/alerts", "/readyz")]
    finally:
        tables.actives_ready = True
    assert [reply.status for reply in replies] == [503, 503, 503]
    assert all(reply.headers["Retry-After"] == "2" for reply in replies[:2])


def test_a_stream_that_stands_still_is_not_waited_for(worker: WebWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from stream_app.web import context

    monkeypatch.setattr(context, "IN_STREAM_S", 0.2)
    worker.loop.call_soon_threadsafe(time.sleep, 1.0)
    reply = worker.ask("/recommendations/u39?explain=true")
    assert reply.status == 503
    assert "did not come to this within" in reply.json()["detail"]
    assert worker.ask("/metrics").status == 200
    assert worker.ask("/healthz").status == 200
    time.sleep(1.0)
    monkeypatch.undo()
    assert worker.ask("/recommendations/u1").status == 200


def test_a_user_who_was_asked_for_before_is_answered_while_the_stream_is_busy(worker: WebWorker) -> None:
    import time

    before = worker.ask("/recommendations/u39").json()
    worker.loop.call_soon_threadsafe(time.sleep, 0.6)
    began = time.monotonic()
    assert worker.ask("/recommendations/u39").json() == before
    assert time.monotonic() - began < 0.4
    gate = worker.application.recommender.gate
    gate.set(("accounts", 0), "velocity", "u39", "abc")
    assert worker.ask("/recommendations/u39").json()["items"] == []
    gate.set(("accounts", 0), "velocity", "u39", None)
    # Somebody else got the row: what was remembered of it is not shown.
    users = worker.application.recommender.users
    partition = partition_of(b"u39", 4)
    row = int(users.shard(partition).find(Spans.of([b"u39"]))[0])
    assert worker.application.web.latest.read_elsewhere(users.shard(partition), row, b"u38") is None


@pytest.mark.parametrize("query", ["state=opne", "severity=bad"])
def test_a_word_that_is_none_of_those_there_are_is_told_with_them(worker: WebWorker, query: str) -> None:
    reply = worker.ask(f"/alerts?{query}")
    assert reply.status == 400
    (error,) = reply.json()["errors"]
    assert error["name"] == query.partition("=")[0]
    assert ("it is one of open, firing, " in error["reason"]) or ("it is one of info, warning, " in error["reason"])


def test_an_item_that_was_viewed_and_taken_is_one_reason(worker: WebWorker) -> None:
    worker.feed("clicks", [Click("twice", "a0", 50_000.0), Click("twice", "a0", 50_001.0)], lambda click: click.user_id)
    items = worker.ask("/recommendations/twice?explain=true&k=8").json()["items"]
    reasons = [item["why"]["rules"] for item in items if item["why"].get("rules")]
    assert reasons
    for parts in reasons:
        assert [part["item_id"] for part in parts] == ["a0"]

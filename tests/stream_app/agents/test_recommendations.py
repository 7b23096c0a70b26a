"""The recommendation agent, called with batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_app.app import Application
from stream_app.requests import Answer, Request
from tests.stream_app.agents.conftest import batch_of, recommendations
from topics.columns import decode_columns
from topics.decisions import Recommendation
from topics.events import Click, Item, Purchase
from topics.spans import Spans
from tsrec_models.artifacts import save_artifact
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.gru import GRU
from tsrec_models.sequence.training import fit
from tsrec_models.sequence.training_settings import Settings as TrainingSettings

Make = Callable[..., Application]


def topic(app: Application, name: str):  # type: ignore[no-untyped-def]
    return app.processor.batch_topics[app.catalog[name].kafka_name]


async def send(app: Application, records: list[msgspec.Struct], *, offset: int = 0) -> list[Recommendation]:
    name = "clicks" if isinstance(records[0], Click) else "purchases"
    batch = batch_of(topic(app, name), records, offset=offset)
    await app.recommender(batch)
    return recommendations(batch)


def sessions(n: int, seed: int = 0) -> list[msgspec.Struct]:
    """Users who take three items that go together: a0 a1 a2, or b0 b1 b2."""
    draw = np.random.default_rng(seed)
    events: list[msgspec.Struct] = []
    for user in range(n):
        kind = draw.choice(["a", "b"])
        events += [Click(f"u{user}", f"{kind}{i}", 1000.0 * user + 10 * i) for i in range(3)]
    return events


async def test_what_goes_together_is_recommended_and_what_was_seen_is_not(make_app: Make) -> None:
    app = make_app()
    await send(app, sessions(40))
    (answer,) = await send(app, [Click("new", "a0", 50_000.0)], offset=1000)
    ids = [item.item_id for item in answer.items]
    assert set(ids[:2]) == {"a1", "a2"}
    assert "a0" not in ids
    assert answer.rung == "rules"
    assert answer.items[0].reason == "follows a0"
    assert answer.source == "clicks:0:1000"


async def test_items_that_cannot_be_bought_now_never_come(make_app: Make) -> None:
    app = make_app()
    await send(app, sessions(40))
    expired = msgspec.json.encode(Item("a1", expires_at=49_000.0))
    later = msgspec.json.encode(Item("b1", available_from=60_000.0))
    app.items.update(decode_columns(Item, Spans.of([expired, later])), Spans.of([b"b2"]))
    (answer,) = await send(app, [Click("new", "a0", 50_000.0)], offset=1000)
    assert {item.item_id for item in answer.items} == {"a2", "b0"}


async def test_a_clock_that_is_ahead_shows_nobody_what_is_not_for_sale_yet(make_app: Make) -> None:
    app = make_app()
    await send(app, sessions(40))
    now = time.time()
    app.items.update(
        decode_columns(Item, Spans.of([msgspec.json.encode(Item("a1", available_from=now + 600.0))])), Spans.of([])
    )
    answers = await send(app, [Click("fast", "a0", now + 3000.0), Click("right", "a0", now)], offset=1000)
    assert len(answers) == 2
    assert all("a1" not in {item.item_id for item in answer.items} for answer in answers)


async def test_a_replayed_event_changes_nothing_and_is_not_answered_again(make_app: Make) -> None:
    app = make_app()
    first = await send(app, sessions(10))
    shard = app.recommender.users.shard(0)
    keys, values = shard.drain_dirty()
    before = dict(zip(keys.tolist(), values.tolist(), strict=True))
    assert len(first) == 30
    assert await send(app, sessions(10)) == []
    shard.touch(shard.live_rows())
    keys, values = shard.drain_dirty()
    assert dict(zip(keys.tolist(), values.tolist(), strict=True)) == before


async def test_the_same_event_always_has_the_same_decision_id(make_app: Make) -> None:
    ids = [[a.decision_id for a in await send(make_app(), sessions(5), offset=7)] for _ in range(2)]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 15


async def test_purchases_are_answered_and_remembered_as_such(make_app: Make) -> None:
    app = make_app()
    answers = await send(app, [Purchase("u", "x", 100.0, quantity=2.0, price=3.5)])
    assert len(answers) == 1
    known = app.recommender.users.get("u")
    assert known is not None
    assert known["recent"][0]["kind"] == 4
    assert known["purchases_28d"]


async def test_a_user_under_a_critical_alert_gets_no_promotions_and_the_decision_says_why(make_app: Make) -> None:
    app = make_app()
    await send(app, sessions(40))
    app.recommender.gate.set(("account", 0), "wash_trade", "mallory", "a1")
    held, free = await send(app, [Click("mallory", "a0", 50_000.0), Click("u", "a0", 50_001.0)], offset=1000)
    assert held.items == []
    assert held.note is not None
    assert "wash_trade" in held.note
    assert len(free.items) > 0
    assert free.note is None
    app.recommender.gate.set(("account", 0), "wash_trade", "mallory", None)
    (again,) = await send(app, [Click("mallory", "a1", 50_002.0)], offset=1002)
    assert len(again.items) > 0
    assert again.note is None


async def test_a_user_is_answered_once_in_the_interval(make_app: Make) -> None:
    app = make_app(trigger={"min_interval_s": 60.0})
    events = [Click("u", "a", 0.0), Click("u", "b", 30.0), Click("v", "a", 31.0), Click("u", "c", 61.0)]
    assert [a.event_ts for a in await send(app, events)] == [0.0, 31.0, 61.0]
    assert await send(app, [Click("u", "d", 90.0)], offset=10) == []


async def test_only_the_chosen_actions_are_answered(make_app: Make) -> None:
    app = make_app(trigger={"actions": ["cart", "purchase"]})
    events = [Click("u", "a", 0.0), Click("u", "b", 1.0, action="cart"), Click("u", "c", 2.0, action="view")]
    assert [a.event_ts for a in await send(app, events)] == [1.0]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GRU that has seen a few hundred sessions."""
    rows = [(e.user_id, e.item_id, e.ts) for e in sessions(300, seed=1)]  # type: ignore[attr-defined]
    log = Log.from_ids(*map(list, zip(*rows, strict=True)))
    settings = TrainingSettings(width=8, hidden=8, epochs=3, batch_events=64)
    model = fit(log, model=GRU, settings=settings, validation=None, seed=3)
    folder = tmp_path_factory.mktemp("model") / "gru"
    save_artifact(folder, model, list(log.item_ids), data_hash="-", settings={"neural_weight": 0.6}, metrics={})
    return folder


async def test_the_hidden_state_is_the_encoding_of_all_a_user_did(make_app: Make, artifact: Path) -> None:
    app = make_app(model=artifact)
    live = app.recommender.model
    assert live is not None
    events = [Click("u", "a0", 10.0), Click("v", "b0", 11.0), Click("u", "a1", 20.0), Click("u", "unknown", 25.0)]
    await send(app, events)
    answers = await send(app, [Click("u", "a2", 30.0), Click("v", "b1", 31.0)], offset=10)
    assert {a.rung for a in answers} == {"neural"}
    assert answers[0].model == live.version
    shard = app.recommender.users.shard(0)
    rows = shard.find(Spans.of([b"u", b"v"]))
    number = {item: i for i, item in enumerate(["a0", "a1", "a2", "b0", "b1", "b2"])}
    items = live.to_model(app.items.index(Spans.of([name.encode() for name in number])))
    histories = [items[[number[i] for i in names]] for names in (["a0", "a1", "a2"], ["b0", "b1"])]
    expected = live.model.encode(histories, [np.array([10.0, 20.0, 30.0]), np.array([11.0, 31.0])])
    np.testing.assert_allclose(shard.column("hidden")[rows][:, : live.state_width], expected, atol=1e-5)


async def test_rows_of_another_model_are_encoded_from_the_ring(make_app: Make, artifact: Path) -> None:
    app = make_app(model=artifact)
    await send(app, [Click("u", "a0", 10.0), Click("u", "a1", 20.0)])
    shard = app.recommender.users.shard(0)
    row = shard.find(Spans.of([b"u"]))
    whole = shard.column("hidden")[row].copy()
    shard.column("model")[row] = 12345  # as if an earlier model had stepped it
    shard.column("hidden")[row] = 99.0
    await send(app, [Click("u", "a2", 30.0)], offset=10)
    live = app.recommender.model
    assert live is not None
    items = live.to_model(app.items.index(Spans.of([b"a0", b"a1", b"a2"])))
    expected = live.model.encode([items], [np.array([10.0, 20.0, 30.0])])
    np.testing.assert_allclose(shard.column("hidden")[row][:, : live.state_width], expected, atol=1e-5)
    assert shard.column("model")[row[0]] == live.code
    assert not np.array_equal(whole, shard.column("hidden")[row])


async def test_without_time_for_the_model_the_rules_answer(make_app: Make, artifact: Path) -> None:
    app = make_app(model=artifact)
    await send(app, sessions(20))
    app.recommender.ladder.took("neural", 1, 1e6)
    app.recommender.ladder.budget_s = float("-inf")
    (answer,) = await send(app, [Click("w", "a0", 90_000.0)], offset=1000)
    assert answer.rung == "trending"


async def two_requests(app: Application, monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What two lanes would ask at once: known and new users, a user twice, items that only one partition knows."""
    for partition in (0, 1):
        await app.recommender(batch_of(topic(app, "clicks"), sessions(12, seed=partition), partition=partition))
    asked: list[Request] = []

    async def keep(request: Request) -> Answer:
        asked.append(request)
        return Answer()

    monkeypatch.setattr(app.recommender._merged, "ask", keep)
    one = [Click("u1", "a0", 20_000.0), Click("new", "b0", 20_001.0), Click("u1", "a1", 20_002.0)]
    two = [Click("u1", "b1", 90_000.0), Click("u3", "only-here", 90_001.0)]
    for partition, events in enumerate((one, two)):
        await app.recommender(batch_of(topic(app, "clicks"), events, partition=partition, offset=500))
    assert [len(request) for request in asked] == [3, 2]
    return asked


def stated(answers: list[Answer | Exception]) -> list[dict[str, object]]:
    """The published records without the moment of their writing."""
    records = []
    for answer in answers:
        assert isinstance(answer, Answer)
        assert answer.values is not None
        records += [{**msgspec.json.decode(value or b""), "produced_ts": None} for value in answer.values]
    return records


async def test_lanes_answered_together_get_what_each_would_get_alone(
    make_app: Make, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(model=artifact, ladder={"budget_ms": 1e6})
    app.items.update(
        decode_columns(Item, Spans.of([msgspec.json.encode(Item("a2", expires_at=50_000.0))])), Spans.of([])
    )
    requests = await two_requests(app, monkeypatch)
    answering = app.recommender._answering
    states = [request.state.copy() for request in requests if request.state is not None]
    alone = [answer for request in requests for answer in answering._together([request])]
    for request, state in zip(requests, states, strict=True):
        request.state = state
    together = answering._together(requests)
    assert len(stated(alone)) == 5
    for one, other in zip(stated(alone), stated(together), strict=True):
        assert one.keys() == other.keys()
        assert [i["item_id"] for i in one.pop("items")] == [i["item_id"] for i in other.pop("items")]  # type: ignore[attr-defined]
        assert one == other
    for mine, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(mine.state, other.state, rtol=1e-5, atol=1e-6)  # type: ignore[union-attr]
    # What was for sale in the time of one lane and not in that of the other stays apart.
    of_one, of_two = ({i["item_id"] for r in stated([a]) for i in r["items"]} for a in together)  # type: ignore[attr-defined]
    assert "a2" in of_one
    assert "a2" not in of_two


async def test_a_request_that_fails_leaves_its_neighbour_answered_and_learnt_once(
    make_app: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    good, bad = await two_requests(app, monkeypatch)
    bad.category = None  # type: ignore[assignment]
    counts = app.recommender.trends.trending.counts(90_001.0).sum()
    answers = app.recommender._answering([good, bad])
    assert len(stated(answers[:1])) == 3
    assert isinstance(answers[1], Exception)
    gained = app.recommender.trends.trending.counts(90_001.0).sum() - counts
    assert 2.0 < gained < 3.0  # three events, decayed a little; none of the other's two

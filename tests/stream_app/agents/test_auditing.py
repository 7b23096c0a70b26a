"""Decisions written down, made again, and found out where somebody changed them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_app.app import Application
from stream_app.model_watch import ModelWatch
from stream_app.redeciding import Verdict, redecide
from tests.stream_app.agents.conftest import batch_of
from topics.audit import DecisionRecord
from topics.columns import decode_columns
from topics.decisions import Recommendation
from topics.events import Click, Item
from topics.spans import Spans
from tsrec_models.artifacts import Artifact, load_artifact, save_artifact
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.gru import GRU
from tsrec_models.sequence.training import fit
from tsrec_models.sequence.training_settings import Settings as TrainingSettings

Make = Callable[..., Application]

ITEMS = 30


def events(n: int, seed: int, first_user: int = 0) -> list[Click]:
    """Users who walk along a ring of items, in turn."""
    draw = np.random.default_rng(seed)
    out, at = [], {}
    for i in range(n):
        user = first_user + int(draw.integers(n // 6))
        at[user] = (at.get(user, int(draw.integers(ITEMS))) + int(draw.integers(1, 4))) % ITEMS
        out.append(Click(f"u{user}", f"i{at[user]}", 1e9 + 60.0 * i))
    return out


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    past = events(1500, 1)
    log = Log.from_ids([e.user_id for e in past], [e.item_id for e in past], [e.ts for e in past])
    model = fit(log, model=GRU, settings=TrainingSettings(width=8, hidden=8, epochs=3), validation=None, seed=1)
    folder = tmp_path_factory.mktemp("model") / "m"
    save_artifact(folder, model, list(log.item_ids), data_hash="-", settings={"neural_weight": 0.4}, metrics={})
    return folder


@pytest.fixture(scope="module")
def loaded(artifact: Path) -> Artifact:
    return load_artifact(artifact, device="cpu")


async def decide(app: Application, clicks: list[Click], offset: int) -> list[tuple[DecisionRecord, Recommendation]]:
    batch = batch_of(app.processor.batch_topics[app.catalog["clicks"].kafka_name], list(clicks), offset=offset)
    await app.recommender(batch)
    by_topic: dict[str, list[bytes]] = {}
    for out in batch.outgoing:
        by_topic.setdefault(out.topic, []).extend(value or b"" for value in out.values.tolist())
    published = {
        p.decision_id: p
        for p in (msgspec.json.decode(v, type=Recommendation) for v in by_topic.get("recommendations", []))
    }
    records = [msgspec.json.decode(v, type=DecisionRecord) for v in by_topic.get("decision-records", [])]
    return [(record, published[record.decision_id]) for record in records]


async def run(app: Application, rounds: int = 6, size: int = 60) -> list[tuple[DecisionRecord, Recommendation]]:
    found, clicks = [], events(rounds * size, 5, first_user=1000)
    for i in range(rounds):
        found += await decide(app, clicks[size * i : size * (i + 1)], 100 * i)
    return found


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "caps and a minimum": {"category_cap": 2, "filters": {"minimum_score": 0.02}},
    "diversity": {"filters": {"diversity": 0.4}},
    "calibration": {"filters": {"calibration": 0.4}, "category_cap": 3},
    "seen items shown": {"exclude_seen": False},
    "blocked": {"filters": {"blocked": ["i3", "i4"]}},
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("catalog", [True, False], ids=["with catalog", "without"])
async def test_every_recorded_decision_comes_out_the_same(
    make_app: Make, artifact: Path, loaded: Artifact, name: str, catalog: bool
) -> None:
    app = make_app(model=artifact, audit_share=1.0, **SETTINGS[name])
    if catalog:
        known = [Item(f"i{i}", title=f"thing {i}", category=f"c{i % 4}", price=1.0 + i) for i in range(ITEMS)]
        gone = [Item("i7", category="c1", expires_at=1.0), Item("i9", available_from=2e9)]
        records = [msgspec.json.encode(item) for item in known + gone]
        app.items.update(decode_columns(Item, Spans.of(records)), Spans.of([b"i11"]))
    watch = ModelWatch(app.recommender, app.items, app.metrics, app.settings, app.recommender.catalog_ready)
    await watch.look()
    found = await run(app)
    assert len(found) == 360
    for record, published in found:
        verdict = redecide(record, published, loaded)
        assert verdict.same, (verdict.differences, verdict.checks)
        if record.items:
            assert any("the state again from" in check for check in verdict.checks)
    if catalog:
        reasons = {reason for record, _ in found for reason in record.removed.values()}
        assert "not for sale" in reasons
        assert name != "blocked" or "blocked" in reasons


async def test_without_a_model_the_rules_are_blended_again(make_app: Make) -> None:
    app = make_app(audit_share=1.0)
    for record, published in await run(app):
        assert record.rung == "rules"
        assert redecide(record, published, None).same


async def test_a_list_that_was_held_back_is_held_back_again(make_app: Make, artifact: Path, loaded: Artifact) -> None:
    app = make_app(model=artifact, audit_share=1.0)
    await run(app, 2)
    app.recommender.gate.set(("account", 0), "wash_trade", "mallory", "a1")
    ((record, published),) = await decide(app, [Click("mallory", "i3", 2e9)], 900)
    verdict = redecide(record, published, loaded)
    assert verdict.same
    assert verdict.items == []
    assert "wash_trade" in " ".join(verdict.checks)


async def test_a_share_is_drawn_and_an_event_always_alike(make_app: Make) -> None:
    sets = []
    for _ in range(2):
        app = make_app(audit_share=0.3)
        sets.append({record.decision_id for record, _ in await run(app)})
    assert sets[0] == sets[1]
    assert 0.2 < len(sets[0]) / 360 < 0.4
    assert await run(make_app()) == []


async def test_new_items_keep_their_recorded_score(make_app: Make, artifact: Path, loaded: Artifact) -> None:
    app = make_app(model=artifact, audit_share=1.0)
    items = [Item(f"i{i}", title=f"thing {i % 3}", price=2.0) for i in range(ITEMS)]
    items += [Item(f"n{i}", title=f"thing {i % 3}", price=2.0) for i in range(9)]
    app.items.update(decode_columns(Item, Spans.of([msgspec.json.encode(item) for item in items])), Spans.of([]))
    live = app.recommender.model
    assert live is not None
    from tsrec_models.sequence.content import ContentMap, item_content

    features = item_content([item.title for item in items[:ITEMS]], [None] * ITEMS, [2.0] * ITEMS)
    index = app.items.index(Spans.of([b"i%d" % i for i in range(ITEMS)]))
    live.content = ContentMap.fit(features, live.model.item_vectors()[live.to_model(index)])
    live.content, live.new_items = live.describe()()
    found = await run(app, 2)
    assert any(entry.new for record, _ in found for entry in record.neural)
    assert all(redecide(record, published, loaded).same for record, published in found)


def changed(record: DecisionRecord, **values: Any) -> DecisionRecord:
    return msgspec.structs.replace(record, **values)


def other(record: DecisionRecord) -> str:
    """An item that the user took, another than the last but one."""
    return next((past.item_id for past in record.history if past.item_id != record.history[-2].item_id), "i0")


TAMPERED: dict[str, Callable[[DecisionRecord], DecisionRecord]] = {
    "an item of the list": lambda r: changed(
        r, items=[msgspec.structs.replace(r.items[0], item_id="i0x"), *r.items[1:]]
    ),
    "two places": lambda r: changed(r, items=[r.items[1], r.items[0], *r.items[2:]]),
    "a score of the list": lambda r: changed(
        r, items=[msgspec.structs.replace(r.items[0], score=r.items[0].score * 1.1), *r.items[1:]]
    ),
    "a score of the model": lambda r: changed(
        r, neural=[msgspec.structs.replace(r.neural[0], score=r.neural[0].score + 0.5), *r.neural[1:]]
    ),
    "a weight of the rules": lambda r: changed(
        r, rules=[msgspec.structs.replace(r.rules[0], score=r.rules[0].score * 3), *r.rules[1:]]
    ),
    "a candidate of the rules": lambda r: changed(r, rules=r.rules[1:]),
    "the history": lambda r: changed(
        r, history=[*r.history[:-2], msgspec.structs.replace(r.history[-2], item_id=other(r)), r.history[-1]]
    ),
    "the state": lambda r: changed(
        r, state=r.state[:40] + ("A" * 8 if r.state[40:48] != "A" * 8 else "B" * 8) + r.state[48:]
    ),
    "the weight of the blend": lambda r: changed(r, neural_weight=0.9),
    "what was left out": lambda r: changed(r, seen=r.seen[1:], removed={r.items[0].item_id: "not for sale"}),
    "the event": lambda r: changed(r, source="clicks:0:999999"),
    "the model's hash": lambda r: changed(r, model_hash="0" * 64),
}


@pytest.mark.parametrize("what", TAMPERED)
async def test_a_record_that_was_tampered_with_is_found_out(
    make_app: Make, artifact: Path, loaded: Artifact, what: str
) -> None:
    app = make_app(model=artifact, audit_share=1.0)
    found = [pair for pair in await run(app) if len(pair[0].history) > 2 and len(pair[0].rules) > 3][-20:]
    assert len(found) == 20
    verdicts: list[Verdict] = [redecide(TAMPERED[what](record), published, loaded) for record, published in found]
    assert not any(verdict.same for verdict in verdicts), [v.checks for v in verdicts if v.same][:2]


async def test_a_published_list_that_is_another_is_found_out(make_app: Make, artifact: Path, loaded: Artifact) -> None:
    app = make_app(model=artifact, audit_share=1.0)
    record, published = (await run(app, 3))[-1]
    other = msgspec.structs.replace(published, items=published.items[1:])
    verdict = redecide(record, other, loaded)
    assert verdict.differences[0].startswith("place 1 of the published list")
    assert redecide(record, None, loaded).same

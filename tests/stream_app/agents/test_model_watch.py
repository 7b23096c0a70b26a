"""Models that change while the stream runs: swaps, refusals, trials, new items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_app.app import Application
from stream_app.model_store import ModelStore
from stream_app.model_watch import ModelWatch
from tests.stream_app.agents.conftest import batch_of, recommendations
from topics.columns import decode_columns
from topics.decisions import Recommendation
from topics.events import Click, Item
from topics.spans import Spans
from tsrec_models.artifacts import save_artifact
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.gru import GRU
from tsrec_models.sequence.training import fit
from tsrec_models.sequence.training_settings import Settings as TrainingSettings

Make = Callable[..., Application]


def sessions(n: int, seed: int) -> list[Click]:
    """Users who take a0 a1 a2 a3 or b0 b1 b2 b3."""
    draw = np.random.default_rng(seed)
    return [
        Click(f"u{user}", f"{kind}{i}", 1000.0 * user + 10 * i)
        for user in range(n)
        for kind in [draw.choice(["a", "b"])]
        for i in range(4)
    ]


def train(folder: Path, seed: int, hidden: int = 8, weight: float = 0.9, epochs: int = 3) -> Path:
    events = sessions(300, seed)
    log = Log.from_ids([e.user_id for e in events], [e.item_id for e in events], [e.ts for e in events])
    settings = TrainingSettings(width=8, hidden=hidden, epochs=epochs, batch_events=64)
    model = fit(log, model=GRU, settings=settings, validation=None, seed=seed)
    save_artifact(folder, model, list(log.item_ids), data_hash="-", settings={"neural_weight": weight}, metrics={})
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "first": train(folder / "first", 1),
        "second": train(folder / "second", 2),
        "wide": train(folder / "wide", 3, hidden=200, epochs=1),
    }


@pytest.fixture
def watched(make_app: Make, models: dict[str, Path], tmp_path: Path) -> tuple[Application, ModelStore, ModelWatch]:
    store = ModelStore(tmp_path / "store")
    store.point("active", store.push(models["first"]))
    app = make_app(model=store.folder, trial={"share": 1.0})
    watch = ModelWatch(app.recommender, app.items, app.metrics, app.settings, app.recommender.catalog_ready)
    return app, store, watch


async def send(app: Application, events: list[Click], offset: int) -> list[Recommendation]:
    batch = batch_of(app.processor.batch_topics[app.catalog["clicks"].kafka_name], list(events), offset=offset)
    await app.recommender(batch)
    return recommendations(batch)


def taken(app: Application, result: str) -> float:
    value = app.metrics.registry.get_sample_value("tsrec_model_changes_total", {"result": result})
    assert value is not None
    return value


async def test_a_new_model_answers_from_the_states_that_the_rings_give(
    watched: tuple[Application, ModelStore, ModelWatch], models: dict[str, Path]
) -> None:
    app, store, watch = watched
    await send(app, [Click("u", "a0", 10.0), Click("u", "a1", 20.0), Click("v", "b0", 15.0)], 0)
    version = store.push(models["second"])
    store.point("active", version)
    await watch.look()
    live = app.recommender.model
    assert live is not None
    assert live.version == version
    assert app.metrics.registry.get_sample_value("tsrec_model_info", {"model": "gru", "version": version}) == 1
    assert taken(app, "taken") == 1
    answers = await send(app, [Click("u", "a2", 30.0), Click("v", "b1", 31.0)], 10)
    assert {answer.model for answer in answers} == {version}
    shard = app.recommender.users.shard(0)
    rows = shard.find(Spans.of([b"u", b"v"]))
    index = app.items.index(Spans.of([b"a0", b"a1", b"a2", b"b0", b"b1"]))
    expected = live.encode([index[:3], index[3:]], [np.array([10.0, 20.0, 30.0]), np.array([15.0, 31.0])])
    np.testing.assert_allclose(shard.column("hidden")[rows][:, : live.state_width], expected, atol=1e-5)
    await watch.look()
    assert app.recommender.model is live  # nothing changed: nothing is loaded again


async def test_items_unknown_to_the_model_leave_a_state_alike_whether_stepped_or_encoded(
    watched: tuple[Application, ModelStore, ModelWatch],
) -> None:
    app, _, _ = watched
    events = [Click("u", item, 10.0 * i) for i, item in enumerate(["a0", "new", "a1", "newer", "a2"])]
    await send(app, events, 0)
    shard = app.recommender.users.shard(0)
    row, live = shard.find(Spans.of([b"u"])), app.recommender.model
    assert live is not None
    stepped = shard.column("hidden")[row][:, : live.state_width].copy()
    index = app.items.index(Spans.of([event.item_id.encode() for event in events]))
    np.testing.assert_allclose(live.encode([index], [np.arange(5) * 10.0]), stepped, atol=1e-5)


async def test_a_model_too_wide_or_damaged_is_refused_and_the_old_one_serves_on(
    watched: tuple[Application, ModelStore, ModelWatch], models: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    app, store, watch = watched
    before = app.recommender.model
    store.point("active", store.push(models["wide"]))
    await watch.look()
    assert app.recommender.model is before
    assert "TSREC_HIDDEN_WIDTH=" in caplog.text
    assert before is not None
    assert f"{before.version} goes on" in caplog.text
    version = store.push(models["second"])
    (store.folder / "versions" / version / "items.json").write_text("[]")
    store.point("active", version)
    await watch.look()
    assert "damaged" in caplog.text
    assert taken(app, "refused") == 2
    assert {answer.model for answer in await send(app, [Click("u", "a0", 1.0)], 0)} == {before.version}
    await watch.look()
    assert taken(app, "refused") == 2  # said once


async def test_a_batch_that_was_prepared_with_the_old_model_ends_with_it(
    watched: tuple[Application, ModelStore, ModelWatch], models: dict[str, Path]
) -> None:
    app, store, watch = watched
    ask = app.recommender._merged.ask
    old = app.recommender.model
    assert old is not None

    async def swapped_meanwhile(request: object) -> object:
        store.point("active", store.push(models["second"]))
        await watch.look()
        return await ask(request)  # type: ignore[arg-type]

    app.recommender._merged.ask = swapped_meanwhile  # type: ignore[method-assign, assignment]
    (answer,) = await send(app, [Click("u", "a0", 10.0)], 0)
    app.recommender._merged.ask = ask  # type: ignore[method-assign]
    new = app.recommender.model
    assert new is not None
    assert answer.model == old.version != new.version
    shard = app.recommender.users.shard(0)
    assert shard.column("model")[shard.find(Spans.of([b"u"]))[0]] == old.code
    (answer,) = await send(app, [Click("u", "a1", 20.0)], 1)
    assert answer.model == new.version
    assert shard.column("model")[shard.find(Spans.of([b"u"]))[0]] == new.code


async def test_a_shadow_is_judged_by_what_came_next_and_changes_no_answer(
    watched: tuple[Application, ModelStore, ModelWatch], models: dict[str, Path], make_app: Make
) -> None:
    app, store, watch = watched
    alone = make_app(model=models["first"])
    store.point("shadow", store.push(models["second"]))
    await watch.look()
    assert app.recommender.shadow is not None
    events = sessions(40, 9)
    rounds = [[event for event in events if event.item_id[1] == str(i)] for i in range(4)]
    for i, part in enumerate(rounds):
        with_shadow = await send(app, part, 100 * i)
        without = await send(alone, part, 100 * i)
        assert [a.items for a in with_shadow] == [a.items for a in without]
    sample = app.metrics.registry.get_sample_value
    judged = sample("tsrec_model_trial_events_total") or 0.0
    assert judged == 3 * 32  # every event but a user's first; 32 of a batch
    hits = {role: sample("tsrec_model_trial_hits_total", {"role": role}) for role in ("live", "shadow")}
    assert all(hit is not None and judged * 0.9 <= hit <= judged for hit in hits.values())  # few items, long lists
    store.point("shadow", None)
    await watch.look()
    assert app.recommender.shadow is None
    await send(app, [Click("z", "a0", 1e6)], 900)
    assert sample("tsrec_model_trial_events_total") == judged


async def test_an_item_is_recommended_by_its_features_before_anybody_took_it(make_app: Make, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    kinds = ["lantern", "teapot", "ribbon"]
    ids = [f"{kind}-{i}" for kind in kinds for i in range(15)]
    users, items = [], []
    for user in range(400):
        kind = int(draw.integers(3))
        for _ in range(6):
            users.append(user)
            items.append(15 * kind + int(draw.integers(15)))
    log = Log.from_arrays(users, items, np.arange(len(users), dtype=float), item_ids=ids, n_items=len(ids))
    model = fit(log, model=GRU, settings=TrainingSettings(width=16, hidden=16, epochs=30), validation=None, seed=1)
    save_artifact(tmp_path / "m", model, ids, data_hash="-", settings={"neural_weight": 1.0}, metrics={})
    app = make_app(model=tmp_path / "m", k=60)
    catalog = [Item(name, title=f"{name.split('-')[0]} no {name.split('-')[1]}", price=2.0) for name in ids]
    fresh = [Item(f"new-{kind}", title=f"blue {kind}", price=2.0) for kind in kinds]
    records = [msgspec.json.encode(item) for item in catalog + fresh]
    app.items.update(decode_columns(Item, Spans.of(records)), Spans.of([]))
    watch = ModelWatch(app.recommender, app.items, app.metrics, app.settings, app.recommender.catalog_ready)
    await watch.describe_new_items()
    live = app.recommender.model
    assert live is not None
    assert live.content is not None
    assert live.content.explained > 0.2
    events = [Click("t", f"teapot-{i}", 1e5 + i) for i in range(6)]
    answer = (await send(app, events, 0))[-1]
    shown = [item.item_id for item in answer.items]
    assert shown.index("new-teapot") < 12  # nine known teapots are left
    assert not {"new-lantern", "new-ribbon"} & set(shown[:15])
    assert answer.rung == "neural"
    changes = app.items.changes
    await watch.describe_new_items()
    assert app.items.changes == changes


async def test_blocked_items_follow_their_file(make_app: Make, models: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "blocked.txt"
    app = make_app(model=models["first"], filters={"blocked": ["a1"], "blocked_file": file})
    watch = ModelWatch(app.recommender, app.items, app.metrics, app.settings, app.recommender.catalog_ready)

    async def shown(offset: int) -> set[str]:
        (answer,) = await send(app, [Click(f"s{offset}", "a0", 1e6 + offset)], offset)
        return {item.item_id for item in answer.items}

    await watch.look()
    assert "a1" not in await shown(0)
    assert "a2" in await shown(1)
    file.write_text("a2\n\n")
    await watch.look()
    assert not {"a1", "a2"} & await shown(2)
    file.unlink()
    await watch.look()
    assert "a2" in await shown(3)


def test_a_list_is_ordered_in_one_way_only(make_app: Make) -> None:
    with pytest.raises(ValueError, match="not for both"):
        make_app(filters={"diversity": 0.3, "calibration": 0.3})

"""Models that change while the stream runs: swaps, refusals, trials, new items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from stream_app.app import Application
from stream_app.model_store import ModelStore
from stream_app.model_watch import ModelWatch
from stream_app.models import LiveModel
from tests.stream_app.agents.conftest import batch_of, recommendations
from topics.columns import decode_columns
from topics.decisions import Recommendation
from topics.events import Click, Item
from topics.spans import Spans
from tsrec_models.artifacts import Artifact, Manifest, save_artifact
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


KINDS = ("lantern", "teapot", "ribbon")


class ByKind:
    """A model whose items have the vector of their kind, with noise; a user's state is the mean of what was taken."""

    name, n_items, state_width = "gru", 60, 4

    def __init__(self) -> None:
        kind = np.arange(self.n_items) // 20
        noise = np.random.default_rng(0).normal(scale=0.1, size=(self.n_items, 4))
        self._vectors = (np.eye(4)[kind] + noise).astype(np.float32)
        self._vectors[:, 3] = 0.0  # no bias

    def item_vectors(self) -> NDArray[np.float32]:
        return self._vectors

    def queries(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        return state

    def encode(self, histories: list[NDArray[np.int64]], times: object = None) -> NDArray[np.float32]:
        return np.stack([self._vectors[history].sum(axis=0) for history in histories]).astype(np.float32)

    def step(self, state: NDArray[np.float32], items: NDArray[np.int64], times: object) -> NDArray[np.float32]:
        stepped: NDArray[np.float32] = state + self._vectors[items]
        return stepped

    def topk(
        self, state: NDArray[np.float32], k: int, exclude: list[NDArray[np.int64]]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        scores = state @ self._vectors.T
        for row, gone in zip(scores, exclude, strict=True):
            row[gone[gone >= 0]] = -np.inf
        ids = np.argsort(-scores, axis=1)[:, :k]
        return ids, np.take_along_axis(scores, ids, 1)


async def test_an_item_is_recommended_by_its_features_before_anybody_took_it(make_app: Make) -> None:
    ids = [f"{kind}-{i}" for kind in KINDS for i in range(20)]
    app = make_app(k=20)
    manifest = Manifest("gru", {}, {"neural_weight": 1.0}, {}, "-", "-", 0.0)
    app.recommender.model = live = LiveModel(Artifact(ByKind(), ids, manifest), app.items)
    catalog = [Item(name, title=name.replace("-", " number "), price=2.0) for name in ids]
    fresh = [Item(f"new-{kind}", title=f"blue {kind}", price=2.0) for kind in KINDS]
    records = [msgspec.json.encode(item) for item in catalog + fresh]
    app.items.update(decode_columns(Item, Spans.of(records)), Spans.of([]))
    watch = ModelWatch(app.recommender, app.items, app.metrics, app.settings, app.recommender.catalog_ready)
    await watch.describe_new_items()
    assert live.content is not None
    assert live.content.explained > 0.6
    answer = (await send(app, [Click("t", f"teapot-{i}", 1e5 + i) for i in range(6)], 0))[-1]
    shown = [item.item_id for item in answer.items]
    assert shown.index("new-teapot") < 15  # fourteen known teapots are left
    assert not {"new-lantern", "new-ribbon"} & set(shown[:15])
    assert answer.rung == "neural"
    # Once it was taken it is left out, as what the model knows is.
    (answer,) = await send(app, [Click("t", "new-teapot", 2e5)], 10)
    assert "new-teapot" not in [item.item_id for item in answer.items]
    # An item that comes later gets its vector by the map that is there.
    content, more = live.content, msgspec.json.encode(Item("late", title="teapot"))
    app.items.update(decode_columns(Item, Spans.of([more])), Spans.of([b"new-ribbon"]))
    await watch.describe_new_items()
    assert live.content is content
    assert live.new_items is not None
    assert {app.items.text(i) for i in live.new_items.indices.tolist()} == {"new-lantern", "new-teapot", "late"}


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

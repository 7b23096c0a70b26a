"""What every sequence recommender must hold. A new member is one line: add its factory to MODELS of test_contract.py.

A factory takes a log and a seed and returns a fitted model; `fit` must be quick, the log is tiny.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsrec_models.artifacts import load_artifact, save_artifact
from tsrec_models.base import SequenceRecommender
from tsrec_models.preparation.log import Log

Factory = Callable[[Log, int], Any]

#: float32 rounding over a history: sums in another order.
TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}

K = 5


def tiny_log(n_users: int = 40, n_items: int = 23, seed: int = 7) -> Log:
    """Users that walk along the items with noise, at irregular times."""
    rng = np.random.default_rng(seed)
    users, items, times = [], [], []
    for user in range(n_users):
        length = int(rng.integers(2, 15))
        steps = 1 + (rng.random(length) < 0.2) * rng.integers(0, n_items, length)
        users += [user] * length
        items += ((rng.integers(0, n_items) + np.cumsum(steps)) % n_items).tolist()
        times += (1.7e9 + np.cumsum(np.round(rng.exponential(5000.0, length), 3))).tolist()
    return Log.from_arrays(users, items, times, n_items=n_items)


def some_histories(n_items: int, n: int = 12, seed: int = 3) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Histories of different lengths, one of them empty, with their times."""
    rng = np.random.default_rng(seed)
    lengths = [0, 1, 30, *rng.integers(1, 12, n - 3).tolist()]
    histories = [rng.integers(0, n_items, length).astype(np.int64) for length in lengths]
    times = [1.7e9 + np.cumsum(rng.exponential(9000.0, length)) for length in lengths]
    return histories, times


def stepped(
    model: SequenceRecommender, histories: list[NDArray[Any]], times: list[NDArray[Any]]
) -> NDArray[np.float32]:
    """States after stepping every history alone, event by event."""
    rows = []
    for items, stamps in zip(histories, times, strict=True):
        state = model.initial_state(1)
        for item, stamp in zip(items, stamps, strict=True):
            state = model.step(state, np.array([item]), np.array([stamp]))
        rows.append(state)
    return np.concatenate(rows)


def check_interface(model: Any) -> None:
    assert isinstance(model, SequenceRecommender)
    state = model.initial_state(3)
    assert state.dtype == np.float32
    assert state.shape == (3, model.state_width)
    after = model.step(state, np.array([0, 1, 2]), np.array([1.7e9, 1.7e9, 1.7e9]))
    assert after.dtype == np.float32
    assert after.shape == state.shape
    assert model.initial_state(0).shape == (0, model.state_width)


def check_step_leaves_its_input_alone(model: Any) -> None:
    state = model.initial_state(2)
    before = state.copy()
    model.step(state, np.array([1, 2]), np.array([1.7e9, 1.7e9]))
    np.testing.assert_array_equal(state, before)


def check_encode_equals_stepping(model: Any) -> None:
    histories, times = some_histories(model.n_items)
    encoded, walked = model.encode(histories, times), stepped(model, histories, times)
    np.testing.assert_allclose(encoded, walked, **TOLERANCE)
    np.testing.assert_allclose(model.scores(encoded), model.scores(walked), **TOLERANCE)
    assert np.ptp(model.scores(encoded), axis=0).max() > 0, "scores do not depend on the history"


def check_stepping_goes_on_from_an_encoded_state(model: Any) -> None:
    histories, times = some_histories(model.n_items)
    longer = [np.append(history, 3) for history in histories]
    longer_times = [np.append(stamps, (stamps[-1] if len(stamps) else 1.7e9) + 60.0) for stamps in times]
    last = np.array([stamps[-1] for stamps in longer_times])
    went_on = model.step(model.encode(histories, times), np.full(len(histories), 3), last)
    np.testing.assert_allclose(went_on, model.encode(longer, longer_times), **TOLERANCE)


def check_a_batch_equals_its_rows(model: Any) -> None:
    histories, times = some_histories(model.n_items)
    together = model.encode(histories, times)
    alone = np.concatenate([model.encode([h], [t]) for h, t in zip(histories, times, strict=True)])
    np.testing.assert_allclose(together, alone, **TOLERANCE)
    ids, scores = model.topk(together, K)
    for row in range(len(histories)):
        one, score = model.topk(together[row : row + 1], K)
        np.testing.assert_allclose(score[0], scores[row], **TOLERANCE)
        same = one[0] == ids[row]
        np.testing.assert_allclose(score[0][~same], scores[row][~same], **TOLERANCE)  # only ties may change places


def check_topk_is_exact(model: Any) -> None:
    histories, times = some_histories(model.n_items)
    state = model.encode(histories, times)
    ids, best = model.topk(state, K)
    assert ids.dtype == np.int64
    assert best.dtype == np.float32
    scores = model.scores(state)
    np.testing.assert_allclose(best, -np.sort(-scores, axis=1)[:, :K], **TOLERANCE)
    np.testing.assert_allclose(np.take_along_axis(scores, np.maximum(ids, 0), 1)[ids >= 0], best[ids >= 0], **TOLERANCE)
    assert all(len(set(row[row >= 0].tolist())) == (row >= 0).sum() for row in ids)


def check_excluded_items_never_appear(model: Any) -> None:
    histories, times = some_histories(model.n_items)
    state = model.encode(histories, times)
    free, _ = model.topk(state, K)
    exclude = [row[:2].copy() for row in free]
    ids, scores = model.topk(state, K, exclude)
    for row, gone in zip(ids, exclude, strict=True):
        assert not set(row.tolist()) & set(gone[gone >= 0].tolist())
    assert (np.diff(scores[np.isfinite(scores).all(1)], axis=1) <= 0).all()


def check_a_list_is_padded_when_items_run_out(model: Any) -> None:
    state = model.encode([np.array([1, 2])], [np.array([1.7e9, 1.7e9 + 60])])
    ids, scores = model.topk(state, K, [np.arange(model.n_items - 2)])
    assert set(ids[0].tolist()) <= {-1, model.n_items - 2, model.n_items - 1}
    assert (ids[0][2:] == -1).all()
    assert np.isneginf(scores[0][2:]).all()
    everything, _ = model.topk(state, K, [np.arange(model.n_items)])
    assert (everything == -1).all()


def check_an_unknown_item_is_taken_and_never_recommended(model: Any) -> None:
    state = model.step(model.initial_state(1), np.array([model.n_items + 5]), np.array([1.7e9]))
    assert np.isfinite(model.scores(state)).any()
    ids, _ = model.topk(state, model.n_items + 3)
    assert ids.max() < model.n_items


def check_artifact_round_trip(model: Any, folder: Path) -> None:
    item_ids = [f"item-{i}" for i in range(model.n_items)]
    saved = save_artifact(folder / "model", model, item_ids, data_hash="d", settings={}, metrics={})
    loaded = load_artifact(folder / "model", device="cpu")
    assert loaded.item_ids == item_ids
    assert loaded.manifest.content_hash == saved.content_hash
    assert type(loaded.model) is type(model)
    histories, times = some_histories(model.n_items)
    state = model.encode(histories, times)
    np.testing.assert_array_equal(loaded.model.encode(histories, times), state)
    for ours, theirs in zip(model.topk(state, K), loaded.model.topk(state, K), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for name, array in model.arrays().items():
        np.testing.assert_array_equal(array, loaded.model.arrays()[name])


def check_a_seed_decides_everything(factory: Factory) -> None:
    log = tiny_log()
    first, second = factory(log, 1).arrays(), factory(log, 1).arrays()
    assert first.keys() == second.keys()
    for name, array in first.items():
        # Not to the last bit: a matrix product rounds by where its operands lie in memory, which no seed decides.
        np.testing.assert_allclose(array, second[name], rtol=1e-5, atol=1e-7)


CHECKS = [
    check_interface,
    check_step_leaves_its_input_alone,
    check_encode_equals_stepping,
    check_stepping_goes_on_from_an_encoded_state,
    check_a_batch_equals_its_rows,
    check_topk_is_exact,
    check_excluded_items_never_appear,
    check_a_list_is_padded_when_items_run_out,
    check_an_unknown_item_is_taken_and_never_recommended,
]

"""Parts of the neural recommenders, each against something slow and obvious."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from tsrec_models.base import ModelError
from tsrec_models.preparation.log import Log
from tsrec_models.sequence import gates
from tsrec_models.sequence.gru import GRU
from tsrec_models.sequence.intervals import NO_INTERVAL, interval_buckets, pack_clock, unpack_clock
from tsrec_models.sequence.joint import Joint
from tsrec_models.sequence.joint_demand import BINS, HORIZON, forecast_demand, forecast_series
from tsrec_models.sequence.joint_network import SHARES, JointNetwork
from tsrec_models.sequence.layer_kernels import gelu_rows, norm_rows
from tsrec_models.sequence.lru import LRU
from tsrec_models.sequence.lru_scan import linear_scan, scan_by_doubling
from tsrec_models.sequence.lstm import LSTM
from tsrec_models.sequence.neural import NeuralRecommender
from tsrec_models.sequence.topk import exclude_scores, pack_ragged, select_topk
from tsrec_models.sequence.training_holdout import Holdout, validate
from tsrec_models.sequence.training_settings import Settings
from tsrec_models.sequence.transformer import Transformer

SMALL = Settings(width=8, hidden=12, heads=2, layers=2, window=5)
ITEMS = 19


@given(st.integers(1, 12), st.integers(1, 300), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_topk_is_a_stable_sort(k: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 20, (3, n)).astype(np.float32)  # many ties
    scores[rng.random((3, n)) < 0.2] = -np.inf
    ids, best = np.empty((3, k), np.int64), np.empty((3, k), np.float32)
    select_topk(scores, ids, best)
    for row in range(3):
        order = [int(i) for i in np.argsort(-scores[row], kind="stable")[:k] if np.isfinite(scores[row, i])]
        assert ids[row].tolist() == order + [-1] * (k - len(order))
        np.testing.assert_array_equal(best[row, : len(order)], scores[row, order])
        assert np.isneginf(best[row, len(order) :]).all()


def test_exclusion_ignores_items_that_do_not_exist() -> None:
    scores = np.zeros((2, 3), np.float32)
    indptr, items = pack_ragged([np.array([7, -1]), np.array([], np.int64), np.array([2])])
    exclude_scores(scores, 1, indptr, items)
    np.testing.assert_array_equal(scores, [[0, 0, 0], [0, 0, -np.inf]])


def test_interval_buckets_double() -> None:
    seconds = np.array([np.nan, -5.0, 0.0, 0.9, 1.0, 2.9, 3.0, 86400.0, 1e18])
    np.testing.assert_array_equal(interval_buckets(seconds), [NO_INTERVAL, 1, 1, 1, 2, 2, 3, 17, 30])


@given(st.floats(0, 4e9))
def test_a_clock_in_float32_is_exact_to_eight_milliseconds(time: float) -> None:
    assert abs(unpack_clock(pack_clock(np.array([time])))[0] - time) <= 2**-7
    assert unpack_clock(pack_clock(np.array([float(int(time))])))[0] == int(time)


@njit  # type: ignore[untyped-decorator]
def _each(x: Any, squash: Any) -> Any:
    return np.array([squash(v) for v in x])


def test_gates_are_tanh_and_the_logistic_function() -> None:
    x = np.linspace(-30, 30, 4001).astype(np.float32)
    np.testing.assert_allclose(_each(x, gates.tanh), np.tanh(x), atol=5e-7)
    np.testing.assert_allclose(_each(x, gates.sigmoid), 1 / (1 + np.exp(-x.astype(np.float64))), atol=5e-7)


def test_layer_kernels_equal_torch() -> None:
    torch.manual_seed(0)
    x, scale, shift = torch.randn(7, 10), torch.randn(10), torch.randn(10)
    expected = torch.nn.functional.layer_norm(x, (10,), scale, shift)
    np.testing.assert_allclose(norm_rows(x.numpy(), scale.numpy(), shift.numpy()), expected.numpy(), atol=2e-6)
    wide = x.numpy().copy()
    gelu_rows(wide, shift.numpy())
    expected = torch.nn.functional.gelu(x + shift, approximate="tanh")
    np.testing.assert_allclose(wide, expected.numpy(), atol=2e-6)


def test_both_scans_equal_the_recurrence_and_its_gradients() -> None:
    torch.manual_seed(1)
    a = torch.tensor([[0.9, 0.5, -0.3], [0.1, -0.2, 0.4]], requires_grad=True)
    inputs = torch.randn(2, 11, 2, 3, requires_grad=True)
    weight = torch.randn(2, 11, 2, 3)

    def plain(a: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        diagonal, u = torch.complex(a[0], a[1]), torch.complex(inputs[:, :, 0], inputs[:, :, 1])
        states, state = [], torch.zeros_like(u[:, 0])
        for t in range(u.shape[1]):
            state = diagonal * state + u[:, t]
            states.append(state)
        stacked = torch.stack(states, 1)
        return torch.stack([stacked.real, stacked.imag], 2)

    expected = torch.autograd.grad((plain(a, inputs) * weight).sum(), (a, inputs))
    for scan in (linear_scan, scan_by_doubling):
        torch.testing.assert_close(scan(a, inputs), plain(a, inputs))
        for found, right in zip(
            torch.autograd.grad((scan(a, inputs) * weight).sum(), (a, inputs)), expected, strict=True
        ):
            torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


def build(kind: type[NeuralRecommender], with_times: bool) -> NeuralRecommender:
    torch.manual_seed(0)
    network = kind.network_class(ITEMS, SMALL, with_times)
    with torch.no_grad():  # biases and intervals start at zero: move everything
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    if isinstance(kind, type) and issubclass(kind, Joint) and with_times:
        rng = np.random.default_rng(0)
        users = np.repeat(np.arange(30), 20)
        network.learn_from(
            Log.from_arrays(users, rng.integers(0, ITEMS, 600), 1.7e9 + rng.random(600) * 1e6, n_items=ITEMS)
        )
    return kind(network)


@pytest.mark.parametrize("with_times", [False, True], ids=["order only", "times"])
@pytest.mark.parametrize("kind", [GRU, LSTM, LRU, Transformer, Joint])
def test_kernels_score_as_the_network_that_was_trained(kind: type[NeuralRecommender], with_times: bool) -> None:
    model = build(kind, with_times)
    rng = np.random.default_rng(5)
    length = 14  # longer than the window, so that rings turn over
    items = rng.integers(0, ITEMS, (3, length))
    times = 1.7e9 + np.cumsum(rng.exponential(40_000.0, (3, length)).round(), axis=1)
    buckets = np.zeros((3, length), np.int64)
    if with_times:
        buckets = interval_buckets(np.diff(times, axis=1, prepend=np.nan))
    with torch.no_grad():
        clock = torch.from_numpy(times) if with_times else None
        outputs = model.network(torch.from_numpy(items), torch.from_numpy(buckets), clock)[:, -1]
        expected = model.network.query(outputs, None) @ model.network.output_vectors().T + model.network.item_bias
        last = torch.zeros(items.shape, dtype=torch.bool)
        last[:, -1] = True
        added = model.network.added_scores(torch.from_numpy(items), last, clock)
        if added is not None:
            expected.index_put_((added.rows(), added.items), added.values, accumulate=True)
    found = model.scores(model.encode(list(items), list(times)))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-3)


def test_step_rows_changes_the_named_rows_alone() -> None:
    model = build(Transformer, True)
    table = model.encode([np.array([1, 2]), np.array([3]), np.array([4, 5, 6])])
    before = table.copy()
    model.step_rows(table, np.array([2, 0]), np.array([7, 8]), np.array([9.0, 9.0]))
    np.testing.assert_array_equal(table[1], before[1])
    stepped = model.step(before[[2, 0]], np.array([7, 8]), np.array([9.0, 9.0]))
    np.testing.assert_array_equal(table[[2, 0]], stepped)


def test_the_time_of_the_question_changes_the_scores_where_times_count() -> None:
    for kind in (GRU, Joint):
        model = build(kind, True)
        state = model.encode([np.array([1, 2])], [np.array([1.7e9, 1.7e9 + 60])])
        soon, late = (model.scores(state, np.array([1.7e9 + 60 + wait])) for wait in (1.0, 900_000.0))
        assert np.abs(soon - late).max() > 1e-3
    timeless = build(GRU, False)
    state = timeless.encode([np.array([1, 2])])
    np.testing.assert_array_equal(timeless.scores(state), timeless.scores(state, np.array([1e9])))


def test_a_state_of_the_wrong_width_is_refused() -> None:
    model = build(GRU, False)
    with pytest.raises(ModelError, match=r"state must be \[batch, 14\]"):
        model.step(np.zeros((1, 3), np.float32), np.array([0]), np.array([0.0]))


def test_a_demand_forecast_knows_only_the_bins_before_it() -> None:
    rng = np.random.default_rng(0)
    y = np.log1p(rng.poisson(2.0, (BINS, 4)).astype(float))
    later = y.copy()
    later[40:, 3] = 0.0
    # The fourth item has no model of its own, so that no parameter carries the future either.
    y[:, 3] *= 0.01
    later[:40, 3] = y[:40, 3]
    np.testing.assert_allclose(forecast_series(y)[:41, 3], forecast_series(later)[:41, 3])


def test_forecasts_of_demand_beat_the_item_mean_where_demand_moves() -> None:
    rng = np.random.default_rng(2)
    level = np.cumsum(rng.normal(0.0, 0.3, (BINS, 3)), axis=0) + 2.0
    counts = rng.poisson(np.exp(np.clip(level, 0.0, 5.0)))
    y = np.log1p(counts.astype(float))
    forecast = forecast_series(y)
    assert forecast.shape == (BINS + HORIZON, 3)
    mean = np.cumsum(y, axis=0)[:-1] / np.arange(1, BINS)[:, None]
    assert np.abs(forecast[20:BINS] - y[20:]).mean() < 0.8 * np.abs(mean[19:] - y[20:]).mean()


def test_factors_of_demand_rebuild_the_forecasts_of_few_items() -> None:
    rng = np.random.default_rng(3)
    log = Log.from_arrays(rng.integers(0, 50, 2000), rng.integers(0, 6, 2000), 1e9 + rng.random(2000) * 1e6, n_items=6)
    demand = forecast_demand(log)
    again = forecast_demand(log, demand.loadings)
    np.testing.assert_allclose(again.factors, demand.factors, atol=1e-6)
    centred = demand.factors @ demand.loadings.T
    np.testing.assert_allclose(centred.mean(axis=1), 0.0, atol=1e-4)
    assert np.abs(centred).max() > 0.05


def test_before_training_the_joint_chain_without_its_lstm_is_attention_alone() -> None:
    torch.manual_seed(1)
    chain = JointNetwork(ITEMS, SMALL, True).eval()
    chain.share.zero_()
    attention = Transformer.network_class(ITEMS, SMALL, True).eval()
    attention.load_state_dict(chain.state_dict(), strict=False)
    rng = np.random.default_rng(2)
    items = torch.from_numpy(rng.integers(0, ITEMS, (4, 9)))
    times = np.cumsum(rng.exponential(4e4, (4, 9)), axis=1)
    buckets = torch.from_numpy(interval_buckets(np.diff(times, axis=1, prepend=np.nan)))
    with torch.no_grad():
        outputs = chain(items, buckets, torch.from_numpy(times))
        expected = attention(items, buckets, torch.from_numpy(times))
        scores = chain.query(outputs, None) @ chain.output_vectors().T
        torch.testing.assert_close(scores, attention.query(expected, None) @ attention.output_vectors().T)


def test_the_share_of_the_lstm_is_the_best_of_all_on_validation() -> None:
    model = build(Joint, True)
    assert isinstance(model, Joint)
    rng = np.random.default_rng(4)
    histories = [rng.integers(0, ITEMS, int(n)) for n in rng.integers(1, 12, 60)]
    times = [1.7e9 + np.cumsum(rng.exponential(3e4, len(history))) for history in histories]
    found = {}
    for share in SHARES:  # each by itself, through the whole of encoding
        network = build(Joint, True).network
        assert isinstance(network, JointNetwork)
        network.share.fill_(share)
        holdout = Holdout(histories, times, np.arange(60) % ITEMS, exclude_seen=False)
        found[share] = validate(Joint(network), holdout)["ndcg@10"]
    assert len(set(found.values())) > 1
    model.tune(holdout)
    assert float(model.network.share) == pytest.approx(max(found, key=lambda share: found[share]))
    assert validate(model, holdout)["ndcg@10"] == pytest.approx(max(found.values()))


def test_both_stages_of_the_chain_learn_by_losses_of_their_own() -> None:
    torch.manual_seed(3)
    network = JointNetwork(ITEMS, SMALL, True).eval()
    items = torch.from_numpy(np.random.default_rng(6).integers(0, ITEMS, (4, 6)))
    buckets = torch.zeros_like(items)
    mixed, alone = network.learning_outputs(items, buckets, torch.zeros(items.shape, dtype=torch.float64))
    network.share.fill_(0.3)
    whole = network(items, buckets, torch.zeros(items.shape, dtype=torch.float64))
    torch.testing.assert_close(whole, 0.7 * mixed + 0.3 * alone)

"""Refits, drift, filled gaps and counts: what surrounds the filter in the stream."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from tsrec_models.arima import ArimaBank, Coefficients, GapFiller, Order, estimate
from tsrec_models.arima.conformal import Intervals
from tsrec_models.arima.counts import count_forecast, count_intervals, stabilise
from tsrec_models.arima.drift import DriftMonitor
from tsrec_models.arima.filling import fill
from tsrec_models.arima.refit import Refitter, widest_layout
from tsrec_models.base import Forecast, ModelError

ORDER = Order(1, 0, 0)


def start(n: int) -> ArimaBank:
    return ArimaBank.of([Coefficients(ORDER, np.ones(1), np.zeros((1, 1)))], n_series=n)


def ar(phi: float, times: int, n: int, seed: int = 0) -> np.ndarray:
    e = np.random.default_rng(seed).normal(size=(times, n))
    y = np.zeros((times, n))
    for t in range(1, times):
        y[t] = phi * y[t - 1] + e[t]
    return y


def test_swapped_parameters_stand_as_if_they_had_always_been_there():
    y = ar(0.8, 260, 3)
    bank = start(3)
    with ThreadPoolExecutor(1) as pool:
        refitter = Refitter(bank, pool, memory=200, order=ORDER)
        for values in y[:230]:
            bank.update(values)
            refitter.remember(values)
        assert refitter.submit([0, 2]) == 2
        assert refitter.submit([0]) == 0  # already under way
        for values in y[230:]:  # values that come while the pool works
            bank.update(values)
            refitter.remember(values)
        refitter._jobs[0].future.result()
        assert refitter.ready()
        np.testing.assert_array_equal(np.sort(refitter.swap()), [0, 2])
    fits = estimate([y[30:230, 0], y[30:230, 2]], ORDER)
    expected = fits.bank(bank.layout)
    expected.filter(y[60:, [0, 2]])
    np.testing.assert_allclose(bank.to_rows(np.array([0, 2])), expected.to_rows(), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(bank.parameters(np.array([1])), start(1).parameters())
    assert not refitter.ready()
    assert len(refitter.swap()) == 0


class FailingPool:
    """An executor whose work fails, as a broken process pool does."""

    def submit(self, *args: object) -> Future[object]:
        future: Future[object] = Future()
        future.set_exception(RuntimeError("worker died"))
        return future


def test_a_failed_refit_is_told_and_changes_nothing():
    bank = start(1)
    refitter = Refitter(bank, FailingPool(), order=ORDER)  # type: ignore[arg-type]
    refitter.remember(np.array([1.0]))
    refitter.submit([0])
    before = bank.to_rows()
    with pytest.raises(RuntimeError, match="worker died"):
        refitter.swap()
    np.testing.assert_array_equal(bank.to_rows(), before)
    assert refitter.submit([0]) == 1  # and can be tried again


def test_the_history_of_a_refit_survives_in_rows():
    with ThreadPoolExecutor(1) as pool:
        one = Refitter(start(2), pool, memory=5, order=ORDER)
        for t in range(8):
            one.remember(np.array([t, 10.0 + t]))
        other = Refitter(start(2), pool, memory=5, order=ORDER)
        other.from_rows(np.arange(2), one.to_rows(np.arange(2)))
        np.testing.assert_array_equal(other.history(1), [13, 14, 15, 16, 17])


def test_a_bank_too_narrow_for_automatic_orders_is_refused():
    with ThreadPoolExecutor(1) as pool, pytest.raises(ModelError, match="make it with"):
        Refitter(start(1), pool)
    assert widest_layout(12).lags == 14


def test_drift_is_seen_and_order_is_left_alone():
    rng = np.random.default_rng(1)
    calm = DriftMonitor(50)
    alarms = [calm.update(z).any() for z in rng.normal(size=(2000, 50))]
    assert not any(alarms)
    for kind in ("level", "variance", "autocorrelation"):
        monitor = DriftMonitor(20)
        z = rng.normal(size=(1000, 20))
        if kind == "level":
            z[500:] += 1.0
        if kind == "variance":
            z[500:] *= 2.0
        if kind == "autocorrelation":
            for t in range(501, 1000):
                z[t] = 0.7 * z[t - 1] + np.sqrt(0.51) * z[t]
        drifted = np.stack([monitor.update(one) for one in z])
        assert not drifted[:500].any()
        assert drifted[500:].any(axis=0).all()
        monitor.reset(np.arange(20))
        assert (monitor.scores() == 0).all()


def test_missing_innovations_do_not_move_the_monitor():
    monitor = DriftMonitor(1)
    for z in np.random.default_rng(2).normal(size=100):
        monitor.update(np.array([z]))
    before = monitor.scores()
    monitor.update(np.array([np.nan]))
    np.testing.assert_array_equal(monitor.scores(), before)


def test_gaps_are_filled_as_asked():
    y = np.array([np.nan, 1.0, np.nan, np.nan, 4.0, np.nan])
    np.testing.assert_allclose(fill(y, 1, False), [1, 1, 2, 3, 4, 4])
    np.testing.assert_allclose(fill(y, 1, True), [2.5, 1, 2.5, 2.5, 4, 2.5])
    seasonal = np.tile([0.0, 10.0], 5)
    gap = seasonal.copy()
    gap[5] = np.nan
    np.testing.assert_allclose(fill(gap, 2, False), seasonal)
    assert (fill(np.full(3, np.nan), 1, False) == 0).all()


def test_a_filler_gives_the_bank_the_filled_series():
    y = ar(0.8, 40, 2)
    gappy = y.copy()
    gappy[10:13, 0] = np.nan
    gappy[20, 1] = np.nan
    line = np.stack([fill(gappy[:, i].copy(), 1, False) for i in range(2)], axis=1)
    plain, filled = start(2), start(2)
    plain.filter(line)
    filler = GapFiller(filled, "interpolate")
    for values in gappy:
        result = filler.step(values)
        assert (np.isnan(result.value) == np.isnan(values)).all()
    np.testing.assert_allclose(filled.to_rows(), plain.to_rows(), rtol=1e-12)
    by_mean = start(2)
    filler = GapFiller(by_mean, "mean")
    for values in gappy:
        filler.step(values)
    expected = gappy.copy()
    expected[10:13, 0] = gappy[:10, 0].mean()
    expected[20, 1] = gappy[:20, 1].mean()
    other = start(2)
    other.filter(expected)
    np.testing.assert_allclose(by_mean.to_rows(), other.to_rows(), rtol=1e-12)


@pytest.mark.parametrize("rate", [2.0, 10.0, 200.0])
def test_counts_come_back_without_bias(rate):
    rng = np.random.default_rng(0)
    counts = rng.poisson(rate, size=200_000)
    t = stabilise(counts)
    back = count_forecast(Forecast(np.array([[t.mean()]]), np.array([[t.var()]])))
    assert abs(back.mean[0, 0] - rate) < 0.01 * rate
    assert abs((t.mean() / 2) ** 2 - 0.375 - rate) > abs(back.mean[0, 0] - rate)  # the plain inverse is biased
    if rate >= 10:
        assert abs(back.variance[0, 0] / rate - 1) < 0.15
    bounds = count_intervals(Intervals(stabilise(np.array([[3.0]])), stabilise(np.array([[9.0]]))))
    np.testing.assert_allclose([bounds.lower[0, 0], bounds.upper[0, 0]], [3.0, 9.0])


def test_negative_counts_are_refused():
    with pytest.raises(ModelError, match="cannot be negative"):
        stabilise(np.array([1.0, -2.0]))

"""Bands of innovations: coverage that holds, a scale that follows, an alarm line from a rate."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.risk.innovation_band import TAIL_INDEX, InnovationBand, alarm_sigmas


def _run(band: InnovationBand, innovations: np.ndarray, warmup: int = 30) -> tuple[np.ndarray, np.ndarray]:
    state = np.zeros((1, band.width))
    band.start(state, 0, innovations[:warmup])
    rest = innovations[warmup:]
    out = band.update(state, np.zeros(len(rest), np.int64), rest, np.full(len(rest), np.var(innovations[:warmup])))
    return out.held, out.z


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_intervals_cover_what_they_promise_in_each_quarter_when_the_variance_triples(level: float) -> None:
    rng = np.random.default_rng(3)
    innovations = rng.standard_t(4, 8030) * np.repeat([1.0, math.sqrt(3.0)], 4015)
    held, _ = _run(InnovationBand(level), innovations)
    for quarter in np.array_split(held, 4):
        assert abs(quarter.mean() - level) < 0.02


def test_intervals_of_a_young_series_hold_from_the_start_and_after_a_fall_of_the_variance() -> None:
    rng = np.random.default_rng(6)
    held = []
    for _ in range(60):
        innovations = rng.standard_t(4, 150) * np.repeat([1.0, 0.4], 75)
        held.append(_run(InnovationBand(), innovations)[0])
    for quarter in np.array_split(np.array(held), 4, axis=1):
        assert abs(quarter.mean() - 0.9) < 0.03


def test_a_line_of_a_rate_is_passed_about_that_often_by_heavy_tails() -> None:
    rng = np.random.default_rng(4)
    rate = 1e-3
    values = rng.standard_t(TAIL_INDEX, 400_000) / math.sqrt(TAIL_INDEX / (TAIL_INDEX - 2))
    assert np.mean(np.abs(values) > alarm_sigmas(rate)) == pytest.approx(rate, rel=0.15)
    _, z = _run(InnovationBand(), values)
    # The scale is itself an estimate, so that the line is passed a little more often.
    assert np.mean(np.abs(z) > alarm_sigmas(rate)) < 3 * rate


def test_a_missing_innovation_changes_nothing() -> None:
    band = InnovationBand()
    state = np.zeros((1, band.width))
    band.start(state, 0, np.array([1.0, -1.0]))
    before = state.copy()
    out = band.update(state, np.zeros(1, np.int64), np.array([np.nan]), np.array([np.inf]))
    np.testing.assert_array_equal(state, before)
    assert np.isnan(out.z[0])
    assert np.isnan(out.held[0])


def test_updates_equal_a_plain_loop_for_rows_in_any_order() -> None:
    rng = np.random.default_rng(5)
    band, rows = InnovationBand(0.9, 0.4, offset=2), rng.integers(0, 3, 200)
    values, variances = rng.normal(0, 2, 200), rng.uniform(0.5, 6.0, 200)
    state = np.zeros((3, 2 + band.width))
    for row in range(3):
        band.start(state, row, np.array([1.0, 2.0, -1.5]))
    # Too few for a quantile of their own: the normal one, of their mean size.
    quantile, size, squares = 1.6449 / math.sqrt(2.0 / math.pi), 1.5, (1.0 + 4.0 + 2.25) / 3
    for value in (1.0, 2.0, -1.5):
        squares += 0.03 * (value**2 - squares)
    plain = [[squares, quantile, size] for _ in range(3)]
    out = band.update(state, rows, values, variances)
    for i in range(200):
        variance, q, m = plain[rows[i]]
        sigma = math.sqrt(max(variance, 0.5 * variances[i]))
        assert out.sigma[i] == pytest.approx(sigma)
        missed = abs(values[i]) > q * m
        assert out.held[i] == (not missed)
        plain[rows[i]] = [
            variance + 0.03 * (values[i] ** 2 - variance),
            max(1e-3, q + 0.4 * (0.9 if missed else -0.1)),
            m + 0.08 * (abs(values[i]) - m),
        ]
        assert out.next_half[i] == pytest.approx(plain[rows[i]][1] * plain[rows[i]][2], rel=1e-4)
    np.testing.assert_allclose(band.half_width(state, np.arange(3)), [p[1] * p[2] for p in plain], rtol=1e-4)
    share, scored = band.coverage(state, 0)
    assert scored == np.count_nonzero(rows == 0)
    assert share == pytest.approx(out.held[rows == 0].mean())


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ModelError, match="alarm rate"):
        alarm_sigmas(0.0)
    with pytest.raises(ModelError, match="level"):
        InnovationBand(1.0)
    with pytest.raises(ModelError, match="at least one innovation"):
        InnovationBand().start(np.zeros((1, InnovationBand.width)), 0, np.array([np.nan]))

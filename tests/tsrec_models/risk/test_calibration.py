"""Calibration: fitted probabilities hold on new cases, and the error measures what it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from tsrec_models.base import ModelError
from tsrec_models.risk.calibration import Isotonic, Platt, brier_score, calibration_error


def margins(seed: int, n: int, slope: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, n)
    return z, rng.random(n) < expit(slope * z + offset)


def test_platt_finds_the_sigmoid_that_the_labels_came_from() -> None:
    z, y = margins(0, 50_000, 0.4, -1.0)
    fit = Platt.fit(z, y)
    assert (fit.slope, fit.offset) == pytest.approx((0.4, -1.0), abs=0.05)
    free = LogisticRegression(C=np.inf).fit(z[:, None], y)
    assert fit.slope == pytest.approx(free.coef_[0, 0], rel=1e-2)


def test_platt_makes_overconfident_margins_hold_on_new_cases() -> None:
    z, y = margins(1, 5000, 0.3, 0.5)
    later_z, later_y = margins(2, 5000, 0.3, 0.5)
    before = calibration_error(expit(later_z), later_y)
    after = calibration_error(Platt.fit(z, y).apply(later_z), later_y)
    assert after < 0.03 < 0.1 < before


def test_one_class_cannot_be_calibrated() -> None:
    with pytest.raises(ModelError, match="both are needed"):
        Platt.fit(np.zeros(5), np.zeros(5, bool))


def test_isotonic_steps_are_those_of_sklearn_but_for_smoothing() -> None:
    z, y = margins(3, 4000, 1.0, 0.0)
    ours = Isotonic.fit(z, y).apply(z)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(z, y).predict(z)
    assert np.all(np.diff(ours[np.argsort(z)]) >= 0)
    assert np.mean(np.abs(ours - theirs)) < 0.02


def test_calibration_error_is_zero_for_the_true_rates_and_the_gap_for_a_shift() -> None:
    p = np.repeat([0.1, 0.4], 1000)
    y = np.concatenate([np.arange(1000) < 100, np.arange(1000) < 400])
    assert calibration_error(p, y, bins=2) == pytest.approx(0.0, abs=1e-12)
    assert calibration_error(p + 0.2, y, bins=2) == pytest.approx(0.2)
    assert brier_score(p, y) == pytest.approx(0.5 * (0.1 * 0.9 + 0.4 * 0.6))

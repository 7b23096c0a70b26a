"""PSI in O(1) equals the plain sum at every step, for numbers, text and missing values."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsrec_models.base import ModelError
from tsrec_models.risk.drift import PsiWatch, psi


def slow(watch: PsiWatch, values: list) -> float:
    counts = np.bincount([watch.bin_of(v) for v in values], minlength=len(watch._then))
    return psi(counts.astype(float), np.array(watch._then))


@given(seed=st.integers(0, 10_000), window=st.integers(1, 60))
@settings(max_examples=50, deadline=None)
def test_the_running_index_equals_the_plain_one_of_the_window(seed: int, window: int) -> None:
    rng = np.random.default_rng(seed)
    watch = PsiWatch.of(rng.normal(size=300), window=window)
    values = rng.normal(0.5, 2, 150).tolist()
    values[10] = float("nan")
    for i, value in enumerate(values):
        assert watch.update(value) == pytest.approx(slow(watch, values[max(0, i + 1 - window) : i + 1]), abs=1e-9)


def test_text_levels_never_seen_and_missing_ones_have_bins_of_their_own() -> None:
    watch = PsiWatch.of(np.array(["a"] * 50 + ["b"] * 50 + [None], dtype=object), window=100)
    values = ["a", "b", None, "new", "other"] * 20
    for value in values:
        watch.update(value)
    assert watch.psi == pytest.approx(slow(watch, values))
    assert watch.drifted


def test_the_same_population_does_not_drift_and_another_does() -> None:
    rng = np.random.default_rng(0)
    watch = PsiWatch.of(rng.normal(size=5000), window=500)
    seen = [watch.update(v) or watch.drifted for v in rng.normal(size=5000)]
    assert not any(x is True for x in seen)
    for value in rng.normal(0.8, 1, 500):
        watch.update(value)
    assert watch.drifted


def test_few_values_are_not_called_drift() -> None:
    watch = PsiWatch.of(np.random.default_rng(0).normal(size=5000), window=500)
    for value in (0.1, 0.2, 0.3):
        watch.update(value)
    assert watch.psi > 0.25
    assert not watch.drifted


def test_a_watch_goes_on_from_its_row() -> None:
    rng = np.random.default_rng(1)
    watch = PsiWatch.of(rng.normal(size=300), window=50)
    for value in rng.normal(size=70):
        watch.update(value)
    again = PsiWatch.from_row(json.loads(json.dumps(watch.row())))
    for value in rng.normal(1, 1, 70):
        assert again.update(value) == pytest.approx(watch.update(value), abs=1e-9)


def test_counts_that_do_not_fit_the_bins_are_refused() -> None:
    with pytest.raises(ModelError, match="do not fit"):
        PsiWatch([1.0, 2.0], window=10, edges=[0.0, 1.0])

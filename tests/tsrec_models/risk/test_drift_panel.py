"""A panel of inputs: the index of each over the window, whatever the batches; quiet by chance, loud where it moved."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.risk.drift import psi
from tsrec_models.risk.drift_panel import DriftPanel, Reference

RNG = np.random.default_rng(2)
TRAINED = {
    "amount": RNG.lognormal(3, 1, 4000),
    "age": np.where(RNG.random(4000) < 0.1, np.nan, RNG.normal(40, 10, 4000)),
    "flat": np.ones(4000),
}
REFERENCES = [reference for name, values in TRAINED.items() if (reference := Reference.of(name, values)) is not None]


def cases(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    age = np.where(rng.random(n) < 0.1, np.nan, rng.normal(40 + shift, 10, n))
    return np.stack([rng.lognormal(3, 1, n), age, np.ones(n)], axis=1)


@pytest.mark.parametrize("size", [1, 70, 5000])
def test_looks_are_the_index_of_the_latest_window_and_do_not_depend_on_batches(size: int) -> None:
    panel = DriftPanel(REFERENCES, 600)
    x = np.concatenate([cases(1500, 1), cases(1500, 2, 12.0)])
    bins, state, looks = panel.bins(x), np.zeros(panel.width), {}
    for k in range(0, len(x), size):
        looks |= {k + look.at: look.psi for look in panel.update(state, bins[k : k + size])}
    assert sorted(looks) == list(range(599, 3000, 300))
    for at, found in looks.items():
        for j, reference in enumerate(REFERENCES):
            then = np.array(reference.watch.row()["then"])
            now = np.bincount(bins[at - 599 : at + 1, j], minlength=len(then)).astype(float)
            assert found[j] == pytest.approx(psi(now, then), rel=1e-9)


def test_what_moved_is_named_and_nothing_else() -> None:
    panel = DriftPanel(REFERENCES, 1000)
    state = np.zeros(panel.width)
    calm = panel.update(state, panel.bins(cases(20_000, 3)))
    assert all(len(panel.drifted(look)) == 0 for look in calm)
    moved = panel.update(state, panel.bins(cases(1000, 4, 15.0)))[-1]
    assert [panel.names[k] for k in panel.drifted(moved)] == ["age"]


def test_a_case_by_name_falls_into_the_bins_of_its_columns_and_text_has_levels() -> None:
    job = Reference.of("job", np.array(["a", "b", None, "a"] * 50, object))
    assert job is not None
    restored = [Reference.from_row(json.loads(json.dumps(one.row()))) for one in [*REFERENCES, job]]
    panel = DriftPanel(restored, 100)
    got = panel.bins_of({"amount": 20.0, "age": None, "flat": "text", "job": "never seen"})
    numeric = DriftPanel(REFERENCES, 100).bins(np.array([[20.0, np.nan, np.nan]]))[0]
    assert got[:3].tolist() == numeric.tolist()
    assert got[3] == 3  # a, b, missing, unseen


def test_an_input_without_any_value_has_no_reference_and_an_odd_window_is_refused() -> None:
    assert Reference.of("empty", np.full(10, np.nan)) is None
    with pytest.raises(ModelError, match="even number"):
        DriftPanel(REFERENCES, 101)

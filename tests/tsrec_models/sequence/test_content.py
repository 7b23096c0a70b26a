"""Vectors by features: hashing, the ridge and its left-out error."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from scipy import sparse

from tsrec_models.base import ModelError
from tsrec_models.sequence.content import ContentMap, item_content


def test_features_are_the_same_in_every_process_and_alike_for_alike_items() -> None:
    titles = ["Red retro lantern", "Green retro lantern", "Teapot", None]
    rows = item_content(titles, ["a", "a", None, None], [2.0, 2.1, None, None]).toarray()
    np.testing.assert_array_equal(rows, item_content(titles, ["a", "a", None, None], [2.0, 2.1, None, None]).toarray())
    # The kinds of feature are words, triples, pairs, category and price, each of length 1.
    assert np.linalg.norm(rows[2]) == pytest.approx(np.sqrt(2), abs=0.2)
    assert not rows[3].any()
    assert rows[0] @ rows[1] > 2.0 > 0.5 > abs(rows[0] @ rows[2])
    first = item_content(["x"], [None], [None])
    assert first.nnz == 2
    expected = sorted(zlib.crc32(name) % 1024 for name in (b"w x", b"t ^x$"))
    assert np.flatnonzero(first.toarray()[0]).tolist() == expected


def test_prices_near_each_other_share_bands_and_far_ones_do_not() -> None:
    rows = item_content([None] * 4, [None] * 4, [10.0, 11.5, 100.0, -1.0]).toarray()
    assert rows[0] @ rows[1] > 0.5
    assert abs(rows[0] @ rows[2]) < 0.4
    assert not rows[3].any()


def test_the_error_of_leaving_out_is_that_of_fitting_without_each_item() -> None:
    draw = np.random.default_rng(0)
    features = sparse.csr_array(draw.normal(size=(25, 6)).astype(np.float32))
    vectors = (features @ draw.normal(size=(6, 3)) + 0.5 * draw.normal(size=(25, 3))).astype(np.float32)
    fitted = ContentMap.fit(features, vectors)
    dense, mean = features.toarray().astype(float), vectors.mean(axis=0)
    error = 0.0
    for i in range(25):
        keep = np.arange(25) != i
        part, target = dense[keep], vectors[keep] - mean
        weights = np.linalg.solve(part.T @ part + fitted.ridge * np.eye(6), part.T @ target)
        error += float(((vectors[i] - mean - dense[i] @ weights) ** 2).sum())
    total = float(((vectors - mean) ** 2).sum())
    assert fitted.explained == pytest.approx(1 - error / total, abs=1e-4)
    whole = np.linalg.solve(dense.T @ dense + fitted.ridge * np.eye(6), dense.T @ (vectors - mean))
    np.testing.assert_allclose(fitted.vectors(features), dense @ whole + mean, atol=1e-4)


def test_features_that_say_nothing_give_the_mean() -> None:
    draw = np.random.default_rng(1)
    features = sparse.csr_array(draw.normal(size=(200, 40)).astype(np.float32))
    vectors = draw.normal(size=(200, 4)).astype(np.float32)
    fitted = ContentMap.fit(features, vectors)
    assert fitted.explained < 0.02
    assert np.abs(fitted.vectors(features) - vectors.mean(axis=0)).mean() < 0.2


def test_too_few_items_are_refused() -> None:
    with pytest.raises(ModelError, match="too few"):
        ContentMap.fit(item_content(["a"], [None], [None]), np.zeros((1, 3), np.float32))

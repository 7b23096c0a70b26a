"""Losses against torch's own cross-entropy."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tsrec_models.sequence import training_loss
from tsrec_models.sequence.training_loss import SparseScores, full_softmax, sampled_softmax, squared_error


def random_case(positions: int = 9, n: int = 31, d: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    draw = [torch.randn(shape, generator=generator) for shape in ((positions, d), (n, d), (n,))]
    return [*(part.requires_grad_() for part in draw), torch.randint(0, n, (positions,), generator=generator)]


def test_full_softmax_equals_cross_entropy_and_its_gradients_whatever_the_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training_loss, "_CHUNK_BYTES", 4 * 31 * 2)  # two rows a chunk, the last one alone
    queries, vectors, bias, targets = random_case()
    functional.cross_entropy(queries @ vectors.T + bias, targets).backward()
    expected = [part.grad.clone() for part in (queries, vectors, bias)]
    for part in (queries, vectors, bias):
        part.grad = None
    loss = full_softmax(queries, vectors, bias, targets)
    (3 * loss).backward()
    torch.testing.assert_close(loss, functional.cross_entropy(queries @ vectors.T + bias, targets))
    for part, grad in zip((queries, vectors, bias), expected, strict=True):
        torch.testing.assert_close(part.grad, 3 * grad)


def some_added(positions: int, n: int, seed: int = 5) -> tuple[SparseScores, torch.Tensor]:
    """Values for single items, some items twice at a position and some positions without any; and they as a matrix."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 6, (positions,), generator=generator)
    counts[2], counts[3] = 0, 6
    indptr = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    items = torch.randint(0, n, (int(counts.sum()),), generator=generator)
    items[int(indptr[3]) : int(indptr[3]) + 2] = 7
    values = torch.randn(len(items), generator=generator).requires_grad_()
    dense = torch.zeros(positions, n)
    rows = [position for position in range(positions) for _ in range(int(counts[position]))]
    for row, item, value in zip(rows, items.tolist(), values, strict=True):
        one = torch.zeros(positions, n)
        one[row, item] = 1.0
        dense = dense + one * value
    return SparseScores(items, values, indptr), dense


def test_scores_added_to_single_items_count_in_the_full_softmax_and_get_their_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training_loss, "_CHUNK_BYTES", 4 * 31 * 2)
    queries, vectors, bias, targets = random_case()
    added, dense = some_added(*(len(part) for part in (queries, vectors)))
    targets[3] = 7
    parts = (queries, vectors, bias, added.values)
    expected = functional.cross_entropy(queries @ vectors.T + bias + dense, targets)
    gradients = torch.autograd.grad(2 * expected, parts)
    loss = full_softmax(queries, vectors, bias, targets, added=added)
    torch.testing.assert_close(loss, expected)
    for found, right in zip(torch.autograd.grad(2 * loss, parts), gradients, strict=True):
        torch.testing.assert_close(found, right)


def test_scores_added_to_single_items_count_in_the_sampled_softmax() -> None:
    queries, vectors, bias, targets = random_case()
    added, dense = some_added(*(len(part) for part in (queries, vectors)))
    targets[3] = 7
    items = torch.cat([torch.arange(len(vectors)), torch.tensor([7, 8])])  # two are drawn twice
    scores = queries @ vectors.T + bias + dense
    negatives = scores[:, items].masked_fill(targets[:, None] == items[None], -torch.inf)
    positive = scores.gather(1, targets[:, None])
    expected = functional.cross_entropy(torch.cat([positive, negatives], 1), torch.zeros_like(targets))
    loss = sampled_softmax(
        queries, vectors[targets], bias[targets], targets, vectors[items], bias[items], items, None, added
    )
    torch.testing.assert_close(loss, expected)
    parts = (queries, vectors, added.values)
    for found, right in zip(torch.autograd.grad(loss, parts), torch.autograd.grad(expected, parts), strict=True):
        torch.testing.assert_close(found, right)


def test_scores_added_for_two_outputs_are_those_of_one_twice() -> None:
    added, dense = some_added(9, 31)
    twice = added.repeated(2)
    found = torch.zeros(18, 31).index_put((twice.rows(), twice.items), twice.values, accumulate=True)
    torch.testing.assert_close(found, torch.cat([dense, dense]))


def test_half_precision_products_stay_close() -> None:
    queries, vectors, bias, targets = random_case()
    exact = full_softmax(queries, vectors, bias, targets)
    half = full_softmax(queries, vectors, bias, targets, torch.bfloat16)
    assert half.item() == pytest.approx(exact.item(), rel=0.02)


def test_sampled_softmax_over_all_items_without_correction_is_the_full_one() -> None:
    queries, vectors, bias, targets = random_case()
    items = torch.arange(len(vectors))
    sampled = sampled_softmax(
        queries, vectors[targets], bias[targets], targets, vectors, bias, items, log_probability=None
    )
    torch.testing.assert_close(sampled, functional.cross_entropy(queries @ vectors.T + bias, targets))


def test_the_correction_makes_many_skewed_samples_agree_with_the_full_softmax() -> None:
    queries, vectors, bias, targets = random_case()
    probability = torch.linspace(1.0, 8.0, len(vectors))
    probability /= probability.sum()
    draws = torch.multinomial(probability, 200_000, replacement=True, generator=torch.Generator().manual_seed(1))
    loss = sampled_softmax(
        queries, vectors[targets], bias[targets], targets, vectors[draws], bias[draws], draws, probability.log()
    )
    expected = functional.cross_entropy(queries @ vectors.T + bias, targets)
    assert loss.item() == pytest.approx(expected.item(), rel=0.01)


def test_a_negative_that_is_the_target_does_not_count() -> None:
    queries, vectors, bias, targets = random_case(positions=1)
    only_itself = targets.clone()
    loss = sampled_softmax(
        queries, vectors[targets], bias[targets], targets, vectors[only_itself], bias[only_itself], only_itself, None
    )
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_squared_error_skips_missing_values() -> None:
    loss = squared_error(torch.tensor([1.0, 5.0]), torch.tensor([3.0, float("nan")]))
    assert loss.item() == 4.0
    assert squared_error(torch.tensor([1.0]), torch.tensor([float("nan")])).item() == 0.0

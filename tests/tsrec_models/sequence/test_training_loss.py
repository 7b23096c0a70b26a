"""Losses against torch's own cross-entropy."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tsrec_models.sequence import training_loss
from tsrec_models.sequence.training_loss import full_softmax, sampled_softmax, squared_error


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

"""Losses over item scores: full softmax without keeping the scores, and sampled softmax with shared negatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["SparseScores", "full_softmax", "sampled_softmax", "squared_error"]

#: Scores held at once by the full softmax; about the size of a third-level cache.
_CHUNK_BYTES = 8 << 20

#: Smallest probability a loss is computed from.
_TINY = 1e-30


@dataclass(frozen=True)
class SparseScores:
    """Values [m] to be added to the scores of `items` [m]; position p's are those from indptr[p] to indptr[p + 1].

    An item may come more than once at a position; its values add up.
    """

    items: Tensor
    values: Tensor
    indptr: Tensor

    def rows(self) -> Tensor:
        """The position of each value [m]."""
        return torch.repeat_interleave(self.indptr.diff())

    def repeated(self, times: int) -> SparseScores:
        """The same for positions that come `times` times, one whole after the other."""
        starts = torch.arange(times, device=self.indptr.device)[:, None] * len(self.items)
        indptr = torch.cat([(self.indptr[:-1] + starts).ravel(), self.indptr[-1:] * times])
        return SparseScores(self.items.repeat(times), self.values.repeat(times), indptr)


class _FullSoftmax(torch.autograd.Function):
    """Mean cross-entropy of queries [p, d] against all items [n, d] + bias [n], its gradients formed chunk by chunk.

    The [p, n] scores exist only a chunk at a time: one product forward and two backward.
    """

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        vectors: Tensor,
        bias: Tensor,
        targets: Tensor,
        product_dtype: torch.dtype,
        added: SparseScores | None,
        added_values: Tensor,
    ) -> Tensor:
        positions, n = len(queries), len(vectors)
        rows = max(1, _CHUNK_BYTES // (4 * n))
        items, offsets = vectors.to(product_dtype), bias.to(product_dtype)
        grad_queries = torch.empty_like(queries)
        grad_vectors = torch.zeros_like(vectors)
        grad_bias = torch.zeros_like(bias)
        grad_added = torch.zeros_like(added_values)
        if added is not None:
            places, ends = added.rows(), added.indptr.tolist()
        loss = queries.new_zeros(())
        for start in range(0, positions, rows):
            part = queries[start : start + rows].to(product_dtype)
            target = targets[start : start + rows]
            scores = torch.addmm(offsets, part, items.T)  # [rows, n]
            if added is not None:
                some = slice(ends[start], ends[min(start + rows, positions)])
                at = places[some] - start, added.items[some]
                scores.index_put_(at, added_values[some].to(product_dtype), accumulate=True)
            weights = scores.softmax(1)
            if added is not None:
                grad_added[some] = weights[at].float()
            loss -= weights.gather(1, target[:, None]).float().clamp_min(_TINY).log().sum()
            grad_queries[start : start + rows] = torch.mm(weights, items).float() - vectors[target]
            grad_vectors += torch.mm(weights.T, part)
            grad_bias += weights.sum(0, dtype=torch.float32)
        grad_vectors.index_add_(0, targets, queries, alpha=-1.0)
        grad_bias.index_add_(0, targets, torch.ones_like(targets, dtype=bias.dtype), alpha=-1.0)
        if added is not None:
            grad_added -= (added.items == targets[places]).float()
        ctx.save_for_backward(grad_queries, grad_vectors, grad_bias, grad_added)
        ctx.positions = positions
        return loss / positions

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        scale = grad / ctx.positions
        queries, vectors, bias, added = (part * scale for part in ctx.saved_tensors)
        return queries, vectors, bias, None, None, None, added


def full_softmax(
    queries: Tensor,
    vectors: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    product_dtype: torch.dtype = torch.float32,
    added: SparseScores | None = None,
) -> Tensor:
    """Mean cross-entropy of `targets` [p] under scores queries [p, d] @ vectors [n, d]^T + bias [n] + `added`.

    Products and probabilities are rounded to `product_dtype`; their sums, the gradients, are kept in float32.
    """
    if bias is None:
        bias = vectors.new_zeros(len(vectors))
    apply: Callable[..., Tensor] = _FullSoftmax.apply
    values = vectors.new_zeros(0) if added is None else added.values.float()
    return apply(queries.float(), vectors.float(), bias, targets, product_dtype, added, values)


def sampled_softmax(
    queries: Tensor,
    positive_vectors: Tensor,
    positive_bias: Tensor,
    targets: Tensor,
    negative_vectors: Tensor,
    negative_bias: Tensor,
    negatives: Tensor,
    log_probability: Tensor | None,
    added: SparseScores | None = None,
) -> Tensor:
    """Mean cross-entropy of each target against negatives shared by the batch.

    queries and positive_vectors [p, d], positive_bias and targets [p]; negative_vectors [m, d], negative_bias and
    negatives [m]. With `log_probability` [n_items] of the proposal, a negative stands for 1 / (m q) items like it
    (Bengio and Senecal, 2008); the target, which is always there, stands for itself. So the sum under the logarithm is
    an unbiased estimate of the full one. A negative that is the target is left out.
    """
    positive = (queries * positive_vectors).sum(-1) + positive_bias
    negative = torch.addmm(negative_bias, queries, negative_vectors.T)  # [p, m]
    if added is not None:
        rows = added.rows()
        own = (added.items == targets[rows]).nonzero().squeeze(1)
        positive = positive.index_add(0, rows[own], added.values[own].to(positive.dtype))
        distinct, inverse = negatives.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        column = torch.searchsorted(distinct, added.items).clamp_max(len(distinct) - 1)
        drawn = (distinct[column] == added.items).nonzero().squeeze(1)
        more = negative.new_zeros(len(queries), len(distinct))
        more = more.index_put((rows[drawn], column[drawn]), added.values[drawn].to(more.dtype), accumulate=True)
        negative = negative + more[:, inverse]
    if log_probability is not None:
        negative = negative - log_probability[negatives] - math.log(len(negatives))
    negative = negative.masked_fill(targets[:, None] == negatives[None], -torch.inf)
    scores = torch.cat([positive[:, None], negative], 1)
    return functional.cross_entropy(scores, torch.zeros_like(targets))


def squared_error(predicted: Tensor, values: Tensor) -> Tensor:
    """Mean squared error of predicted values, where values are known (not NaN)."""
    known = ~torch.isnan(values)
    if not known.any():
        return predicted.sum() * 0.0
    return functional.mse_loss(predicted[known], values[known])

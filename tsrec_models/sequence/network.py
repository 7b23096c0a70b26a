"""What the trainable networks of this folder share: item vectors tied between input and output, and times."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsrec_models.base import ModelError
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.dropout import Dropout
from tsrec_models.sequence.intervals import N_BUCKETS
from tsrec_models.sequence.training_loss import SparseScores
from tsrec_models.sequence.training_settings import Settings

__all__ = ["SequenceNetwork"]


class SequenceNetwork(nn.Module):
    """Item vectors [n_items + 1, width], the last of them for masked and unknown items; subclasses add the sequence.

    A subclass maps a batch of sequences to one output vector an event (`forward`); the score of item i after an event
    is the product of the event's query and `i`'s vector, plus its bias. The query may know its own time.
    """

    def __init__(self, n_items: int, settings: Settings, with_times: bool) -> None:
        super().__init__()
        self.n_items = n_items
        self.settings = settings
        self.with_times = with_times
        width = settings.width
        self.item = nn.Embedding(n_items + 1, width)
        nn.init.normal_(self.item.weight, std=settings.init_std)
        self.item_bias = nn.Parameter(torch.zeros(n_items)) if settings.item_bias else None
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0))) if settings.cosine else None
        self.query_time = nn.Embedding(N_BUCKETS, width) if with_times else None
        if self.query_time is not None:
            nn.init.zeros_(self.query_time.weight)
        self.wait_head = nn.Linear(width, 1) if with_times and settings.wait_loss > 0 else None
        self.input_drop = Dropout(settings.input_dropout)
        self.output_drop = Dropout(settings.dropout)

    def forward(self, items: Tensor, buckets: Tensor, times: Tensor | None = None) -> Tensor:
        """Outputs [batch, length, width] of sequences padded on the right.

        items, buckets (of the interval before each event) and times (epoch seconds, float64): [batch, length].
        """
        raise NotImplementedError

    def learning_outputs(self, items: Tensor, buckets: Tensor, times: Tensor | None = None) -> list[Tensor]:
        """Outputs [batch, length, width] that each learn by a loss of their own; the outputs, unless there are stages.

        Arguments as of `forward`.
        """
        return [self(items, buckets, times)]

    def added_scores(self, items: Tensor, valid: Tensor, times: Tensor | None) -> SparseScores | None:
        """What is added to the scores of single items at each `valid` [batch, length] event; nothing by default.

        Arguments as of `forward`.
        """
        return None

    def learn_from(self, log: Log) -> None:
        """Take from a log what is not learned by gradients; nothing unless a subclass needs it."""

    def query(self, outputs: Tensor, buckets: Tensor | None) -> Tensor:
        """Query vectors [..., width] of outputs [..., width] asked `buckets` [...] after the last event."""
        query = outputs
        if self.query_time is not None:
            query = query + (self.query_time.weight[0] if buckets is None else self.query_time(buckets))
        query = self.output_drop(query)
        if self.log_scale is not None:
            query = functional.normalize(query, dim=-1) * self.log_scale.exp()
        return query

    def log_wait(self, outputs: Tensor) -> Tensor:
        """log(1 + seconds to the next event) [...] foretold at outputs [..., at least width]."""
        if self.wait_head is None:
            raise ModelError("waits are not foretold: train with wait_loss above 0 on a log with times")
        result: Tensor = self.wait_head(outputs[..., : self.settings.width]).squeeze(-1)
        return result

    def output_vectors(self, items: Tensor | None = None) -> Tensor:
        """Vectors [n, width] that queries are multiplied with, of `items` [n] or of all."""
        vectors = self.item.weight[:-1] if items is None else self.item(items)
        return functional.normalize(vectors, dim=-1) if self.log_scale is not None else vectors

"""A trained network as a recommender: state rows in and out, exact top k, on a CPU by kernels and on a GPU by torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.devices import Device, resolve_device
from tsrec_models.sequence.intervals import CLOCK_WIDTH, NO_INTERVAL, interval_buckets, pack_clock, unpack_clock
from tsrec_models.sequence.network import SequenceNetwork
from tsrec_models.sequence.topk import SCORE_BLOCK_BYTES, exclude_scores, pack_ragged, select_topk
from tsrec_models.sequence.training_holdout import Holdout
from tsrec_models.sequence.training_settings import Settings

__all__ = ["STEP_BLOCK", "NeuralRecommender"]

#: Users stepped at once: their intermediate values stay in the second-level cache.
STEP_BLOCK = 256


class NeuralRecommender:
    """Base of the neural members. State row: [day and second of the last event, hidden values].

    A subclass names its network and its hidden width, and steps hidden rows. Items outside 0 .. n_items - 1 (new since
    training) step the state by a vector that training learned for masked items, and are never recommended.
    """

    name: ClassVar[str]
    network_class: ClassVar[type[SequenceNetwork]]

    def __init__(self, network: SequenceNetwork, device: Device | None = None) -> None:
        self.network = network.eval()
        self.settings = network.settings
        self.n_items = network.n_items
        self.with_times = network.with_times
        self.device = device or resolve_device("cpu")
        self.network.to(self.device.torch_device)
        self.metrics: dict[str, float] = {}
        self.state_width = CLOCK_WIDTH + self.hidden_width
        self.compile()

    # What a subclass gives

    @property
    def hidden_width(self) -> int:
        """Float32 values of one user's hidden state."""
        raise NotImplementedError

    def step_hidden(
        self, hidden: NDArray[np.float32], items: NDArray[np.int64], buckets: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Hidden rows after one event each, at most STEP_BLOCK; items are in 0 .. n_items, the last of them unknown."""
        raise NotImplementedError

    def outputs(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's output vectors [batch, width] at hidden rows."""
        raise NotImplementedError

    def outputs_at(self, state: NDArray[np.float32], at: NDArray[np.float64] | None) -> NDArray[np.float32]:
        """What the network's query is made from, at states [batch, state_width] asked at `at` [batch] if known."""
        return self.outputs(state[:, CLOCK_WIDTH:])

    def compile(self) -> None:
        """Prepare the arrays that inference reads; called again when the parameters changed."""
        with torch.no_grad():
            vectors = self.network.output_vectors().float().cpu().numpy()
            bias = self.network.item_bias
            column = np.zeros(self.n_items, np.float32) if bias is None else bias.detach().float().cpu().numpy()
        self._vectors = np.ascontiguousarray(np.vstack([vectors.T, column[None]]))  # [width + 1, n_items]

    def add_scores(self, state: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
        """Add to `scores` [batch, n_items], in place, what is said of single items; nothing unless a subclass does."""

    def tune(self, holdout: Holdout) -> None:
        """Choose, by held-out questions, what no gradient learns; nothing unless a subclass needs it."""

    # The interface of the family

    def initial_state(self, n: int) -> NDArray[np.float32]:
        """State of `n` users without events: [n, state_width]."""
        state = np.zeros((n, self.state_width), np.float32)
        state[:, 0] = -1.0
        return state

    def step(
        self, state: NDArray[np.float32], items: NDArray[np.int64], times: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """New state [batch, state_width] after one event each: `items` [batch], `times` [batch] epoch seconds."""
        self._check_state(state)
        result = np.empty_like(state)
        items = self._known(items)
        times = np.asarray(times, np.float64)
        for first in range(0, len(state), STEP_BLOCK):
            rows = slice(first, first + STEP_BLOCK)
            clock, hidden = state[rows, :CLOCK_WIDTH], np.ascontiguousarray(state[rows, CLOCK_WIDTH:])
            buckets = self._buckets(times[rows], unpack_clock(clock))
            result[rows, :CLOCK_WIDTH] = pack_clock(times[rows])
            result[rows, CLOCK_WIDTH:] = self.step_hidden(hidden, items[rows], buckets)
        return result

    def step_rows(
        self, table: NDArray[np.float32], rows: NDArray[np.int64], items: NDArray[np.int64], times: NDArray[np.float64]
    ) -> None:
        """Step the users at `rows` [batch] of a state table [users, state_width] in place; no row twice."""
        table[rows] = self.step(table[rows], items, times)

    def encode(
        self, histories: Sequence[NDArray[np.int64]], times: Sequence[NDArray[np.float64]] | None = None
    ) -> NDArray[np.float32]:
        """State [batch, state_width] of whole histories; without `times`, events are one second apart."""
        if times is None:
            times = [np.arange(len(history), dtype=np.float64) for history in histories]
        if len(times) != len(histories):
            raise ModelError(f"encode: {len(histories)} histories but {len(times)} lists of times")
        state = self.initial_state(len(histories))
        lengths = np.array([len(history) for history in histories], np.int64)
        order = np.argsort(-lengths, kind="stable")
        order = order[lengths[order] > 0]
        if not len(order):
            return state
        items, stamps = self._padded(histories, times, order, lengths)
        clocks = pack_clock(stamps.ravel())
        # Intervals start from times as the state keeps them, so that both ways meet the same buckets.
        kept = unpack_clock(clocks).reshape(stamps.shape)
        previous = np.concatenate([np.full((len(order), 1), np.nan), kept[:, :-1]], axis=1)
        buckets = self._buckets(stamps, previous)
        sorted_lengths = lengths[order]
        last = np.arange(len(order)) * stamps.shape[1] + sorted_lengths - 1
        state[order, :CLOCK_WIDTH] = clocks[last]
        state[order, CLOCK_WIDTH:] = self.encode_hidden(self._known(items), buckets, stamps, sorted_lengths)
        return state

    def encode_hidden(
        self,
        items: NDArray[np.int64],
        buckets: NDArray[np.int64],
        times: NDArray[np.float64],
        lengths: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Hidden rows of padded histories [batch, length], longest first, none empty; by stepping unless overridden."""
        hidden = np.ascontiguousarray(self.initial_state(len(items))[:, CLOCK_WIDTH:])
        for t in range(items.shape[1]):
            active = int(np.searchsorted(-lengths, -t))  # rows longer than t come first
            now_items, now_buckets = np.ascontiguousarray(items[:, t]), np.ascontiguousarray(buckets[:, t])
            for first in range(0, active, STEP_BLOCK):
                rows = slice(first, min(first + STEP_BLOCK, active))
                hidden[rows] = self.step_hidden(hidden[rows], now_items[rows], now_buckets[rows])
        return hidden

    def scores(self, state: NDArray[np.float32], at: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
        """Scores of all items [batch, n_items]; `at` [batch] is when the list is asked for, epoch seconds."""
        scores: NDArray[np.float32] = self._query(state, at) @ self._vectors
        self.add_scores(state, scores)
        return scores

    def item_vectors(self) -> NDArray[np.float32]:
        """The vector of each item with its bias at the end [n_items, d]: a score is `queries` times it."""
        return self._vectors.T

    def queries(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        """What items' vectors are multiplied with, at states [batch, state_width]: [batch, d]."""
        return self._query(state, None)

    def expected_wait(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        """Seconds until each user's next event, foretold at the last one: [batch] (a median, not a mean).

        Raises:
            ModelError: the model was not trained to foretell them (`wait_loss`).
        """
        self._check_state(state)
        with torch.inference_mode():
            log_wait = self.device.get(self.network.log_wait(self.device.put(self.outputs_at(state, None))))
        seconds: NDArray[np.float32] = np.maximum(np.expm1(log_wait), 0.0).astype(np.float32)
        return seconds

    def topk(
        self,
        state: NDArray[np.float32],
        k: int,
        exclude: Sequence[NDArray[np.int64]] | None = None,
        at: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The `k` best items and scores, both [batch, k], best first; see `SequenceRecommender.topk`."""
        if k < 1:
            raise ModelError(f"topk: k must be at least 1, not {k}")
        if exclude is not None and len(exclude) != len(state):
            raise ModelError(f"topk: {len(state)} states but {len(exclude)} lists to exclude")
        query = self._query(state, at)
        ids = np.empty((len(state), k), np.int64)
        best = np.empty((len(state), k), np.float32)
        indptr, excluded = pack_ragged(exclude) if exclude is not None else (None, None)
        block = max(1, SCORE_BLOCK_BYTES // (4 * self.n_items))
        buffer = np.empty((block, self.n_items), np.float32)
        for first in range(0, len(state), block):
            part = query[first : first + block]
            scores = np.matmul(part, self._vectors, out=buffer[: len(part)])
            self.add_scores(state[first : first + block], scores)
            if indptr is not None and excluded is not None:
                exclude_scores(scores, first, indptr, excluded)
            select_topk(scores, ids[first : first + block], best[first : first + block])
        return ids, best

    # Storage

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every parameter by name, for an artifact."""
        return {name: tensor.detach().cpu().numpy() for name, tensor in self.network.state_dict().items()}

    def config(self) -> dict[str, Any]:
        """What, beside the arrays, is needed to build the model again: plain values."""
        return {"n_items": self.n_items, "with_times": self.with_times, "settings": self.settings.as_dict()}

    @classmethod
    def from_arrays(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], device: str = "auto") -> Self:
        """The model of an artifact's config and arrays.

        Raises:
            ModelError: arrays are missing, are too many, or have the wrong shape.
        """
        network = cls.network_class(config["n_items"], Settings.from_dict(config["settings"]), config["with_times"])
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise ModelError(f"the arrays do not fit a {cls.name} of this config: {error}") from error
        return cls(network, resolve_device(device))

    # Inside

    def _query(self, state: NDArray[np.float32], at: NDArray[np.float64] | None) -> NDArray[np.float32]:
        """Query vectors with a one at the end for the bias column: [batch, width + 1]."""
        self._check_state(state)
        outputs = self.outputs_at(state, at)
        buckets = None if at is None else self._buckets(at, unpack_clock(state[:, :CLOCK_WIDTH]))
        with torch.inference_mode():
            put = self.device.put
            query = self.network.query(put(outputs), None if buckets is None else put(buckets))
            result = np.ones((len(state), query.shape[1] + 1), np.float32)
            result[:, :-1] = self.device.get(query)
        return result

    def _check_state(self, state: NDArray[np.float32]) -> None:
        if state.ndim != 2 or state.shape[1] != self.state_width:
            raise ModelError(f"{self.name}: state must be [batch, {self.state_width}], got {list(state.shape)}")

    def _known(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        items = np.asarray(items, np.int64)
        return np.where((items < 0) | (items >= self.n_items), self.n_items, items)

    def _buckets(self, times: NDArray[np.float64], previous: NDArray[np.float64]) -> NDArray[np.int64]:
        if not self.with_times:
            return np.full(np.shape(times), NO_INTERVAL, np.int64)
        return interval_buckets(np.asarray(times, np.float64) - previous)

    def _padded(
        self,
        histories: Sequence[NDArray[np.int64]],
        times: Sequence[NDArray[np.float64]],
        order: NDArray[np.int64],
        lengths: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        longest = int(lengths[order[0]])
        items = np.zeros((len(order), longest), np.int64)
        stamps = np.zeros((len(order), longest), np.float64)
        for row, source in enumerate(order):
            items[row, : lengths[source]] = histories[source]
            stamps[row, : lengths[source]] = times[source]
        return items, stamps

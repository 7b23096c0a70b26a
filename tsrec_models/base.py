"""The interfaces of the model families. The stream, the evaluation and the benchmarks know models only by these.

A model holds its parameters; the state of a user or a series is passed in and out, so that the stream can keep it
in its own columnar tables. All methods are batched: one call serves a micro-batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Detector", "Forecast", "Forecaster", "ModelError", "Policy", "SequenceRecommender"]


class ModelError(Exception):
    """Root of every error of this package: what was wrong, where, and what to do."""


@runtime_checkable
class SequenceRecommender(Protocol):
    """Scores the next item of a user from the events so far, at the cost of one event a step.

    Items are dense indices 0 .. n_items - 1; the map to the user's own ids stands beside the model in its artifact.
    State is a float32 array [batch, state_width], one row a user, so that it fits a columnar table as it is.
    """

    name: str
    n_items: int
    state_width: int

    def initial_state(self, n: int) -> NDArray[np.float32]:
        """State of `n` users without events: [n, state_width]."""
        ...

    def step(
        self, state: NDArray[np.float32], items: NDArray[np.int64], times: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """New state [batch, state_width] after one event each: `items` [batch], `times` [batch] epoch seconds."""
        ...

    def encode(
        self, histories: Sequence[NDArray[np.int64]], times: Sequence[NDArray[np.float64]] | None = None
    ) -> NDArray[np.float32]:
        """State [batch, state_width] of whole histories; equal to stepping through them (within float32 rounding)."""
        ...

    def topk(
        self, state: NDArray[np.float32], k: int, exclude: Sequence[NDArray[np.int64]] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The `k` best items and scores, both [batch, k], best first; `exclude[i]` never appears in row i.

        Where fewer than k items remain, ids are -1 and scores -inf.
        """
        ...


@dataclass(frozen=True)
class Forecast:
    """Mean and variance of the next `h` values of a batch of series, both [series, h]."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


@runtime_checkable
class Forecaster(Protocol):
    """A batch of series, each stepped by one value at a time. A missing value is NaN."""

    n_series: int

    def fit(self, series: Sequence[NDArray[np.float64]]) -> None:
        """Estimate the parameters of each series from its past."""
        ...

    def update(self, y: NDArray[np.float64], rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Take one new value for each of `rows` (all by default); return the innovations (NaN where y is NaN)."""
        ...

    def forecast(self, h: int, rows: NDArray[np.int64] | None = None) -> Forecast:
        """Forecast the next `h` values of `rows` (all by default)."""
        ...


@runtime_checkable
class Detector(Protocol):
    """Anomaly scores of a batch of series in O(1) a value, calibrated to a stated false-alarm rate."""

    def update(self, values: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores in [0, 1] for one new value of each series; 1 is the most anomalous."""
        ...


@runtime_checkable
class Policy(Protocol):
    """Chooses among candidates and learns from rewards."""

    def choose(
        self, context: NDArray[np.float32], candidates: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Actions and their propensities for contexts [batch, d] and candidates [batch, c]."""
        ...

    def learn(self, rewards: Sequence[tuple[Any, float]]) -> None:
        """Take rewards, each as (decision, reward)."""
        ...

"""A user's events in order, many users at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["step_in_order"]


def step_in_order(
    model: Any,
    state: NDArray[np.float32],
    rows: NDArray[np.int64],
    items: NDArray[np.int64],
    ts: NDArray[np.float64],
) -> NDArray[np.float32]:
    """State after each event [n, width], from the state before each user's first; a user's events one after another.

    Events are taken in rounds: round r holds every user's r-th event, so each round is one batched step. An event of
    an item the model does not know (-1) leaves the state as it was.
    """
    order = np.argsort(rows, kind="stable")
    sorted_rows = rows[order]
    starts = np.ones(len(rows), np.bool_)
    np.not_equal(sorted_rows[1:], sorted_rows[:-1], out=starts[1:])
    if starts.all():
        return _step_known(model, state.copy(), items, ts)
    first = np.flatnonzero(starts)
    turn = np.arange(len(rows)) - np.repeat(first, np.diff(np.append(first, len(rows))))
    after = state.copy()
    by_turn = order[np.argsort(turn, kind="stable")]
    begin, previous_of = 0, np.full(len(rows), -1, np.int64)
    previous_of[order[1:]] = np.where(starts[1:], -1, order[:-1])
    for size in np.bincount(turn).tolist():
        now = by_turn[begin : begin + size]
        begin += size
        before = np.where(previous_of[now] >= 0, previous_of[now], now)
        after[now] = _step_known(model, after[before], items[now], ts[now])
    return after


def _step_known(
    model: Any, state: NDArray[np.float32], items: NDArray[np.int64], ts: NDArray[np.float64]
) -> NDArray[np.float32]:
    """`state`, stepped in place where the item is known."""
    known = items >= 0
    if known.all():
        stepped: NDArray[np.float32] = model.step(state, items, ts)
        return stepped
    if known.any():
        state[known] = model.step(state[known], items[known], ts[known])
    return state

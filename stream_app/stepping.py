"""A user's events in order, many users and many lanes at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_app.models import LiveModel
from stream_app.requests import Request

__all__ = ["joined", "step_in_order", "step_requests"]


def step_requests(live: LiveModel, requests: Sequence[Request]) -> NDArray[np.float32]:
    """The model's state after each event [n, width], of all requests, one after another."""
    _encode_stale(live, requests)
    # Rows of one number in two partitions are two users.
    rows = joined([request.rows + (i << 40) for i, request in enumerate(requests)])
    state = joined([request.state for request in requests if request.state is not None])
    items = live.to_model(joined([request.indices for request in requests]))
    return step_in_order(live.model, state, rows, items, joined([r.batch.columns.ts for r in requests]))


def _encode_stale(live: LiveModel, requests: Sequence[Request]) -> None:
    """New users, and users last stepped by another model: encode what they did before this batch, all in one call."""
    stale = [request.stale for request in requests if request.stale is not None and request.state is not None]
    if not stale:
        return
    encoded = live.encode([h for each in stale for h in each.histories], [t for each in stale for t in each.times])
    begin = 0
    for request in requests:
        if request.stale is not None and request.state is not None:
            n = len(request.stale.rows)
            _replace(request.state, request.rows, request.stale.rows, encoded[begin : begin + n])
            begin += n


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


def _replace(
    state: NDArray[np.float32], rows: NDArray[np.int64], stale: NDArray[np.int64], encoded: NDArray[np.float32]
) -> None:
    """Set the rows of `state` [n, width] that belong to stale users (sorted) to theirs of `encoded`."""
    place = np.minimum(np.searchsorted(stale, rows), len(stale) - 1)
    is_stale = stale[place] == rows
    state[is_stale] = encoded[place[is_stale]]


def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays one after another; one alone is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)

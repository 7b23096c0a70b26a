"""User profiles: the last items of each user, windowed counts, and the hidden state of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream_app.state.columns import Column, Columns
from stream_app.state.rings import PAD, Ring
from stream_app.state.shard import Shard
from stream_app.state.windows import SlidingCounts

__all__ = ["ACTIONS", "PURCHASE", "History", "profile_columns", "remember"]

#: Kinds of event in a user's ring, by code. A click without an action is a click.
ACTIONS = ("view", "click", "cart", "favorite", "purchase")
CLICK, PURCHASE = 1, 4

#: Items a user's row remembers.
RECENT = 50

DAY_S = 86_400.0


def profile_columns(hidden_width: int) -> Columns:
    """The columns of a user's row: under 1 KB with 50 items and a hidden state of 66 floats."""
    return Columns(
        Ring(RECENT, item=np.int32, ts=np.int32, kind=np.int8),
        SlidingCounts(7 * DAY_S, buckets=7, name="clicks_7d"),
        SlidingCounts(28 * DAY_S, buckets=4, name="purchases_28d"),
        hidden=Column(np.float32, (hidden_width,)),
        model=Column(np.uint32),
        recommended_ts=Column(np.float64, initial=-np.inf),
    )


@dataclass(frozen=True)
class History:
    """What a user had done before each event of a batch: item numbers [n, m], the latest first, PAD-padded."""

    items: NDArray[np.int64]


def remember(
    shard: Shard,
    rows: NDArray[np.int64],
    numbers: NDArray[np.int64],
    ts: NDArray[np.float64],
    kinds: NDArray[np.int8],
    depth: int,
) -> History:
    """Append events to their users' rings and windows, in order; what stood in the ring before each, `depth` deep."""
    shard.touch(rows)
    previous = np.empty((len(rows), depth), np.int64)
    _remember(
        shard.column("recent.fill"),
        shard.column("recent.item"),
        shard.column("recent.ts"),
        shard.column("recent.kind"),
        rows,
        numbers,
        ts,
        kinds,
        previous,
    )
    windows: dict[str, Any] = {feature.name: feature for feature in shard.layout.columns.features}
    bought = kinds == PURCHASE
    if not bought.all():
        windows["clicks_7d"].add(shard, rows[~bought], ts[~bought])
    if bought.any():
        windows["purchases_28d"].add(shard, rows[bought], ts[bought])
    return History(previous)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _remember(fill, ring_item, ring_ts, ring_kind, rows, numbers, ts, kinds, previous):  # type: ignore[no-untyped-def]
    """`fill` counts to n, and from then on goes round in [n, 2n), as in `stream_app.state.rings`."""
    n = ring_item.shape[1]
    depth = previous.shape[1]
    for i in range(rows.size):
        row = rows[i]
        at = fill[row]
        length = min(at, n)
        for j in range(depth):
            previous[i, j] = ring_item[row, (at - 1 - j) % n] if j < length else PAD
        slot = at if at < n else at - n
        ring_item[row, slot] = numbers[i]
        ring_ts[row, slot] = np.int32(ts[i])
        ring_kind[row, slot] = kinds[i]
        fill[row] = n if at + 1 == 2 * n else at + 1

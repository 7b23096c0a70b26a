"""User profiles: the last items of each user, windowed counts, and the hidden state of the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_app.state.columns import Column, Columns
from stream_app.state.rings import Ring
from stream_app.state.shard import Shard
from stream_app.state.windows import SlidingCounts

__all__ = ["ACTIONS", "PURCHASE", "RING", "History", "profile_columns", "remember"]

#: Kinds of event in a user's ring, by code. A click without an action is a click.
ACTIONS = ("view", "click", "cart", "favorite", "purchase")
CLICK, PURCHASE = 1, 4

#: Items a user's row remembers.
RECENT = 50

DAY_S = 86_400.0

#: What a user's row remembers of events; declarations only, the state is in the shard.
RING = Ring(RECENT, item=np.int32, ts=np.int32, kind=np.int8)
CLICKS_7D = SlidingCounts(7 * DAY_S, buckets=7, name="clicks_7d")
PURCHASES_28D = SlidingCounts(28 * DAY_S, buckets=4, name="purchases_28d")


def profile_columns(hidden_width: int) -> Columns:
    """The columns of a user's row: under 1 KB with 50 items and a hidden state of 66 floats."""
    return Columns(
        RING,
        CLICKS_7D,
        PURCHASES_28D,
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
    previous = RING.push_after(shard, rows, "item", depth, item=numbers, ts=ts, kind=kinds)
    bought = kinds == PURCHASE
    if not bought.all():
        CLICKS_7D.add(shard, rows[~bought], ts[~bought])
    if bought.any():
        PURCHASES_28D.add(shard, rows[bought], ts[bought])
    return History(previous.astype(np.int64))

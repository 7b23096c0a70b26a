"""One user as the page shows them: what they did, their windows, what holds something back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from stream_app.agents.profiles import ACTIONS, CLICKS_7D, PURCHASES_28D, RING
from stream_app.asking import locate
from stream_app.web.context import WebContext

__all__ = ["known_of"]


def known_of(context: WebContext, user_id: str, partitions: set[int]) -> dict[str, Any] | None:
    """What the state of these partitions has of a user; None for a stranger. In the stream's loop."""
    users = context.recommender.users
    place = locate([shard for p, shard in users.shards.items() if p in partitions], user_id.encode())
    if place is None:
        return None
    shard, row = place
    entries, lengths = RING.last(shard, np.array([row], np.int64))
    n = int(lengths[0])
    indices = context.trends.partition(shard.partition).to_indices(entries["item"][0, :n].astype(np.int64))
    history = [
        {**_item(context, i), "ts": ts, "action": ACTIONS[kind]}
        for i, ts, kind in zip(
            indices.tolist(), entries["ts"][0, :n].tolist(), entries["kind"][0, :n].tolist(), strict=True
        )
    ]
    # Clicks and purchases come from two topics, in which one may be ahead; a person reads them in the order of time.
    history.sort(key=lambda event: event["ts"], reverse=True)
    last_ts = float(shard.column("_ts")[row])
    live = context.recommender.model
    return {
        "user": user_id,
        "partition": shard.partition,
        "last_event_ts": last_ts,
        "windows": [
            _window("Views and clicks, 7 days", CLICKS_7D, shard, row, last_ts, "day"),
            _window("Purchases, 28 days", PURCHASES_28D, shard, row, last_ts, "week"),
        ],
        "history": history,
        "stepped_by": live.version if live is not None and int(shard.column("model")[row]) == live.code else None,
        "withheld": context.recommender.gate.withheld(user_id),
    }


def _item(context: WebContext, i: int) -> dict[str, Any]:
    items = context.items
    return {"id": items.text(i), "title": items.titles.get(i), "price": items.price(i)} if i >= 0 else {"id": "?"}


def _window(name: str, counts: Any, shard: Any, row: int, now_ts: float, unit: str) -> dict[str, Any]:
    """Every bucket up to the one of the user's last event, oldest first, the empty ones too."""
    held = counts.read(shard, row)
    width = counts.bucket_s
    newest = np.floor(now_ts / width)
    starts = [float((newest - k) * width) for k in range(counts.buckets - 1, -1, -1)]
    buckets = [[datetime.fromtimestamp(start, UTC).date().isoformat(), int(held.get(start, 0))] for start in starts]
    return {"name": name, "unit": unit, "total": sum(count for _, count in buckets), "buckets": buckets}

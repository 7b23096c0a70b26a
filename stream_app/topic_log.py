"""The events of topics as a log to train on, in memory that depends on how many are kept and not on what they weigh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_app.contract import dialect_of
from stream_app.errors import UsageError
from stream_app.reading import Ends, open_topic
from stream_app.security import Cluster
from stream_app.settings import Settings
from stream_app.state.index import KeyIndex
from topics.catalog import Catalog
from topics.columns import decode_columns
from topics.spans import Spans
from tsrec_models.preparation.log import Log

__all__ = ["TOPICS", "FromTopics", "read_topics"]

#: Topics that say which user took which item.
TOPICS = ("clicks", "purchases")

_EVENT = np.dtype([("user", np.int32), ("item", np.int32), ("ts", np.float64)])


@dataclass(frozen=True)
class FromTopics:
    """What was read: the log, and how many records did not fit the contract or were older than the events kept."""

    log: Log
    bad: int
    older: int


class _Events:
    """Events as 16 bytes each: of more than twice `most` only the latest are kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: list[NDArray[Any]] = []
        self._size = 0
        self.older = 0

    def add(self, events: NDArray[Any]) -> None:
        self._parts.append(events)
        self._size += len(events)
        if self._size > 2 * self._most:
            self.all()

    def all(self) -> NDArray[Any]:
        """The latest `most` events, in the order they were read."""
        events = np.concatenate(self._parts) if self._parts else np.empty(0, _EVENT)
        if len(events) > self._most:
            latest = np.sort(np.argsort(events["ts"], kind="stable")[-self._most :])
            self.older += len(events) - self._most
            events = events[latest]
        self._parts, self._size = [events], len(events)
        return events


async def read_topics(
    cluster: Cluster | str, settings: Settings, catalog: Catalog, names: tuple[str, ...], most: int
) -> FromTopics:
    """Read topics of the contract to their present ends, committed records only, in the settings' dialect.

    most: events kept, the latest; twice as many are held at times, 16 bytes each, beside each user's and item's id.

    Raises:
        UsageError: a topic is not of users and items, is not on the broker, or holds no good record.
    """
    users, items, events, bad = KeyIndex(1024), KeyIndex(1024), _Events(most), 0
    for name in names:
        if name not in TOPICS:
            raise UsageError(f"{name!r} does not say which user took which item; {' and '.join(TOPICS)} do")
        topic = catalog[name]
        dialect = dialect_of(settings, topic)
        assert topic.type is not None
        async with open_topic(cluster, topic.kafka_name) as (consumer, partitions):
            await consumer.seek_to_beginning(*partitions)
            ends = Ends(consumer, await consumer.end_offsets(partitions))
            waiting = [partition for partition in partitions if not await ends.reached(partition)]
            while waiting:
                for partition, records in (await consumer.getmany(*waiting, timeout_ms=500)).items():
                    end = ends[partition]
                    values = Spans.of([record.value for record in records if record.offset < end])
                    columns = decode_columns(topic.type, values, dialect)
                    bad += len(columns.errors)
                    good = columns.take(np.flatnonzero(columns.ok))
                    part = np.empty(len(good.ts), _EVENT)
                    part["user"] = users.insert(good.user_id)[0]
                    part["item"] = items.insert(good.item_id)[0]
                    part["ts"] = good.ts
                    events.add(part)
                waiting = [partition for partition in waiting if not await ends.reached(partition)]
    kept = events.all()
    if not len(kept):
        raise UsageError(f"{', '.join(names)}: no event to learn from ({bad:,} records do not fit the contract)")
    log = Log.from_arrays(
        kept["user"], kept["item"], kept["ts"], user_ids=_names(users), item_ids=_names(items)
    ).compact()
    return FromTopics(log, bad, events.older)


def _names(index: KeyIndex) -> list[str]:
    rows = np.arange(index.rows_used)
    return [(key or b"").decode("utf-8", "replace") for key in index.keys(rows).tolist()]

"""Numbers of checkpoints: which is next, which were completed where, and what becomes of those that were not."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from faust.types import TP

from stream_app.state.stamps import EVERY, next_number, number_beside

__all__ = ["Numbering", "Place"]

logger = logging.getLogger(__name__)

#: Partitions of a topic, and a partition: topics with as many partitions are given to workers together.
Place = tuple[int, int]


class Numbering:
    """The numbers of one worker's checkpoints (`state.stamps` says what they are for)."""

    def __init__(self, app: Any) -> None:
        self._app = app
        #: Highest given or met so far.
        self._highest = 0
        self._completed: dict[Place, int] = {}

    def next(self) -> int:
        """The number of the checkpoint that begins: above all that were given or met."""
        met = max((table.highest_number for table in self._app.columnar_tables), default=0)
        self._highest = next_number(max(self._highest, met), self._app.consumer_generation_id)
        return self._highest

    def places(self, offsets: Iterable[TP]) -> set[Place]:
        """Where batches are committed by `offsets`."""
        topics = self._app.batch_topics
        return {(topics[tp.topic].partitions, tp.partition) for tp in offsets if tp.topic in topics}

    def completed(self, place: Place) -> int:
        """The latest checkpoint in which offsets of a place were committed; 0: none."""
        return self._completed.get(place, 0)

    def complete(self, places: Iterable[Place], number: int) -> None:
        """Offsets of `places` have been committed in checkpoint `number`."""
        self._completed.update(dict.fromkeys(places, number))

    async def settle(self, consumer: Any) -> None:
        """At the end of a recovery: what was read of the changelogs becomes the state of the committed offsets."""
        app = self._app
        held = app.tables.recovery.actives_for_table
        places = {(table.partitions, tp.partition) for table in app.columnar_tables for tp in held[table]}
        topics = [app.batch_topics[name] for name in app.consumed]
        tps = [TP(topic.name, p) for count, p in places for topic in topics if topic.partitions == count]
        committed, found = set[Place](), dict[Place, int]()
        for tp, metadata in (await consumer.committed_metadata(tps)).items():
            place = app.batch_topics[tp.topic].partitions, tp.partition
            committed.add(place)
            number, _ = number_beside(metadata)
            if number is not None:
                found[place] = max(number, found.get(place, 0))
        self._completed.update({place: found.get(place, 0) for place in places})
        self._highest = max(self._highest, *found.values(), 0)
        # Where no offset is, no checkpoint was ever completed, unless rows say so: the broker has forgotten the group.
        committed |= {
            (table.partitions, tp.partition)
            for table in app.columnar_tables
            for tp in held[table]
            if table.follows_completed(tp.partition)
        }
        for table in app.columnar_tables:
            for tp in held[table]:
                place = table.partitions, tp.partition
                if passed := table.settle(tp.partition, found.get(place, EVERY if place in committed else 0)):
                    logger.info(
                        "table %s [%s]: %s rows of a checkpoint that was not completed are passed over",
                        table.name, tp.partition, passed,
                    )  # fmt: skip

    def drop_unsaved(self) -> None:
        """Before a recovery: where one table has changes that no checkpoint has, the others of the partition, and what
        agents keep beside them, are of the same time; all are to be read back from the changelogs."""
        tables = self._app.columnar_tables
        unsaved = {(table.partitions, shard.partition) for table in tables for shard in table.dirty_shards()}
        for table in tables:
            for partition in list(table.shards):
                if (table.partitions, partition) in unsaved:
                    table.drop(partition)
        if unsaved:
            partitions = sorted({partition for _, partition in unsaved})
            logger.warning("partitions %s have unsaved changes: reading them back from the changelogs", partitions)

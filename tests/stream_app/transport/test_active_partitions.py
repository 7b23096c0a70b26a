"""While no partition is active nothing is taken from aiokafka, and the next look comes soon."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.consumer.subscription_state import SubscriptionState
from faust.types import TP

from stream_app.transport.consumer import Consumer
from stream_app.transport.thread import ActivePartitions

CHANGELOG = TopicPartition("counts-changelog", 2)


class Fetched:
    """What aiokafka holds of one partition: one batch, offsets 0 to 286."""

    next_fetch_offset = 0

    def __iter__(self) -> Any:
        self.next_fetch_offset = 287
        yield "batch"


def _fetcher() -> tuple[Fetcher, Any]:
    subscriptions = SubscriptionState()
    subscriptions.assign_from_user([CHANGELOG])
    assignment = subscriptions.subscription.assignment
    state = assignment.state_value(CHANGELOG)
    state.reset_to(0)
    fetcher: Any = Fetcher.__new__(Fetcher)
    fetcher._subscriptions, fetcher._wait_consume_future, fetcher._closed = subscriptions, None, True
    fetched = FetchResult(CHANGELOG, assignment=assignment, partition_records=Fetched(), backoff=0)
    fetcher._records = {CHANGELOG: fetched}
    return fetcher, state


async def test_records_of_paused_partitions_stay_where_they_are_while_none_is_active() -> None:
    fetcher, state = _fetcher()
    active: set[TP] = set()
    assert await fetcher.fetched_records(ActivePartitions(active)) == {}
    assert state.position == 0
    assert CHANGELOG in fetcher._records


async def test_a_partition_that_becomes_active_is_taken_by_a_poll_that_is_under_way() -> None:
    fetcher, state = _fetcher()
    active: set[TP] = set()
    wanted = ActivePartitions(active)
    active.add(TP(*CHANGELOG))
    assert await fetcher.fetched_records(wanted) == {CHANGELOG: ["batch"]}
    assert state.position == 287


async def test_an_empty_set_would_be_taken_for_all_partitions() -> None:
    """What the class is there for; when aiokafka changes this, it can go."""
    fetcher, state = _fetcher()
    assert await fetcher.fetched_records(set()) == {CHANGELOG: ["batch"]}
    assert state.position == 287


async def test_the_next_look_does_not_wait_for_the_second_that_faust_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer: Any = Consumer.__new__(Consumer)
    consumer.flow_active, consumer._active_partitions = True, set()
    consumer.app = SimpleNamespace(client_only=False)

    async def poll(self: Any, timeout: float) -> Any:
        raise AssertionError("it sleeps a second where all is paused")

    monkeypatch.setattr(Consumer, "_wait_next_records", poll)
    assert [record async for record in consumer.getmany(1.0)] == []
    consumer._active_partitions.add(TP(*CHANGELOG))
    with pytest.raises(AssertionError, match="sleeps"):
        await anext(consumer.getmany(1.0))

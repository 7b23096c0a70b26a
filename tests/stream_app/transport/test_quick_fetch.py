"""Fetches written and read in one pass, against aiokafka's own classes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from aiokafka import TopicPartition
from aiokafka.protocol.fetch import FetchRequest, FetchResponse_v11
from hypothesis import given
from hypothesis import strategies as st

from stream_app.transport.quick_fetch import QuickFetch

V11 = {1: (0, 11)}
int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
asked = st.lists(st.tuples(st.text(max_size=8), st.lists(st.tuples(int32, int64, int32), max_size=4)), max_size=4)
aborted = st.none() | st.lists(st.tuples(int64, int64), max_size=3)
answered = st.lists(
    st.tuples(
        st.text(max_size=8),
        st.lists(
            st.tuples(
                int32, st.integers(-1, 90), int64, int64, int64, aborted, int32, st.none() | st.binary(max_size=20)
            ),
            max_size=4,
        ),
    ),
    max_size=4,
)


@dataclass
class State:
    highwater: int | None
    lso: int | None
    timestamp: int | None


class Assignment:
    """What a consumer knows of its partitions."""

    def __init__(self, states: dict[TopicPartition, State]) -> None:
        self.states = states

    def state_value(self, tp: TopicPartition) -> State | None:
        return self.states.get(tp)


def read(topics: Any, assignment: Assignment | None = None) -> Any:
    body = FetchResponse_v11(7, 0, 3, topics).encode()
    prepared = QuickFetch(FetchRequest(500, 1, 1 << 20, 0, []), assignment).prepare(V11)
    return prepared.RESPONSE_TYPE.decode(BytesIO(body))


@given(topics=asked, isolation=st.integers(0, 1), rack=st.text(max_size=5))
def test_a_request_is_written_as_aiokafka_writes_it(topics: Any, isolation: int, rack: str) -> None:
    request = FetchRequest(500, 1, 1 << 20, isolation, topics, rack_id=rack)
    ours, theirs = QuickFetch(request).prepare(V11), request.prepare(V11)
    assert ours.encode() == theirs.encode()
    header = {"correlation_id": 5, "client_id": "me"}
    assert ours.build_request_header(**header).encode() == theirs.build_request_header(**header).encode()


@given(topics=answered)
def test_an_answer_is_read_as_aiokafka_reads_it(topics: Any) -> None:
    ours, theirs = read(topics), FetchResponse_v11.decode(FetchResponse_v11(7, 0, 3, topics).encode())
    assert ours.topics == theirs.topics
    assert (ours.throttle_time_ms, ours.error_code, ours.session_id) == (7, 0, 3)
    assert ours.API_VERSION == theirs.API_VERSION


def test_partitions_without_news_are_left_out() -> None:
    now_ms = int(time.time() * 1000)
    partitions = [
        (0, 0, 10, 10, 0, None, -1, b""),  # known, nothing new
        (1, 0, 10, 10, 0, None, -1, b"records"),
        (2, 0, 11, 10, 0, None, -1, b""),  # the end has moved
        (3, 0, 10, 10, 0, None, -1, b""),  # not passed on for long
        (4, 6, 10, 10, 0, None, -1, b""),  # an error
        (5, 0, 10, 10, 0, None, -1, b""),  # nothing known of it yet
        (6, 0, 10, 10, 0, None, -1, b""),  # no longer ours
    ]
    states = {TopicPartition("t", p): State(10, 10, now_ms) for p in range(6)}
    states[TopicPartition("t", 3)].timestamp = now_ms - 10_000
    states[TopicPartition("t", 5)] = State(None, None, None)
    ((topic, left),) = read([("t", partitions)], Assignment(states)).topics
    assert topic == "t"
    assert [partition for partition, *_ in left] == [1, 2, 3, 4, 5, 6]


def test_an_older_broker_is_asked_in_its_own_version() -> None:
    request = FetchRequest(500, 1, 1 << 20, 0, [("t", [(0, 5, 100)])])
    old = QuickFetch(request).prepare({1: (0, 4)})
    assert old.API_VERSION == 4
    assert old.encode() == request.prepare({1: (0, 4)}).encode()

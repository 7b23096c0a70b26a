"""Kafka's default partitioner, against aiokafka's."""

from __future__ import annotations

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from stream_app.transport.partitioning import partition_of, partitions_of
from topics.spans import Spans


@given(keys=st.lists(st.binary(max_size=30), min_size=1, max_size=50), partitions=st.integers(1, 64))
def test_keys_go_where_kafkas_producers_send_them(keys: list[bytes], partitions: int) -> None:
    choose, everything = DefaultPartitioner(), list(range(partitions))
    expected = [choose(key, everything, everything) for key in keys]
    assert partitions_of(Spans.of(keys), partitions).tolist() == expected
    assert partition_of(keys[0], partitions) == expected[0]

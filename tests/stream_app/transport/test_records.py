"""Record batches as columns, against aiokafka's own reader and writer."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.transport.builder import build_batches, encode_headers
from stream_app.transport.fetching import RawPartitionRecords
from stream_app.transport.records import RecordBatch
from topics.spans import Spans

TP = TopicPartition("t", 3)
CODECS = {None: 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

bytes_or_null = st.one_of(st.none(), st.binary(max_size=40))
headers = st.lists(st.tuples(st.text(max_size=5), bytes_or_null), max_size=3)
records = st.lists(st.tuples(bytes_or_null, bytes_or_null, st.integers(0, 1 << 45), headers), min_size=1, max_size=30)


def aiokafka_batch(
    rows: list[tuple[bytes | None, bytes | None, int, list[tuple[str, bytes | None]]]],
    base_offset: int,
    codec: int = 0,
    **state: int,
) -> bytes:
    builder = DefaultRecordBatchBuilder(
        2, codec, state.get("transactional", 0), state.get("producer", -1), 0, 0, 1 << 24
    )
    for i, (key, value, timestamp, head) in enumerate(rows):
        assert builder.append(i, timestamp, key, value, head) is not None
    raw = bytearray(builder.build())
    raw[:8] = base_offset.to_bytes(8, "big")  # the broker's part; the checksum does not cover it
    return bytes(raw)


def read(raw: bytes, fetch_offset: int = 0, **options: object) -> RecordBatch:
    settings = {"aborted": None, "check_crcs": True, "read_committed": False, **options}
    source = RawPartitionRecords(TP, raw, settings.pop("aborted"), fetch_offset, seek=lambda: 0, **settings)  # type: ignore[arg-type]
    (batch,) = list(source)
    return batch


@given(rows=records, codec=st.sampled_from(list(CODECS.values())), base=st.integers(0, 1 << 40))
@settings(max_examples=60, deadline=None)
def test_what_aiokafka_writes_is_read_as_it_was(rows: list, codec: int, base: int) -> None:  # type: ignore[type-arg]
    batch = read(aiokafka_batch(rows, base, codec), fetch_offset=base)
    assert batch.offsets.tolist() == [base + i for i in range(len(rows))]
    assert batch.timestamps_ms.tolist() == [row[2] for row in rows]
    assert batch.keys.tolist() == [row[0] for row in rows]
    assert batch.values.tolist() == [row[1] for row in rows]
    assert [batch.headers(i) for i in range(len(rows))] == [row[3] for row in rows]
    assert batch.next_offset == base + len(rows)


@given(rows=records, codec=st.sampled_from(list(CODECS)), max_bytes=st.integers(100, 2000))
@settings(max_examples=60, deadline=None)
def test_what_is_built_aiokafka_reads_as_it_was(rows: list, codec: str | None, max_bytes: int) -> None:  # type: ignore[type-arg]
    import numpy as np

    found = []
    for built in build_batches(
        Spans.of([row[0] for row in rows]),
        Spans.of([row[1] for row in rows]),
        np.array([row[2] for row in rows]),
        max_bytes=max_bytes,
        compression=codec,
        headers=Spans.of([encode_headers(row[3]) for row in rows]),
    ):
        built._set_producer_state(7, 1, 5)
        raw = bytes(built._build())
        assert len(raw) == built.size()
        parsed = DefaultRecordBatch(raw)
        assert parsed.validate_crc()
        assert (parsed.producer_id, parsed.producer_epoch, parsed.base_sequence) == (7, 1, 5)
        part = [(r.key, r.value, r.timestamp, r.headers) for r in parsed]
        assert len(part) == built.record_count()
        assert len(raw) <= max_bytes or len(part) == 1
        found += part
    assert found == rows


def test_several_batches_of_one_fetch_become_one_and_a_cut_off_one_is_left() -> None:
    rows = [(b"k", b"v%d" % i, i, []) for i in range(5)]
    whole = aiokafka_batch(rows, 0) + aiokafka_batch(rows, 5, codec=3) + aiokafka_batch(rows, 10)
    batch = read(whole + aiokafka_batch(rows, 15)[:-3])
    assert batch.offsets.tolist() == list(range(15))
    assert batch.values[7] == b"v2"
    assert batch.next_offset == 15


def test_a_fetch_that_begins_inside_a_batch_skips_what_was_read() -> None:
    batch = read(aiokafka_batch([(None, b"%d" % i, i, []) for i in range(10)], 100), fetch_offset=104)
    assert batch.offsets.tolist() == [104, 105, 106, 107, 108, 109]
    assert batch.values[0] == b"4"


def test_aborted_transactions_are_left_out_only_when_reading_committed() -> None:
    rows = [(None, b"x", 1, [])]
    raw = aiokafka_batch(rows, 0, producer=9, transactional=1) + aiokafka_batch(rows, 1, producer=8, transactional=1)
    assert len(read(raw, read_committed=False)) == 2
    committed = read(raw, read_committed=True, aborted=[(9, 0)])
    assert committed.offsets.tolist() == [1]
    assert committed.next_offset == 2


@pytest.mark.parametrize("position", [17, 30, 65, -1])
def test_a_flipped_bit_is_found_by_the_checksum(position: int) -> None:
    raw = bytearray(aiokafka_batch([(b"key", b"value", 1, [])], 0))
    raw[position] ^= 4
    with pytest.raises(CorruptRecordException):
        read(bytes(raw))


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_damage_without_a_checksum_is_an_error_or_a_record_never_a_crash(data: st.DataObject) -> None:
    raw = bytearray(aiokafka_batch([(b"key%d" % i, b"value", 1, [("h", b"x")]) for i in range(4)], 0))
    raw[data.draw(st.integers(61, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        batch = read(bytes(raw), check_crcs=False)
    except CorruptRecordException:
        return
    for i in range(len(batch)):
        for spans in (batch.keys, batch.values):
            assert -1 <= spans.start[i] <= spans.end[i] <= len(spans.data)

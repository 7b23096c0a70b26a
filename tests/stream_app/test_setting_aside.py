"""Dead letters: the record untouched, and headers that say what, where and why."""

import numpy as np

from stream_app.setting_aside import TRUNCATED, dead_letters_of
from stream_app.transport.builder import build_batches, encode_headers
from stream_app.transport.records import HEADER, RecordBatch, RecordScanner
from topics.errors import Reason, RecordError, error_headers
from topics.spans import Spans


def through_the_wire(values: list[bytes], headers: list[list[tuple[str, bytes]]], first_offset: int = 0) -> RecordBatch:
    """Records of partition 3 of `clicks`, as the consumer would have them."""
    columns = Spans.of(values)
    encoded = Spans.of([encode_headers(own) for own in headers])
    raw = bytes(next(iter(build_batches(columns, columns, headers=encoded, max_bytes=1 << 20)))._build())
    scanner = RecordScanner(raw)
    scanner.add(0, HEADER.unpack_from(raw), len(raw))
    batch = scanner.finish("clicks", 3, 0, len(values), 0.0)
    batch.offsets = batch.offsets + first_offset
    return batch


def test_every_letter_has_its_own_headers_then_ours_in_full() -> None:
    own: list[list[tuple[str, bytes]]] = [[], [("trace", b"1")], [], [], [("error.reason", b"old"), ("trace", b"")], []]
    records = through_the_wire([b"a", b"b", b"c", b"d", b"e", b"f"], own, first_offset=99_997)
    errors = [
        (
            RecordError(i, Reason.INVALID if i % 2 else Reason.UNDECODABLE, f"what {i // 3} 'é'"),
            "decode" if i < 5 else "count",
        )
        for i in range(6)
    ]
    letters = dead_letters_of(records, errors, 1 << 20)
    assert letters.values.tolist() == letters.keys.tolist() == [b"a", b"b", b"c", b"d", b"e", b"f"]
    for i, (error, stage) in enumerate(errors):
        expected = error_headers(error, stage, "clicks", 3, 99_997 + i, own[i])
        assert letters.headers[i] == encode_headers(expected), i


def test_only_what_is_too_large_is_cut_and_says_how_large_it_was() -> None:
    records = through_the_wire([b"x" * 100, b"y" * 5_000], [[], []])
    errors = [(RecordError(i, Reason.OVERSIZED, "too large"), "decode") for i in range(2)]
    letters = dead_letters_of(records, errors, 8_000)
    small, large = letters.values.tolist()
    assert small == b"x" * 100
    assert large is not None
    assert 0 < len(large) < 5_000
    assert set(large) == {ord("y")}
    assert f"{TRUNCATED}".encode() in (letters.headers[1] or b"")
    assert b"5000" in (letters.headers[1] or b"")
    assert TRUNCATED.encode() not in (letters.headers[0] or b"")


def test_late_records_keep_their_order_and_offsets() -> None:
    records = through_the_wire([b"%d" % i for i in range(50)], [[] for _ in range(50)], first_offset=5)
    rows = np.arange(0, 50, 7)
    errors = [(RecordError(int(row), Reason.LATE, "late"), "watermark") for row in rows]
    letters = dead_letters_of(records.take(rows), errors, 1 << 20)
    assert letters.values.tolist() == [b"%d" % i for i in rows]
    assert [int((h or b"").rsplit(b"source.offset", 1)[1][1:]) for h in letters.headers] == [5 + int(i) for i in rows]

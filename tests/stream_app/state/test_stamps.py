"""Rows of a replaced owner, and of a checkpoint that was never completed, are known by their stamps."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_app.state.stamps import (
    HeldBack,
    OwnerGuard,
    next_number,
    number_beside,
    stamp_headers,
    stamps_of,
    written_beside,
)
from stream_app.transport.builder import encode_headers
from topics.spans import Spans


def _headers(stamps: list[tuple[int, int] | None]) -> Spans:
    return Spans.of(
        encode_headers([])
        if stamp is None
        else encode_headers([("checkpoint", b"".join(part.to_bytes(8, "little") for part in stamp))])
        for stamp in stamps
    )


@given(stamps=st.lists(st.none() | st.tuples(st.integers(0, 2**62), st.integers(0, 2**62)), max_size=20))
def test_stamps_come_back_as_written(stamps: list[tuple[int, int] | None]) -> None:
    numbers, completed = stamps_of(_headers(stamps))
    assert list(zip(numbers.tolist(), completed.tolist(), strict=True)) == [stamp or (0, 0) for stamp in stamps]


def test_the_headers_of_a_batch_share_their_bytes() -> None:
    headers = stamp_headers(7, 5, 3)
    assert [part.tolist() for part in stamps_of(headers)] == [[7, 7, 7], [5, 5, 5]]
    assert headers[1] == _headers([(7, 5)])[0]


def test_other_headers_of_the_same_length_are_no_stamp() -> None:
    assert stamps_of(Spans.of([encode_headers([("somewhere!", bytes([9]) * 16)])]))[0].tolist() == [0]


@given(numbers=st.lists(st.integers(0, 5), max_size=20), cut=st.integers(0, 20))
def test_a_record_is_stale_when_a_higher_number_came_before_wherever_batches_begin(
    numbers: list[int], cut: int
) -> None:
    guard = OwnerGuard()
    found = np.concatenate([guard.stale(np.array(part, np.int64)) for part in (numbers[:cut], numbers[cut:])])
    assert found.tolist() == [any(other > number for other in numbers[:i]) for i, number in enumerate(numbers)]
    assert guard.highest == max(numbers, default=0)


def test_numbers_rise_through_generations_and_when_the_group_was_forgotten() -> None:
    first = next_number(0, 3)
    assert next_number(first, 3) == first + 1
    assert next_number(first + 1, 4) > first + 1_000_000
    assert next_number(first + 1, 1) == first + 2
    assert next_number(0, -1) == 1


def test_a_number_is_committed_beside_other_text() -> None:
    assert number_beside(written_beside(1 << 40, "1700000000.5")) == (1 << 40, "1700000000.5")
    assert number_beside(written_beside(3, "")) == (3, "")
    assert number_beside("1700000000.5") == (None, "1700000000.5")  # of a worker that numbered no checkpoints
    assert number_beside("") == (None, "")


def _take(held: HeldBack, rows: list[tuple[int, int, int]]) -> list[int]:
    """Rows are (number, completed, value)."""
    if not rows:
        return []
    number, completed, value = (np.array(part, np.int64) for part in zip(*rows, strict=True))
    spans = Spans.of([str(one).encode() for one in value.tolist()])
    return [int(one or b"") for keys, _ in held.take(spans, spans, (number, completed)) for one in keys.tolist()]


@given(
    lengths=st.lists(st.integers(0, 3), max_size=8),
    broken=st.sets(st.integers(0, 7)),
    cuts=st.lists(st.integers(0, 24), max_size=4),
)
def test_rows_of_completed_checkpoints_count_wherever_batches_begin(
    lengths: list[int], broken: set[int], cuts: list[int]
) -> None:
    rows, last, value = [], 0, 0
    for i, n in enumerate(lengths):
        for _ in range(n):
            rows.append((10 + i, last, value))
            value += 1
        if i not in broken:
            last = 10 + i
    held, taken = HeldBack(), []
    places = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    for begin, end in itertools.pairwise(places):
        taken += _take(held, rows[begin:end])
    # What is not completed and followed by something that is, is written again there: it may be taken before.
    whole, passed = held.settle(last)
    taken += [int(one or b"") for keys, _ in whole for one in keys.tolist()]
    left = [int(one or b"") for keys in passed for one in keys.tolist()]
    assert taken + left == list(range(len(rows)))
    assert left == [value for number, _, value in rows if number > last]

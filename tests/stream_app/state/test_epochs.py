"""Rows of a replaced owner in a changelog are known by their epoch."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_app.state.epochs import EpochGuard, epoch_headers, epochs_of
from stream_app.transport.builder import encode_headers
from topics.spans import Spans


def _headers(epochs: list[int | None]) -> Spans:
    return Spans.of(
        encode_headers([]) if epoch is None else encode_headers([("epoch", epoch.to_bytes(8, "little"))])
        for epoch in epochs
    )


@given(epochs=st.lists(st.none() | st.integers(0, 2**62), max_size=20))
def test_epochs_come_back_as_written(epochs: list[int | None]) -> None:
    assert epochs_of(_headers(epochs)).tolist() == [epoch or 0 for epoch in epochs]


def test_the_headers_of_a_batch_share_their_bytes() -> None:
    headers = epoch_headers(7, 3)
    assert epochs_of(headers).tolist() == [7, 7, 7]
    assert headers[1] == encode_headers([("epoch", (7).to_bytes(8, "little"))])


def test_other_headers_of_the_same_length_are_no_epoch() -> None:
    assert epochs_of(Spans.of([encode_headers([("speed", bytes([9]) * 8)])])).tolist() == [0]


@given(epochs=st.lists(st.integers(0, 5), max_size=20), cut=st.integers(0, 20))
def test_a_record_is_stale_when_a_higher_epoch_came_before_wherever_batches_begin(epochs: list[int], cut: int) -> None:
    guard = EpochGuard()
    found = np.concatenate([guard.stale(_headers(part)) for part in (epochs[:cut], epochs[cut:])])  # type: ignore[arg-type]
    assert found.tolist() == [any(e > epoch for e in epochs[:i]) for i, epoch in enumerate(epochs)]
    assert guard.highest == max(epochs, default=0)

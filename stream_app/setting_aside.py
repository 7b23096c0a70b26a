"""Records for the dead letters and late events: as they came, with headers that say what is wrong."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stream_app.transport.builder import encode_headers
from stream_app.transport.records import RecordBatch
from topics.errors import RecordError, error_headers
from topics.spans import Spans

__all__ = ["FRAME_BYTES", "TRUNCATED", "Letters", "dead_letters_of"]

#: Room for a record batch's own header and the lengths in a record.
FRAME_BYTES = 200

#: Header of a record that was too large even for the topic it went to: its size before it was cut.
TRUNCATED = "error.truncated"


class Letters(NamedTuple):
    """Columns to send."""

    keys: Spans
    values: Spans
    headers: Spans


def dead_letters_of(records: RecordBatch, errors: list[tuple[RecordError, str]], max_bytes: int) -> Letters:
    """Each of `records` with its error and the stage it failed at; bytes untouched, unless larger than `max_bytes`."""
    keys, ends = records.keys, records.values.end
    sizes = (records.values.end - records.values.start) + (keys.end - keys.start)
    cut = np.zeros(len(records), np.int64)
    headers = []
    for i, (error, stage) in enumerate(errors):
        own = [(name, value or b"") for name, value in records.headers(i)]
        all_of_them = error_headers(error, stage, records.topic, records.partition, int(records.offsets[i]), own)
        encoded = encode_headers(all_of_them)
        over = int(sizes[i]) + len(encoded) + FRAME_BYTES - max_bytes
        if over > 0:
            size = int(records.values.end[i] - records.values.start[i])
            encoded = encode_headers([*all_of_them, (TRUNCATED, b"%d" % size)])
            cut[i] = min(size, over + len(TRUNCATED) + 24)
        headers.append(encoded)
    values = Spans(records.values.data, records.values.start, ends - cut)
    return Letters(keys, values, Spans.of(headers))

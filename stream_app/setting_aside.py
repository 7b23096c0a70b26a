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

#: How encoded headers of offset 0 end: its length, and the digit.
_OFFSET_NOUGHT = b"\x020"


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
    # A sender that is broken sends the same mistake many times: its headers are encoded once, but for the offset.
    known: dict[tuple[str, str, str], bytes] = {}
    bare = (records.header_spans.end - records.header_spans.start == 1).tolist()  # one byte says that there are none
    offsets = records.offsets.tolist()
    for i, ((error, stage), size) in enumerate(zip(errors, sizes.tolist(), strict=True)):
        own = [] if bare[i] else [(name, value or b"") for name, value in records.headers(i)]
        if own:
            encoded = encode_headers(error_headers(error, stage, records.topic, records.partition, offsets[i], own))
        else:
            what = (error.reason, error.message, stage)
            if what not in known:
                some = encode_headers(error_headers(error, stage, records.topic, records.partition, 0))
                known[what] = some[: -len(_OFFSET_NOUGHT)]
            digits = b"%d" % offsets[i]
            encoded = known[what] + bytes((len(digits) << 1,)) + digits
        over = size + len(encoded) + FRAME_BYTES - max_bytes
        if over > 0:
            whole = int(records.values.end[i] - records.values.start[i])
            all_of_them = error_headers(error, stage, records.topic, records.partition, offsets[i], own)
            encoded = encode_headers([*all_of_them, (TRUNCATED, b"%d" % whole)])
            cut[i] = min(whole, over + len(TRUNCATED) + 24)
        headers.append(encoded)
    values = Spans(records.values.data, records.values.start, ends - cut)
    return Letters(keys, values, Spans.of(headers))

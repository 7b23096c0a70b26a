"""An invented batch of a topic, to run the agents once before the first real one."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from stream_app.batch import BatchTopic
from stream_app.kernels import RELEASED_ROWS
from stream_app.transport.builder import build_batches
from stream_app.transport.records import HEADER, RecordBatch, RecordScanner
from topics.spans import Spans

__all__ = ["NOWHERE", "REHEARSED", "rehearsal_batch"]

#: The partition of a rehearsal: no topic has it.
NOWHERE = -1

#: Records of a rehearsal: two, so that loops over events of one key run too, and enough for the kernels of large
#: batches.
REHEARSED = (2, RELEASED_ROWS)


def _example(schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """The simplest value that a JSON schema allows."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[-1]]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], definitions)
    kind = schema.get("type")
    if kind == "object":
        required = schema.get("required", ())
        return {
            name: _example(part, definitions) for name, part in schema.get("properties", {}).items() if name in required
        }
    if kind in ("number", "integer"):
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        return max(1, low) if "maximum" not in schema else min(schema["maximum"], max(1, low))
    if kind == "array":
        return []
    if kind == "boolean":
        return False
    if kind == "string":
        return "x" * max(1, schema.get("minLength", 1))
    return None


def rehearsal_batch(topic: BatchTopic, n: int, first: int = 0) -> RecordBatch:
    """A batch of `n` valid records of `topic` from offset `first` on, in partition `NOWHERE`, that has been through the
    wire format.

    With a dialect the records are bad ones on purpose: only the decoding of good ones is compiled ahead.
    """
    (schema,), definitions = msgspec.json.schema_components([topic.type], ref_template="#/{name}")
    value = msgspec.json.encode(_example(schema, definitions))
    values = Spans.of([value] * n)
    raw = bytearray(next(iter(build_batches(values, values, max_bytes=1 << 20)))._build())
    raw[:8] = first.to_bytes(8, "big")
    scanner = RecordScanner(bytes(raw))
    scanner.add(0, HEADER.unpack_from(raw), len(raw))
    batch = scanner.finish(topic.name, NOWHERE, first, first + n, 0.0)
    batch.timestamps_ms = np.full(n, 1 << 41, np.int64)
    return batch

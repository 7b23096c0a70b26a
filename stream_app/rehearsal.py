"""An invented batch of a topic, to run the agents once before the first real one."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from stream_app.batch import BatchTopic
from stream_app.transport.builder import build_batches
from stream_app.transport.records import HEADER, RecordBatch, RecordScanner
from topics.spans import Spans

__all__ = ["NOWHERE", "rehearsal_batch"]

#: The partition of a rehearsal: no topic has it.
NOWHERE = -1

#: Two records, so that loops over events of one key run too.
_RECORDS = 2


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


def rehearsal_batch(topic: BatchTopic) -> RecordBatch:
    """A small batch of valid records of `topic`, in partition `NOWHERE`, that has been through the wire format.

    With a dialect the records are bad ones on purpose: only the decoding of good ones is compiled ahead.
    """
    (schema,), definitions = msgspec.json.schema_components([topic.type], ref_template="#/{name}")
    value = msgspec.json.encode(_example(schema, definitions))
    values = Spans.of([value] * _RECORDS)
    raw = bytes(next(iter(build_batches(values, values, max_bytes=1 << 20)))._build())
    scanner = RecordScanner(raw)
    scanner.add(0, HEADER.unpack_from(raw), len(raw))
    batch = scanner.finish(topic.name, NOWHERE, 0, _RECORDS, 0.0)
    batch.timestamps_ms = np.full(_RECORDS, 1 << 41, np.int64)
    return batch

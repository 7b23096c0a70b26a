"""Rows of alert books in a columnar table: a compressed record a row, since an alert is not made of numbers."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from stream_app.state.columns import Column, Columns
from stream_app.state.shard import Shard
from topics.spans import Spans

__all__ = ["ROW_BYTES", "alert_columns", "read_rows", "write_rows"]

#: Bytes of a row's record. An alert with the evidence of sixteen trades takes about 900.
ROW_BYTES = 4096

#: Time of a row that lives until its alert is forgotten, and of one that is forgotten.
_KEPT, _GONE = np.inf, -1.0

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def alert_columns() -> Columns:
    """The columns of one row of a book."""
    return Columns(size=Column(np.uint32), record=Column(np.uint8, (ROW_BYTES,)))


def write_rows(shard: Shard, prefix: str, changes: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Put changed rows of a book into the shard, and let the forgotten ones go (None), each under prefix + its key."""
    keys = Spans.of([(prefix + key).encode() for key in changes])
    live = np.array([row is not None for row in changes.values()], np.bool_)
    gone = shard.find(keys.take(~live))
    gone = gone[gone >= 0]
    shard.touch(gone)
    shard.column("_ts")[gone] = _GONE
    kept = [row for row in changes.values() if row is not None]
    records = [_record(key, row) for key, row in changes.items() if row is not None]
    rows = shard.locate(keys.take(live))
    shard.touch(rows)
    shard.column("_ts")[rows] = _KEPT
    for row, record in zip(rows.tolist(), records, strict=True):
        shard.column("size")[row] = len(record)
        shard.column("record")[row, : len(record)] = np.frombuffer(record, np.uint8)
    if len(gone) or len(kept) < len(changes):
        shard.evict(0.0)


def read_rows(shard: Shard, prefix: str) -> dict[str, dict[str, Any]]:
    """Every row under `prefix`, by its key."""
    rows = shard.live_rows()
    out: dict[str, dict[str, Any]] = {}
    for row, key in zip(rows.tolist(), shard.index.keys(rows).tolist(), strict=True):
        name = (key or b"").decode()
        if name.startswith(prefix):
            size = int(shard.column("size")[row])
            out[name[len(prefix) :]] = _decode(zlib.decompress(shard.column("record")[row, :size].tobytes()))
    return out


def _record(key: str, row: Mapping[str, Any]) -> bytes:
    """The row, compressed; where it is too large, without the longest list of its evidence, and it says so."""
    record = zlib.compress(_encode(row), 1)
    if len(record) <= ROW_BYTES:
        return record
    evidence = dict(row.get("evidence") or {})
    name = max(evidence, key=lambda part: len(_encode(evidence[part])), default=None)
    if name is None:
        raise ValueError(f"alert row {key!r} takes {len(record)} bytes, more than the {ROW_BYTES} of its table")
    left_out = evidence.pop(name)
    evidence["left_out"] = f"{name}, {len(_encode(left_out))} bytes"
    return _record(key, {**row, "evidence": evidence})

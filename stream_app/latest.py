"""The last list of each user, as it was published: 174 bytes a user with lists of ten, written once a batch.

It lives in memory only. After a restart or a move of the partition a list is computed when it is asked for, until the
user's next event brings one.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream_app.blending import Blended
from stream_app.kernels import releasing
from stream_app.state.memory import reserve
from stream_app.state.shard import Shard
from topics.spans import Spans

__all__ = ["LatestLists", "Listed", "Published"]

#: Address space for the lists of one partition; only touched pages cost memory.
_RESERVE_BYTES = 1 << 34

#: Bytes before the decision id's digits in a record of `recommendations`, and how many digits.
_ID_AT, _ID_DIGITS = len(b'{"decision_id":"'), 24


class Published(NamedTuple):
    """The lists of a batch, as its records say them: m of them. rungs, versions: index into `names`, [m].

    values: the records. causes: item index each follows from, [m, k], negative for none. notes: why withheld, or None.
    """

    values: Spans
    lists: Blended
    causes: NDArray[np.int64]
    cold: NDArray[np.bool_]
    rung: str
    version: str
    notes: list[str | None]


class Listed(NamedTuple):
    """One user's last list: indices and scores, best first; `topic` is the source topic's number in the table."""

    decision_id: str
    topic: int
    offset: int
    event_ts: float
    produced_ts: float
    model: str
    rung: str
    items: list[int]
    scores: list[float]
    sources: list[int]
    causes: list[int]
    note: str | None


def _dtype(k: int) -> np.dtype[Any]:
    return np.dtype(
        [
            ("offset", np.int64), ("event_ts", np.float64), ("produced_ts", np.float64), ("items", np.int32, (k,)),
            ("causes", np.int32, (k,)), ("scores", np.float32, (k,)), ("user", np.uint32), ("sources", np.int8, (k,)),
            ("id", np.uint8, (_ID_DIGITS // 2,)), ("topic", np.int8), ("model", np.uint8), ("rung", np.uint8),
            ("size", np.uint8),
        ]
    )  # fmt: skip


def _struct(k: int) -> struct.Struct:
    """The same as `_dtype`, for one row: a fifth of the time that numpy takes for each of its fields."""
    return struct.Struct(f"<qdd{k}i{k}i{k}fI{k}b{_ID_DIGITS // 2}sbBBB")


class _Partition:
    def __init__(self, shard: Shard, dtype: np.dtype[Any]) -> None:
        self.shard = shard
        raw = reserve(_RESERVE_BYTES)
        self.rows = raw[: len(raw) // dtype.itemsize * dtype.itemsize].view(dtype)
        self.columns = {name: self.rows[name] for name in dtype.names or ()}
        self.used = 0
        self.notes: dict[int, str] = {}


class LatestLists:
    """Kept by the stream's loop, read there too. k: items of a list."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.dtype = _dtype(k)
        self._layout = _struct(k)
        self._partitions: dict[int, _Partition] = {}
        self._names: list[str] = []

    def keep(
        self,
        shard: Shard,
        topic: int,
        users: Spans,
        rows: NDArray[np.int64],
        offsets: NDArray[np.int64],
        ts: NDArray[np.float64],
        made: Published,
    ) -> None:
        """Keep the lists of a batch, [m] each; of several of one row the last. topic: number of the source topic."""
        part = self._partition(shard)
        top = int(rows.max(initial=-1)) + 1
        if top > len(part.rows):
            return  # more address space than the system grants: these users' lists are computed when asked for
        part.used, produced_ts = max(part.used, top), time.time()
        column = part.columns
        names = np.array(
            [[self._code(made.version), self._code(made.rung)], [self._code("trending"), self._code("trending")]],
            np.uint8,
        )
        _keep(
            rows, offsets, ts, produced_ts, topic, names, made.cold, made.lists.items, made.lists.scores,
            made.lists.sources, made.causes, _read_only(users.data), users.start, users.end,
            _read_only(made.values.data), made.values.start, column["offset"], column["event_ts"],
            column["produced_ts"], column["topic"], column["model"], column["rung"], column["size"], column["user"],
            column["id"], column["items"], column["scores"], column["sources"], column["causes"],
        )  # fmt: skip
        if part.notes or any(made.notes):
            for row, note in zip(rows.tolist(), made.notes, strict=True):
                part.notes.pop(row, None)
                if note is not None:
                    part.notes[row] = note

    def read(self, shard: Shard, row: int, user: bytes) -> Listed | None:
        """The last list of the user at `row`, or None: none was made since this worker has the partition."""
        part = self._partitions.get(shard.partition)
        if part is None or part.shard is not shard or not 0 <= row < part.used:
            return None
        return self._checked(part, row, user, part.rows[row].tobytes())

    def read_elsewhere(self, shard: Shard, row: int, user: bytes) -> Listed | None:
        """As `read`, from another thread: nothing that it looks at ever moves, and a list that is being written just
        then, or was never written, is None; the stream's loop knows."""
        part = self._partitions.get(shard.partition)
        if part is None or part.shard is not shard or not 0 <= row < part.used:
            return None
        kept = part.rows[row].tobytes()
        listed = self._checked(part, row, user, kept)
        return listed if kept == part.rows[row].tobytes() else None

    def candidates(self, decision_id: str) -> list[tuple[int, int]]:
        """Partition and row where a decision of this id may be kept; any thread may ask, `read_decision` is sure."""
        wanted = np.frombuffer(bytes.fromhex(decision_id), np.uint8)
        found = []
        for partition, part in list(self._partitions.items()):
            ids = part.columns["id"][: part.used]
            near = np.flatnonzero((ids[:, 0] == wanted[0]) & (ids[:, 1] == wanted[1]))
            found += [(partition, row) for row in near[(ids[near] == wanted).all(axis=1)].tolist()]
        return found

    def read_decision(self, partition: int, row: int, decision_id: str) -> tuple[str, Listed] | None:
        """User and list of a decision that is its user's last, or None."""
        part = self._partitions.get(partition)
        if part is None or row not in part.shard.live_rows():
            return None
        user = part.shard.index.key(row)
        listed = self.read(part.shard, row, user)
        if listed is None or listed.decision_id != decision_id:
            return None
        return user.decode("utf-8", "replace"), listed

    def drop(self, held: Iterable[Shard]) -> None:
        """Forget partitions whose shard is not among `held`."""
        shards = set(map(id, held))
        self._partitions = {p: part for p, part in self._partitions.items() if id(part.shard) in shards}

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        return sum(part.used for part in self._partitions.values()) * self.dtype.itemsize

    def _partition(self, shard: Shard) -> _Partition:
        part = self._partitions.get(shard.partition)
        if part is None or part.shard is not shard:
            part = self._partitions[shard.partition] = _Partition(shard, self.dtype)
        return part

    def _code(self, name: str) -> int:
        """A number for a model's or a rung's name. After 255 names, which is as many model swaps, they begin anew, and
        lists of the oldest model are forgotten."""
        if name in self._names:
            return self._names.index(name)
        if len(self._names) == 255:
            self._names.clear()
            self._partitions.clear()
        self._names.append(name)
        return len(self._names) - 1

    def _checked(self, part: _Partition, row: int, user: bytes, kept: bytes) -> Listed | None:
        k = self.k
        offset, event_ts, produced_ts, *more = self._layout.unpack(kept)
        items, causes, scores, sources = more[:k], more[k : 2 * k], more[2 * k : 3 * k], more[3 * k + 1 : 4 * k + 1]
        identity, topic, model, rung, size = more[4 * k + 1 :]
        # A row number is given again when its user was evicted; a batch that failed took its marks back.
        if more[3 * k] != _hash(user) or offset > part.shard.column("_mark")[row, topic]:
            return None
        return Listed(
            identity.hex(), topic, offset, event_ts, produced_ts, self._names[model], self._names[rung], items[:size],
            [round(score, 6) for score in scores[:size]], sources[:size], causes[:size], part.notes.get(row),
        )  # fmt: skip


def _hash(user: bytes) -> int:
    """FNV-1a, 32 bits; 0 stands for nobody."""
    h = 0x811C9DC5
    for byte in user:
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    return h or 1


def _read_only(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    view = data.view()
    view.flags.writeable = False
    return view


@releasing(lambda *args: len(args[0]))  # type: ignore[untyped-decorator]
def _keep(  # type: ignore[no-untyped-def]
    rows, offsets, ts, produced_ts, topic, names, cold, items, scores, sources, causes, user_data, user_start, user_end,
    value_data, value_start, to_offset, to_ts, to_produced, to_topic, to_model, to_rung, to_size, to_user, to_id,
    to_items, to_scores, to_sources, to_causes,
):  # fmt: skip
    for i in range(len(rows)):
        row = rows[i]
        if row < 0:
            continue
        h = np.uint64(0x811C9DC5)
        for j in range(user_start[i], user_end[i]):
            h = ((h ^ np.uint64(user_data[j])) * np.uint64(0x01000193)) & np.uint64(0xFFFFFFFF)
        to_user[row] = max(h, np.uint64(1))
        for j in range(_ID_DIGITS // 2):
            at = value_start[i] + _ID_AT + 2 * j
            to_id[row, j] = (_digit(value_data[at]) << 4) | _digit(value_data[at + 1])
        to_offset[row], to_ts[row], to_produced[row], to_topic[row] = offsets[i], ts[i], produced_ts, topic
        kind = 1 if cold[i] else 0
        to_model[row], to_rung[row] = names[kind, 0], names[kind, 1]
        size = 0
        for j in range(items.shape[1]):
            if items[i, j] >= 0:
                to_items[row, size], to_causes[row, size] = items[i, j], causes[i, j]
                to_scores[row, size], to_sources[row, size] = scores[i, j], sources[i, j]
                size += 1
        to_size[row] = size


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _digit(c):  # type: ignore[no-untyped-def]
    return c - 48 if c < 58 else c - 87

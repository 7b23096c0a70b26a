"""Which checkpoint a changelog record was written in: a header, so that recovery takes checkpoints as a whole.

Without a transaction a worker that dies in the middle of a checkpoint leaves some of its rows in the changelogs and
some not. State that was put together from both would be of two times. So checkpoints are numbered; each row names its
own and the latest that was completed before, and the number of the last one is committed beside the offsets. Rows of a
checkpoint that was never completed are passed over: state is always that of the committed offsets.

Numbers rise, whoever owns a partition: the upper half is the generation of the consumer group, or that of a row met in
a changelog if it is higher (the group was forgotten by the broker and began again at 1). So a row with a lower number
than one before it is of an owner that had been replaced by then, a worker that was paused: it is passed over too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_app.transport.builder import encode_headers
from topics.spans import Spans

__all__ = [
    "EVERY",
    "HeldBack",
    "OwnerGuard",
    "next_number",
    "number_beside",
    "stamp_headers",
    "stamps_of",
    "written_beside",
]

_NAME = "checkpoint"
_BYTES = 16
_ENCODED = encode_headers([(_NAME, bytes(_BYTES))])
_PREFIX = np.frombuffer(_ENCODED[:-_BYTES], np.uint8)

_GENERATION_BITS = 32

#: For a number that is not known, beside an offset that is: the embedded broker keeps nothing there, and somebody may
#: have set the offset by hand. Every row counts then.
EVERY = 2**63 - 1

Numbers = NDArray[np.int64]


def next_number(highest: int, generation: int) -> int:
    """The number of a checkpoint after `highest`, in a generation of the group."""
    return max(highest + 1, max(generation, 0) << _GENERATION_BITS)


def stamp_headers(number: int, completed: int, n: int) -> Spans:
    """Encoded headers for `n` records of checkpoint `number`, all over the same bytes. completed: the latest before."""
    stamp = number.to_bytes(8, "little") + completed.to_bytes(8, "little")
    data = np.frombuffer(_ENCODED[:-_BYTES] + stamp, np.uint8)
    return Spans(data, np.zeros(n, np.int64), np.full(n, len(data), np.int64))


def stamps_of(headers: Spans) -> tuple[Numbers, Numbers]:
    """Checkpoint of each record, and the latest that was completed before it, int64 [n] each; 0 where there is none."""
    out = np.zeros((len(headers.start), 2), np.int64)
    fits = np.flatnonzero(headers.end - headers.start == len(_ENCODED))
    if len(fits):
        raw = headers.data[headers.start[fits][:, None] + np.arange(len(_ENCODED))]
        named = (raw[:, : len(_PREFIX)] == _PREFIX).all(axis=1)
        out[fits[named]] = np.ascontiguousarray(raw[named, len(_PREFIX) :]).view("<i8").reshape(-1, 2)
    return out[:, 0], out[:, 1]


def written_beside(number: int, text: str) -> str:
    """What is committed beside an offset: the number of the checkpoint, and `text`."""
    return f"{number}:{text}"


def number_beside(metadata: str) -> tuple[int | None, str]:
    """Number and text of what was committed beside an offset; None where no number was."""
    head, colon, text = metadata.partition(":")
    return (int(head), text) if colon else (None, metadata)


class OwnerGuard:
    """The highest number met in one changelog partition, read in order."""

    def __init__(self) -> None:
        self.highest = 0

    def stale(self, numbers: Numbers) -> NDArray[np.bool_]:
        """Which of the next records, bool [n], were written by an owner that had been replaced by then."""
        if not len(numbers):
            return np.zeros(0, np.bool_)
        before = np.maximum.accumulate(np.concatenate(([self.highest], numbers)))
        self.highest = int(before[-1])
        return numbers < before[:-1]


class _Run(NamedTuple):
    """Neighbouring rows of one checkpoint."""

    number: int
    keys: Spans
    values: Spans


class HeldBack:
    """The latest rows of one changelog partition: those of checkpoints of which it is not known yet whether they were
    completed. A row of a later checkpoint tells it, and in the end what is committed beside the offsets."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        #: The latest checkpoint that a row says was completed.
        self.completed = 0

    def take(self, keys: Spans, values: Spans, stamps: tuple[Numbers, Numbers]) -> list[tuple[Spans, Spans]]:
        """Take the next rows, numbers never falling; what is known to be of completed checkpoints, in order."""
        numbers, completed = stamps
        if not len(numbers):
            return []
        self.completed = max(self.completed, int(completed.max()))
        ready = [(run.keys, run.values) for run in self._runs if run.number <= self.completed]
        self._runs = self._runs[len(ready) :]
        known = int(np.searchsorted(numbers, self.completed, side="right"))
        if known == len(numbers):
            return [*ready, (keys, values)]
        if known:
            ready.append((keys.take(np.arange(known)), values.take(np.arange(known))))
        starts = np.concatenate([[known], known + 1 + np.flatnonzero(np.diff(numbers[known:])), [len(numbers)]])
        for begin, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            part = np.arange(begin, end)
            whole = len(part) == len(numbers)
            self._runs.append(
                _Run(int(numbers[begin]), keys if whole else keys.take(part), values if whole else values.take(part))
            )
        return ready

    def settle(self, completed: int) -> tuple[list[tuple[Spans, Spans]], list[Spans]]:
        """All that is held: rows that count, in order, and keys of rows that do not.

        completed: the number of the latest checkpoint that was.
        """
        runs, self._runs = self._runs, []
        whole = [(run.keys, run.values) for run in runs if run.number <= completed]
        return whole, [run.keys for run in runs if run.number > completed]

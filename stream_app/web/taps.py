"""What is being published, for people who watch: a bounded sample of each topic, and nothing while nobody looks.

While nobody watches, the hot path asks one attribute a batch (`Outbox.tap`). While somebody does, a batch costs two
appends: its encoded rows are kept by reference, and whoever draws a frame decodes the few rows that it shows.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from topics.spans import Spans

__all__ = ["Published", "Taps"]

#: Bytes of buffers that a topic's sample may keep alive; the oldest batches go first.
MAX_BYTES = 4 << 20
#: Batches a topic's sample may hold.
MAX_BATCHES = 64


@dataclass(frozen=True, slots=True)
class Published:
    """What a topic got since it was last taken: how many records, and the latest `rows` of them at most, encoded."""

    records: int
    rows: list[bytes]


class _Sample:
    """The latest batches of one topic, bounded in batches and bytes. Written by the worker's loop, read by another."""

    def __init__(self, max_bytes: int, max_batches: int) -> None:
        self.batches: deque[Spans] = deque(maxlen=max_batches)
        self._max_bytes = max_bytes

    def add(self, values: Spans) -> None:
        self.batches.append(values)
        held = list(self.batches)  # in one step: the reader takes batches meanwhile
        size = sum(batch.data.nbytes for batch in held)
        # The latest is kept whatever its size: a sample of nothing would show a stream that stands still.
        for batch in held[:-1]:
            if size <= self._max_bytes:
                break
            size -= batch.data.nbytes
            with suppress(IndexError):
                self.batches.popleft()

    def take(self, n: int) -> list[bytes]:
        """Up to `n` rows, spread evenly over what there is, oldest first; what is left is dropped."""
        held = []
        while True:
            try:
                held.append(self.batches.popleft())
            except IndexError:
                break
        total = sum(len(batch) for batch in held)
        chosen = [total - 1 - int(k * total / min(n, total)) for k in range(min(n, total))][::-1] if total else []
        rows: list[bytes] = []
        first = 0
        for batch in held:
            while chosen and chosen[0] < first + len(batch):
                row = batch[chosen.pop(0) - first]
                if row is not None:
                    rows.append(row)
            first += len(batch)
        return rows


class Taps:
    """Samples of the topics `wanted` (names on the broker), attached to an outbox while `watch` is held.

    Counts records of every topic, and keeps rows of the wanted ones. One reader at a time.
    """

    def __init__(
        self, outbox: Any, wanted: set[str], *, max_bytes: int = MAX_BYTES, max_batches: int = MAX_BATCHES
    ) -> None:
        self._outbox = outbox
        self._samples = {topic: _Sample(max_bytes, max_batches) for topic in wanted}
        self._records: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._watchers = 0
        self._lock = threading.Lock()

    @property
    def watchers(self) -> int:
        """How many hold `watch`."""
        return self._watchers

    @contextmanager
    def watch(self) -> Iterator[None]:
        """The outbox is tapped while at least one holds this."""
        with self._lock:
            self._watchers += 1
            if self._watchers == 1:
                offer: Callable[[str, Spans], None] = self.offer
                self._outbox.tap = offer
        try:
            yield
        finally:
            with self._lock:
                self._watchers -= 1
                if not self._watchers:
                    self._outbox.tap = None
                    for sample in self._samples.values():
                        sample.batches.clear()

    def offer(self, topic: str, values: Spans) -> None:
        """Take note of a batch; called where it is queued."""
        self._records[topic] += len(values)
        sample = self._samples.get(topic)
        if sample is not None:
            sample.add(values)

    def take(self, topic: str, n: int) -> Published:
        """What `topic` got since the last call, with at most `n` of its rows."""
        records = self._records[topic]
        since, self._taken[topic] = records - self._taken[topic], records
        sample = self._samples.get(topic)
        return Published(since, sample.take(n) if sample is not None else [])

    def totals(self) -> dict[str, int]:
        """Records of each topic while watched, so far."""
        return dict(self._records)

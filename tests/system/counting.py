"""The standard job's input and truth: clicks counted by user and five-minute window, one output a click."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.system.kafka_io import Record

__all__ = ["PARTITIONS", "WINDOW_S", "Clicks", "Verdict", "judge"]

PARTITIONS = 4
WINDOW_S = 300


@dataclass
class Clicks:
    """Draws clicks and remembers the true counts. Users are log-uniform: a few hot ones, a long tail."""

    users: int = 2_000
    seed: int = 7
    step_s: float = 0.02
    hot: float = 0.0  # share of the events that belong to user 1
    truth: Counter[tuple[int, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)
        self._now = (int(time.time()) - 1800) // WINDOW_S * WINDOW_S
        self._drawn = 0

    def take(self, n: int) -> Iterator[Record]:
        """The next `n` clicks, in order of time."""
        for _ in range(n):
            user = 1 if self._draw.random() < self.hot else int(self.users ** self._draw.random())
            ts = round(self._now + self._drawn * self.step_s, 3)
            self._drawn += 1
            self.truth[user, int(ts // WINDOW_S) * WINDOW_S] += 1
            value = b'{"user_id":"u%d","item_id":"i%d","ts":%.3f}' % (user, self._draw.randrange(20_000), ts)
            yield Record(user % PARTITIONS, b"u%d" % user, value)


@dataclass(frozen=True)
class Verdict:
    """Outputs against the truth."""

    events: int
    outputs: int
    missing: int
    repeated: int
    wrong: int


def judge(truth: Counter[tuple[int, int]], outputs: Iterable[Record]) -> Verdict:
    """Each (user, window) must have the counts 1 .. n, each at least once; other counts are wrong."""
    seen: dict[tuple[int, int], set[int]] = {}
    repeated = total = 0
    for record in outputs:
        out = json.loads(record.value or b"")
        counts = seen.setdefault((int(out["user_id"].lstrip("u")), int(out["window_start"])), set())
        repeated += out["count"] in counts
        counts.add(out["count"])
        total += 1
    missing = sum(n - len(seen.get(key, set()) & set(range(1, n + 1))) for key, n in truth.items())
    wrong = sum(len(counts - set(range(1, truth.get(key, 0) + 1))) for key, counts in seen.items())
    return Verdict(sum(truth.values()), total, missing, repeated, wrong)

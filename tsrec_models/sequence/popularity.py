"""What is popular: of all time, of the last days, and with a half-life. Each learns from every event as it comes."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tsrec_models.base import ModelError
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.recent_items import RecentItems
from tsrec_models.sequence.topk import select_topk

__all__ = ["Popularity", "RecentPopularity", "Trending"]

_DAY_S = 86400.0

#: Half-lives after which the landmark moves: 2^400 is far from the largest float64, 2^1023.
_REBASE = 400.0


class _Counts(RecentItems):
    """Scores that are the same for every user; the state holds no more than the clock."""

    def __init__(self, n_items: int) -> None:
        super().__init__(n_items, 0)

    def counts(self, now: float | None = None) -> NDArray[np.float32]:
        """Score of every item [n_items] at `now`, epoch seconds (default: the latest event)."""
        raise NotImplementedError

    def update(self, items: ArrayLike, times: ArrayLike, weights: ArrayLike | None = None) -> None:
        """Count `items` [n] taken at `times` [n]."""
        raise NotImplementedError

    def learn(self, log: Log, rows: NDArray[np.int64]) -> None:
        """Take the events at `rows` of a log."""
        self.update(log.items[rows], log.times[rows])

    def top(self, k: int, now: float | None = None) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The `k` most popular items and scores, both [k], best first; -1 and -inf where fewer were ever taken."""
        scores = self.counts(now)
        ids, best = np.empty((1, k), np.int64), np.empty((1, k), np.float32)
        scores[scores <= 0] = -np.inf
        select_topk(scores[None], ids, best)
        return ids[0], best[0]

    def score_recent(self, recent: NDArray[np.int64], at: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.tile(self.counts(), (len(recent), 1))


class Popularity(_Counts):
    """How often each item was ever taken."""

    name: ClassVar[str] = "popularity"

    def __init__(self, n_items: int) -> None:
        super().__init__(n_items)
        self._counts = np.zeros(n_items)

    @classmethod
    def fit(cls, log: Log) -> Popularity:
        model = cls(log.n_items)
        model.learn(log, np.arange(len(log)))
        return model

    def update(self, items: ArrayLike, times: ArrayLike, weights: ArrayLike | None = None) -> None:
        items = np.asarray(items, dtype=np.int64)
        self._counts = _grown(self._counts, items)
        self.n_items = len(self._counts)
        np.add.at(self._counts, items, 1.0 if weights is None else np.asarray(weights, dtype=np.float64))

    def counts(self, now: float | None = None) -> NDArray[np.float32]:
        return self._counts.astype(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The counts, for an artifact."""
        return {"counts": self._counts}

    def config(self) -> dict[str, Any]:
        """Plain values."""
        return {"n_items": self.n_items}

    @classmethod
    def from_arrays(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], device: str = "auto") -> Self:
        """The model of an artifact; it counts on from there."""
        model = cls(config["n_items"])
        model._counts = arrays["counts"].copy()
        return model


class RecentPopularity(_Counts):
    """How often each item was taken within the last `window_s` seconds, told in `buckets` steps.

    A ring of bucketed counts: memory is buckets x items. An event older than the window counts nowhere. The window
    ends with the bucket of `now`, so it is between `window_s` - one bucket and `window_s` long. Where a log has no
    times its unit is the event, and `window_s` counts events.
    """

    name: ClassVar[str] = "popularity-7d"

    def __init__(self, n_items: int, window_s: float = 7 * _DAY_S, buckets: int = 56) -> None:
        super().__init__(n_items)
        if not window_s > 0 or buckets < 1:
            raise ModelError(f"recent popularity: window {window_s} s and {buckets} buckets must be positive")
        self.bucket_s = window_s / buckets
        self._ring = np.zeros((buckets, n_items))
        self._epochs = np.full(buckets, np.iinfo(np.int64).min)  # which bucket of time each row of the ring holds
        self.latest = -np.inf

    @classmethod
    def fit(cls, log: Log, window_s: float = 7 * _DAY_S) -> RecentPopularity:
        model = cls(log.n_items, window_s)
        model.learn(log, log.time_order())
        return model

    def update(self, items: ArrayLike, times: ArrayLike, weights: ArrayLike | None = None) -> None:
        items, times = np.asarray(items, dtype=np.int64), np.asarray(times, dtype=np.float64)
        if not len(items):
            return
        if items.max() >= self.n_items:
            wider = np.zeros((len(self._ring), int(items.max()) + 1))
            wider[:, : self.n_items] = self._ring
            self._ring, self.n_items = wider, wider.shape[1]
        self.latest = max(self.latest, float(times.max()))
        epochs = np.floor(times / self.bucket_s).astype(np.int64)
        amounts = np.ones(len(items)) if weights is None else np.asarray(weights, dtype=np.float64)
        for epoch in np.unique(epochs):
            place = epoch % len(self._ring)
            if epoch > self._epochs[place]:
                self._ring[place], self._epochs[place] = 0.0, epoch
            if epoch == self._epochs[place]:
                here = epochs == epoch
                np.add.at(self._ring[place], items[here], amounts[here])

    def counts(self, now: float | None = None) -> NDArray[np.float32]:
        if not np.isfinite(self.latest):
            return np.zeros(self.n_items, dtype=np.float32)
        last = int(np.floor((self.latest if now is None else now) / self.bucket_s))
        live = (self._epochs > last - len(self._ring)) & (self._epochs <= last)
        counts: NDArray[np.float32] = self._ring[live].sum(axis=0).astype(np.float32)
        return counts

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The ring of counts, for an artifact."""
        return {"ring": self._ring, "epochs": self._epochs, "latest": np.array([self.latest])}

    def config(self) -> dict[str, Any]:
        """Plain values."""
        buckets = len(self._ring)
        return {"n_items": self.n_items, "window_s": self.bucket_s * buckets, "buckets": buckets}

    @classmethod
    def from_arrays(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], device: str = "auto") -> Self:
        """The model of an artifact; it counts on from there."""
        model = cls(config["n_items"], config["window_s"], config["buckets"])
        model._ring, model._epochs = arrays["ring"].copy(), arrays["epochs"].copy()
        model.latest = float(arrays["latest"][0])
        return model


class Trending(_Counts):
    """Popularity that halves every `half_life_s` seconds, by forward decay: late events count what they should.

    The relative order of items does not change with time alone, so `counts` may be read at any time.
    """

    name: ClassVar[str] = "popularity-decayed"

    def __init__(self, n_items: int, half_life_s: float = 3 * _DAY_S) -> None:
        super().__init__(n_items)
        if not half_life_s > 0:
            raise ModelError(f"trending: half-life {half_life_s} s must be positive")
        self.half_life_s = half_life_s
        self._weights = np.zeros(n_items)
        self._landmark = np.nan
        self.latest = -np.inf

    @classmethod
    def fit(cls, log: Log, half_life_s: float = 3 * _DAY_S) -> Trending:
        model = cls(log.n_items, half_life_s)
        model.learn(log, log.time_order())
        return model

    def update(self, items: ArrayLike, times: ArrayLike, weights: ArrayLike | None = None) -> None:
        items, times = np.asarray(items, dtype=np.int64), np.asarray(times, dtype=np.float64)
        if not len(items):
            return
        self._weights = _grown(self._weights, items)
        self.n_items = len(self._weights)
        self.latest = max(self.latest, float(times.max()))
        if np.isnan(self._landmark):
            self._landmark = self.latest
        if (self.latest - self._landmark) / self.half_life_s > _REBASE:
            self._weights *= 2.0 ** ((self._landmark - self.latest) / self.half_life_s)
            self._landmark = self.latest
        gains = 2.0 ** ((times - self._landmark) / self.half_life_s)
        np.add.at(self._weights, items, gains if weights is None else gains * np.asarray(weights, dtype=np.float64))

    def counts(self, now: float | None = None) -> NDArray[np.float32]:
        if np.isnan(self._landmark):
            return np.zeros(self.n_items, dtype=np.float32)
        age = ((self.latest if now is None else now) - self._landmark) / self.half_life_s
        counts: NDArray[np.float32] = (self._weights * 2.0**-age).astype(np.float32)
        return counts

    def export_rows(self, rows: ArrayLike) -> tuple[NDArray[np.float64], float]:
        """Weights [rows] of some items and the landmark they are as of, for a changelog."""
        return self._weights[np.asarray(rows, dtype=np.int64)], self._landmark

    def import_rows(self, rows: ArrayLike, weights: NDArray[np.float64], landmark: float) -> None:
        """Put exported weights back, whatever landmark each export had."""
        index = np.asarray(rows, dtype=np.int64)
        if not len(index):
            return
        self._weights = _grown(self._weights, index)
        self.n_items = len(self._weights)
        if np.isnan(self._landmark):
            self._landmark = landmark
        if landmark > self._landmark:
            self._weights *= 2.0 ** ((self._landmark - landmark) / self.half_life_s)
            self._landmark = landmark
        self._weights[index] = weights * 2.0 ** ((landmark - self._landmark) / self.half_life_s)
        self.latest = max(self.latest, landmark)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights and what they are as of, for an artifact."""
        return {"weights": self._weights, "landmark": np.array([self._landmark, self.latest])}

    def config(self) -> dict[str, Any]:
        """Plain values."""
        return {"n_items": self.n_items, "half_life_s": self.half_life_s}

    @classmethod
    def from_arrays(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], device: str = "auto") -> Self:
        """The model of an artifact; it counts on from there."""
        model = cls(config["n_items"], config["half_life_s"])
        model._weights = arrays["weights"].copy()
        model._landmark, model.latest = (float(value) for value in arrays["landmark"])
        return model


def _grown(counts: NDArray[np.float64], items: NDArray[np.int64]) -> NDArray[np.float64]:
    """`counts` with room for `items`."""
    need = int(items.max(initial=-1)) + 1
    return counts if need <= len(counts) else np.concatenate([counts, np.zeros(need - len(counts))])

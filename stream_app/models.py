"""The model that answers: loaded from an artifact, swapped while the stream runs, mapped to the process's items."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream_app.errors import UsageError
from stream_app.items import ItemIndex
from topics.spans import Spans
from tsrec_models.artifacts import Artifact, load_artifact
from tsrec_models.sequence.content import ContentMap, item_content
from tsrec_models.sequence.rules import EMPTY
from tsrec_models.sequence.topk import exclude_scores, pack_ragged, select_topk

__all__ = ["LiveModel", "NewItems", "check_width", "of_one_model"]

#: Items of the catalog that a model scores by their features at most; the latest to come count.
MOST_NEW_ITEMS = 20_000

#: Items with features that the map to vectors is fitted on at most: some seconds of one core.
_MOST_FITTED = 6_000


@dataclass(frozen=True)
class NewItems:
    """Items that the model was not trained on: their indices in the process [items], and vectors [d, items]."""

    indices: NDArray[np.int64]
    vectors: NDArray[np.float32]


class LiveModel:
    """A neural recommender in the process's item indices.

    version, created (seconds of the epoch), manifest: of the artifact. code: uint32, what a user's row says it was
    stepped with; a row of another code is encoded anew from the user's ring. new_items: scored beside the model's own;
    replaced as a whole.
    """

    def __init__(self, artifact: Artifact, items: ItemIndex) -> None:
        self.model: Any = artifact.model
        self.manifest = artifact.manifest
        self.version = artifact.manifest.version
        self.created = artifact.manifest.created
        self.code = np.uint32(zlib.crc32(artifact.manifest.content_hash.encode()) or 1)
        self.neural_weight = float(artifact.manifest.settings.get("neural_weight", 0.5))
        self.state_width: int = self.model.state_width
        self.new_items: NewItems | None = None
        self.content: ContentMap | None = None
        self._items = items
        self._index = items.index(Spans.of([item.encode() for item in artifact.item_ids]))
        self._item = np.full(0, EMPTY, np.int64)
        self._vectors = np.empty((0, 0), np.float32)

    @classmethod
    def load(cls, folder: Path, items: ItemIndex, *, device: str, max_state_width: int) -> LiveModel:
        """Load an artifact.

        Raises:
            UsageError: its state is wider than the column that users' rows have for it.
            ArtifactError: it is missing or damaged.
        """
        artifact = load_artifact(folder, device=device)
        check_width(artifact, folder, max_state_width)
        return cls(artifact, items)

    def to_model(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Indices of the process as the model's items, EMPTY where it has none; any shape."""
        if len(self._item) < len(self._items):
            # Built aside and put in place whole: the inference thread asks too.
            grown = np.full(len(self._items) + 1024, EMPTY, np.int64)
            grown[self._index] = np.arange(len(self._index))
            self._item = grown
        return np.where(indices >= 0, self._item[indices], EMPTY)

    def to_indices(self, model_items: NDArray[np.int64]) -> NDArray[np.int64]:
        """The model's items as indices of the process, padding as it is; any shape."""
        return np.where(model_items >= 0, self._index[model_items], EMPTY)

    def topk(
        self, state: NDArray[np.float32], k: int, seen: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The `k` best items as indices of the process, and scores, both [batch, k], without `seen` [batch, any]."""
        ids, scores = self.model.topk(state, k, list(self.to_model(seen)))
        ids = self.to_indices(ids)
        new = self.new_items
        if new is None or not len(new.indices):
            return ids, scores
        more = np.ascontiguousarray(self.model.queries(state) @ new.vectors)
        place = np.full(len(self._items) + 1, EMPTY, np.int64)
        place[new.indices] = np.arange(len(new.indices))
        exclude_scores(more, 0, *pack_ragged(list(place[seen])))
        best = np.full((len(state), min(k, len(new.indices))), EMPTY, np.int64)
        best_scores = np.empty(best.shape, np.float32)
        select_topk(more, best, best_scores)
        both = np.concatenate([ids, np.where(best >= 0, new.indices[best], EMPTY)], axis=1)
        both_scores = np.concatenate([scores, best_scores], axis=1)
        order = np.argsort(-both_scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(both, order, axis=1), np.take_along_axis(both_scores, order, axis=1)

    def encode(self, histories: list[NDArray[np.int64]], times: list[NDArray[np.float64]]) -> NDArray[np.float32]:
        """States of histories in indices of the process; items that the model does not know leave a state as it is."""
        own = [self.to_model(history) for history in histories]
        known = [items >= 0 for items in own]
        state: NDArray[np.float32] = self.model.encode(
            [items[keep] for items, keep in zip(own, known, strict=True)],
            [stamps[keep] for stamps, keep in zip(times, known, strict=True)],
        )
        return state

    def vectors(self) -> NDArray[np.float32]:
        """Vectors of all items by index of the process [items, d], without bias; zeros where the model has none."""
        if len(self._vectors) < len(self._items):
            own = self.model.item_vectors()[:, :-1]
            grown = np.zeros((len(self._items) + 1024, own.shape[1]), np.float32)
            grown[self._index] = own
            self._vectors = grown
        return self._vectors

    # -- items it was not trained on

    def describe(self) -> Callable[[], tuple[ContentMap | None, NewItems | None]]:
        """Copies of what the catalog says, and the work, for any thread, that makes vectors of it."""
        items = self._items
        known = items.known_to_catalog()
        own = self.to_model(known)
        new = known[own < 0][-MOST_NEW_ITEMS:]
        trained = known[own >= 0]
        if len(trained) > _MOST_FITTED:
            trained = np.sort(np.random.default_rng(0).choice(trained, _MOST_FITTED, replace=False))
        fitted = self.content
        if not hasattr(self.model, "queries") or not len(new) or (fitted is None and len(trained) < 50):
            return lambda: (fitted, None)
        told_new = _told(items, new)
        told = _told(items, trained) if fitted is None else None
        targets = self.model.item_vectors()[self.to_model(trained)]

        def work() -> tuple[ContentMap | None, NewItems | None]:
            content = fitted if told is None else ContentMap.fit(item_content(*told), targets)
            assert content is not None
            features = item_content(*told_new)
            return content, NewItems(new, np.ascontiguousarray(content.vectors(features).T))

        return work


def _told(items: ItemIndex, rows: NDArray[np.int64]) -> tuple[list[str | None], list[str | None], list[float | None]]:
    places = rows.tolist()
    return (
        [items.titles.get(i) for i in places],
        [items.category_of(i) for i in places],
        [items.price(i) for i in places],
    )


def check_width(artifact: Artifact, folder: Path, max_state_width: int) -> None:
    """Refuse a model whose state does not fit into users' rows.

    Raises:
        UsageError: says what to set.
    """
    width = artifact.model.state_width
    if width > max_state_width:
        raise UsageError(
            f"{folder}: its state takes {width} floats a user, rows have {max_state_width}; set "
            f"TSREC_HIDDEN_WIDTH={width} and give the group a new name (its changelog differs)"
        )


class _Prepared(Protocol):
    """What was prepared with a model, or with none."""

    live: LiveModel | None


_Request = TypeVar("_Request", bound=_Prepared)


def of_one_model(requests: Sequence[_Request]) -> list[list[_Request]]:
    """Neighbours that were prepared with the same model: another may have been swapped in between."""
    groups: list[list[_Request]] = []
    for request in requests:
        if groups and groups[-1][0].live is request.live:
            groups[-1].append(request)
        else:
            groups.append([request])
    return groups

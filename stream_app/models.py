"""The model that answers: loaded from an artifact, swapped while the stream runs, mapped to the process's items."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_app.errors import UsageError
from stream_app.items import ItemIndex
from topics.spans import Spans
from tsrec_models.artifacts import Artifact, load_artifact
from tsrec_models.sequence.rules import EMPTY

__all__ = ["LiveModel"]


class LiveModel:
    """A neural recommender in the process's item indices.

    version, created (seconds of the epoch): of the artifact, for decisions and metrics. code: uint32, what a user's row
    says it was stepped with; a row of another code is encoded anew from the user's ring.
    """

    def __init__(self, artifact: Artifact, items: ItemIndex) -> None:
        self.model: Any = artifact.model
        self.version = artifact.manifest.version
        self.created = artifact.manifest.created
        self.code = np.uint32(zlib.crc32(artifact.manifest.content_hash.encode()) or 1)
        self.neural_weight = float(artifact.manifest.settings.get("neural_weight", 0.5))
        self.state_width: int = self.model.state_width
        self._items = items
        self._index = items.index(Spans.of([item.encode() for item in artifact.item_ids]))
        self._item = np.full(0, EMPTY, np.int64)

    @classmethod
    def load(cls, folder: Path, items: ItemIndex, *, device: str, max_state_width: int) -> LiveModel:
        """Load an artifact.

        Raises:
            UsageError: its state is wider than the column that users' rows have for it.
            ArtifactError: it is missing or damaged.
        """
        model = cls(load_artifact(folder, device=device), items)
        if model.state_width > max_state_width:
            raise UsageError(
                f"{folder}: its state takes {model.state_width} floats a user, rows have {max_state_width}; "
                f"set TSREC_HIDDEN_WIDTH={model.state_width} and give the group a new name (its changelog differs)"
            )
        return model

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

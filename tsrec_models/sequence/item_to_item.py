"""Item-to-item: what the same users took, by cosine of the items' users (Linden, Smith, York 2003; Sarwar 2001)."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tsrec_models.preparation.log import Log
from tsrec_models.sequence.recent_items import RecentItems

__all__ = ["ItemToItem"]

#: Rows of the similarity matrix computed at once.
_BLOCK = 2048


class ItemToItem(RecentItems):
    """Sums the similarities of the latest items to all others.

    similarity(a, b) = users of both / (users of a x users of b)^`damping`: 0.5 is the cosine, 0 plain co-occurrence.
    Each item keeps its `neighbours` most similar ones. Users with more than `longest` items count with their latest.
    """

    name: ClassVar[str] = "item-to-item"

    def __init__(self, similarity: sparse.csr_array, width: int = 20) -> None:
        super().__init__(similarity.shape[0], width)
        self.similarity = similarity

    @classmethod
    def fit(
        cls, log: Log, *, damping: float = 0.5, neighbours: int = 200, longest: int = 500, width: int = 20
    ) -> ItemToItem:
        recent = np.arange(len(log)) >= log.indptr[log.users + 1] - longest
        taken = sparse.csr_array(
            (np.ones(int(recent.sum()), dtype=np.float32), (log.users[recent], log.items[recent])),
            shape=(log.n_users, log.n_items),
        )
        taken.data[:] = 1.0  # duplicates were summed: a user who took an item twice is one user
        degree = np.maximum(np.asarray(taken.sum(axis=0)).ravel(), 1.0) ** -damping
        taken = sparse.csr_array(taken * degree[None, :].astype(np.float32)) if damping else taken
        users_of = sparse.csr_array(taken.T)
        blocks = [
            _strongest(sparse.csr_array(users_of[start : start + _BLOCK] @ taken), start, neighbours)
            for start in range(0, log.n_items, _BLOCK)
        ]
        similarity = sparse.csr_array(sparse.vstack(blocks)) if blocks else sparse.csr_array((0, 0), dtype=np.float32)
        return cls(similarity, width)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The similarities, for an artifact."""
        return {
            "data": self.similarity.data,
            "indices": self.similarity.indices.astype(np.int64),
            "indptr": self.similarity.indptr.astype(np.int64),
        }

    def config(self) -> dict[str, Any]:
        """Plain values."""
        return {"n_items": self.n_items, "width": self.width}

    @classmethod
    def from_arrays(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], device: str = "auto") -> Self:
        """The model of an artifact."""
        shape = (config["n_items"], config["n_items"])
        similarity = sparse.csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
        return cls(similarity, config["width"])

    def score_recent(self, recent: NDArray[np.int64], at: NDArray[np.float64]) -> NDArray[np.float32]:
        rows, columns = np.nonzero((recent >= 0) & (recent < self.n_items))
        query = sparse.csr_array(
            (np.ones(len(rows), dtype=np.float32), (rows, recent[rows, columns])), shape=(len(recent), self.n_items)
        )
        scores: NDArray[np.float32] = (query @ self.similarity).toarray()
        return scores


def _strongest(block: sparse.csr_array, first: int, k: int) -> sparse.csr_array:
    """The `k` largest entries of each row, without the item itself (item `first + row`)."""
    keep = np.zeros(block.nnz, dtype=np.bool_)
    for row in range(block.shape[0]):
        start, stop = block.indptr[row], block.indptr[row + 1]
        values = np.where(block.indices[start:stop] == first + row, -1.0, block.data[start:stop])
        best = np.argpartition(-values, k)[:k] if len(values) > k else np.arange(len(values))
        keep[start + best[values[best] > 0]] = True
    rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    return sparse.csr_array((block.data[keep], (rows[keep], block.indices[keep])), shape=block.shape)

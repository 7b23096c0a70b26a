"""Bootstrap intervals of means over users: users are drawn, with all their questions, not questions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["bootstrap_difference", "bootstrap_means"]

#: Weights drawn at once: some forty megabytes.
_CELLS = 5_000_000


def bootstrap_means(
    values: NDArray[np.float64], users: NDArray[np.int64], *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> NDArray[np.float64]:
    """Percentile interval of the mean of each column of `values` [rows, m]: [m, 2] (Efron 1979).

    Rows of one user stand or fall together, as they are not independent.
    """
    means = _draw(values, users, draws, seed)
    tail = 100 * (1 - level) / 2
    return np.percentile(means, [tail, 100 - tail], axis=0).T


def bootstrap_difference(
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    users: NDArray[np.int64],
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of the mean of `ours` - `theirs` [rows], the same questions asked of two models."""
    low, high = bootstrap_means((ours - theirs)[:, None], users, level=level, draws=draws, seed=seed)[0]
    return float(low), float(high)


def _draw(values: NDArray[np.float64], users: NDArray[np.int64], draws: int, seed: int) -> NDArray[np.float64]:
    _, user = np.unique(users, return_inverse=True)
    n_users = int(user.max()) + 1
    sums = np.stack([np.bincount(user, column, n_users) for column in values.T], axis=1)
    sizes = np.bincount(user, minlength=n_users).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty((draws, values.shape[1]))
    block = max(1, _CELLS // n_users)
    for first in range(0, draws, block):
        n = min(block, draws - first)
        drawn = rng.integers(0, n_users, (n, n_users)) + np.arange(n)[:, None] * n_users
        weights = np.bincount(drawn.ravel(), minlength=n * n_users).reshape(n, n_users)
        means[first : first + n] = (weights @ sums) / (weights @ sizes)[:, None]
    return means

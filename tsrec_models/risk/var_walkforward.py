"""Value at risk of a price history, one step ahead, every parameter and quantile from the past alone.

The models of `var_models` are fitted again every `refit` days on all returns so far; the volatility forecast is the
geometric mean of theirs; its residuals of the last `window` days are the distribution of the next return, as in the
stream (`fhs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.risk.fhs import tail_quantile, tail_shortfall
from tsrec_models.risk.var_models import fit, volatility

__all__ = ["WalkForward", "walk_forward"]


@dataclass(frozen=True)
class WalkForward:
    """Forecasts for returns warmup .. n - 1, positive fractions of log return; [days] or [days, levels]."""

    returns: NDArray[np.float64]
    volatility: NDArray[np.float64]
    var: NDArray[np.float64]
    es: NDArray[np.float64]
    levels: tuple[float, ...]


def walk_forward(
    returns: NDArray[np.float64],
    levels: Sequence[float],
    warmup: int = 1000,
    window: int = 500,
    refit: int = 40,
    models: Sequence[str] = ("gjr", "path"),
) -> WalkForward:
    """Forecast each of `returns` [n] (log returns, oldest first) after the first `warmup` from those before it.

    Raises ModelError when warm-up leaves nothing to test, or is too short for a level's quantile.
    """
    n = len(returns)
    if n <= warmup:
        raise ModelError(f"{n} returns leave nothing to test after {warmup} of warm-up: give a longer series")
    for level in levels:
        if min(warmup, window) + 1 < 1.0 / (1.0 - level) - 1e-9:
            raise ModelError(f"{min(warmup, window)} residuals have no {level:g} quantile: lengthen the warm-up")
    scale = float(np.std(returns[:warmup]))
    if not scale > 0.0:
        raise ModelError("the price does not move during warm-up: there is no volatility to estimate")
    scaled = np.ascontiguousarray(returns, np.float64) / scale
    logs, means = np.zeros(n), np.zeros(n)
    for model in models:
        raw = None
        for at in range(warmup, n, refit):
            end = min(at + refit, n)
            raw = fit(model, scaled[:at], raw)
            sigma, _ = volatility(model, raw, scaled[: end - 1], float(np.var(scaled[:at])))
            begin = 0 if at == warmup else at  # residuals of the warm-up are those of the first fit
            logs[begin:end] += np.log(sigma[begin:end]) / len(models)
            means[begin:end] += raw[0] / len(models)
    sigma = np.exp(logs)
    residuals = (scaled - means) / sigma
    var, es = np.empty((n - warmup, len(levels))), np.empty((n - warmup, len(levels)))
    for day in range(warmup, n):
        ordered = np.sort(residuals[max(day - window, 0) : day])
        for j, level in enumerate(levels):
            var[day - warmup, j] = -(means[day] + sigma[day] * tail_quantile(ordered, 1.0 - level))
            es[day - warmup, j] = -(means[day] + sigma[day] * tail_shortfall(ordered, 1.0 - level))
    return WalkForward(returns[warmup:], scale * sigma[warmup:], scale * var, scale * es, tuple(levels))

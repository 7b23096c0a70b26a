"""Intervals of young series, simulated: what a fit hides, what the two constants of the interval cost, and chance.

    python bench/arima_young.py

1. `fit`: mean |error| of the first five values after a fit against that of the fit's own, and what Akaike's final
   prediction error expects (`conformal_kernel.too_small`).
2. `constants`: groups of six series that move together (correlation one half; constant, wandering, switching and
   falling volatility; normal and heavy tails), 131 values of which 33 are warm-up, and 520 of which 130 are: by step
   of q and weight of a new score in m, how far a quarter's share of hits (pooled over a group) is off .9, root mean
   square, and the width against that of the settings used before (0.3, 0.04).
3. `chance`: how far quarters are off for the settings in use and for intervals of the true scale and quantile (perfect,
   and yet they hit by chance), and how often all four quarters of a group lie within 88 to 92 %.

JSON lines; about a minute.
"""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from tsrec_models.arima.conformal import RATE, AdaptiveIntervals
from tsrec_models.arima.conformal_kernel import VOLATILITY_WEIGHT, too_small
from tsrec_models.arima.estimate import Estimates, estimate
from tsrec_models.arima.order import Order

Floats = NDArray[np.float64]

LEVEL, GROUP = 0.9, 6
BEFORE = (0.3, 0.04)
GRID = [(rate, weight) for rate in (0.2, 0.3, 0.5, 0.7) for weight in (0.04, 0.08, 0.12)]


def volatility(kind: str, n: int, groups: int, rng: np.random.Generator) -> Floats:
    """[n, groups]."""
    if kind == "wandering":
        x = np.zeros((n, groups))
        for t in range(1, n):
            x[t] = 0.97 * x[t - 1] + 0.2 * rng.normal(size=groups)
        return np.exp(x)
    if kind == "switching":
        return np.where((rng.random((n, groups)) < 0.02).cumsum(axis=0) % 2 == 0, 0.7, 2.0)
    if kind == "falling":
        return np.repeat(np.where(np.arange(n) < 0.6 * n, 1.0, 0.4)[:, None], groups, axis=1)
    return np.ones((n, groups))


def walks(kind: str, tails: str, n: int, groups: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Random walks [n, groups * GROUP], and how many true standard deviations each step was."""

    def draw(*shape: int) -> Floats:
        return rng.normal(size=shape) if tails == "normal" else rng.standard_t(4, size=shape) / np.sqrt(2.0)

    z = np.sqrt(0.5) * (draw(n, groups, 1) + draw(n, groups, GROUP))
    steps = volatility(kind, n, groups, rng)[:, :, None] * z
    return steps.cumsum(axis=0).reshape(n, -1), z.reshape(n, -1)


def scores(y: Floats, warmup: int, order: Order | None = None) -> tuple[Floats, Estimates]:
    """|error| / sd [n, series] one step ahead, by models fitted on the first `warmup` values."""
    fits = estimate([y[:warmup, i] for i in range(y.shape[1])], order)
    out = np.full(y.shape, np.nan)
    for rows in fits.alike():
        out[:, rows] = np.abs(fits.take(rows).bank().filter(y[:, rows]).standardised)
    return out, fits


def plain_loop(s: Floats, warmup: int, fits: Estimates, rate: float, weight: float) -> tuple[Floats, Floats]:
    """Hits and half widths [n - warmup, series] of the interval of `conformal`, with constants of one's own."""
    past, later = s[:warmup], s[warmup:]
    count = np.isfinite(past).sum(axis=0)
    m = np.nanmean(past, axis=0)
    ratios = np.full(past.shape, np.nan)
    for t, score in enumerate(past):
        ratios[t] = score / m
        m = np.where(np.isfinite(score), m + weight * (score - m), m)
    rank = np.minimum(np.ceil((count + 1) * LEVEL) - 1, count - 1).astype(int)
    q = np.sort(ratios, axis=0)[rank, np.arange(s.shape[1])]
    m *= [too_small(int(n), k) for n, k in zip(count, fits.n_coefficients(), strict=True)]
    hits, half = np.empty(later.shape), np.empty(later.shape)
    for t, score in enumerate(later):
        half[t] = q * m
        hits[t] = score <= half[t]
        q = np.maximum(q + rate * ((1.0 - hits[t]) - (1.0 - LEVEL)), 1e-3)
        m = m + weight * (score - m)
    return hits, half


def as_in_use(s: Floats, warmup: int, fits: Estimates) -> Floats:
    """Hits of the real intervals; they are those of the plain loop, or this bench compares something else."""
    intervals = AdaptiveIntervals(s.shape[1], level=LEVEL)
    intervals.calibrate(s[:warmup, :, None], coefficients=fits.n_coefficients())
    ones = np.ones((s.shape[1], 1))
    hits = np.stack([intervals.observe(score[:, None], ones)[:, 0] for score in s[warmup:]])
    np.testing.assert_array_equal(hits, plain_loop(s, warmup, fits, RATE, VOLATILITY_WEIGHT)[0])
    return hits


def pooled(hits: Floats) -> Floats:
    """Share of hits of each quarter and group: [4, groups]."""
    return np.stack([part.mean(axis=0).reshape(-1, GROUP).mean(axis=1) for part in np.array_split(hits, 4)])


def fit_hides(rng: np.random.Generator) -> None:
    for n in (30, 60, 120):
        white = rng.normal(size=(n + 5, 300))
        auto = {"white noise": white, "random walk": white.cumsum(axis=0)}
        cases: list[tuple[str, Floats, Order | None]] = [(name, y, None) for name, y in auto.items()]
        cases.append(("white noise, order (1,0,1)", white, Order(1, 0, 1)))
        for name, y, order in cases:
            s, fits = scores(y, n, order)
            expected = np.mean([too_small(n, k) for k in fits.n_coefficients()])
            seen = np.nanmean(s[n:]) / np.nanmean(s[:n])
            line = {"part": "fit", "series": name, "values": n, "ratio": round(float(seen), 3)}
            print(json.dumps({**line, "expected": round(float(expected), 3)}), flush=True)


def main() -> None:
    rng = np.random.default_rng(5)
    fit_hides(rng)
    for n, warmup, groups in ((131, 33, 100), (520, 130, 40)):
        spread: dict[tuple[float, float], list[float]] = {pair: [] for pair in GRID}
        width: dict[tuple[float, float], list[float]] = {pair: [] for pair in GRID}
        mean: dict[tuple[float, float], list[Floats]] = {pair: [] for pair in GRID}
        chance: dict[str, list[Floats]] = {"in use": [], "perfect": []}
        for kind in ("constant", "wandering", "switching", "falling"):
            for tails in ("normal", "heavy"):
                y, z = walks(kind, tails, n, groups, rng)
                s, fits = scores(y, warmup)
                base = plain_loop(s, warmup, fits, *BEFORE)[1].mean(axis=0)
                for pair in GRID:
                    hits, half = plain_loop(s, warmup, fits, *pair)
                    quarters = pooled(hits)
                    mean[pair].append(quarters.mean(axis=1))
                    spread[pair].append(float(np.sqrt(np.mean((quarters - LEVEL) ** 2))))
                    width[pair].append(float(np.median(half.mean(axis=0) / base)))
                chance["in use"].append(pooled(as_in_use(s, warmup, fits)))
                perfect = np.abs(z[warmup:]) <= np.quantile(np.abs(z), LEVEL)
                chance["perfect"].append(pooled(perfect.astype(np.float64)))
        for pair in GRID:
            line = {"part": "constants", "values": n, "rate": pair[0], "weight": pair[1]}
            line |= {"quarter_off": round(float(np.mean(spread[pair])), 4)}
            line |= {"width": round(float(np.mean(width[pair])), 3)}
            line |= {"quarters": np.mean(mean[pair], axis=0).round(3).tolist()}
            print(json.dumps(line), flush=True)
        for name, found in chance.items():
            quarters = np.concatenate(found, axis=1)
            inside = (quarters >= 0.88) & (quarters <= 0.92)
            line = {"part": "chance", "values": n, "series": GROUP, "intervals": name}
            line |= {"quarter_off": round(float(np.sqrt(np.mean((quarters - LEVEL) ** 2))), 4)}
            line |= {"quarter_in_88_92": round(float(inside.mean()), 3)}
            print(json.dumps({**line, "all_four_in_88_92": round(float(inside.all(axis=0).mean()), 3)}), flush=True)


if __name__ == "__main__":
    main()

"""Two volatility models with Student t likelihoods, fast enough to be fitted again every few weeks of a long history.

* `gjr`: variance' = omega + (alpha + gamma [e < 0]) e^2 + beta variance.
* `path`: volatility = b0 - b1 R1 + b2 sqrt(R2), where R1 is a weighted mean of past innovations (the trend: falling
  markets are volatile) and R2 of past squared innovations, each a mixture of a fast and a slow exponential kernel
  (Guyon and Lekeufack 2023, "Volatility is (mostly) path-dependent", the four-factor Markovian form).

Their mistakes differ: the geometric mean of both forecasts beats each of them. Parameters are raw (unconstrained);
the weak Gaussian prior, of unit width around the literature's values, keeps a short history from running off.
Returns are divided by a fixed scale first, so that one prior serves an index, a share and a coin.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import minimize

from tsrec_models.base import ModelError

__all__ = ["MODELS", "PRIORS", "fit", "volatility"]


def _logit(x: float) -> float:
    return math.log(x / (1.0 - x))


#: Centre of the prior, and where the first fit starts. A return's scale is 1 here.
PRIORS: dict[str, NDArray[np.float64]] = {
    # mu, log omega, sqrt alpha, sqrt gamma, logit beta, log (degrees of freedom - 2.05)
    "gjr": np.array([0.03, math.log(0.02), math.sqrt(0.03), math.sqrt(0.1), _logit(0.9), math.log(6.0)]),
    # mu, log b0, log b1, log b2, logit decay of R1 fast and slow, of R2 fast and slow,
    # logit weight of the slow kernel in R1 and in R2, log (degrees of freedom - 2.05)
    "path": np.array(
        [
            *(0.03, math.log(0.1), math.log(0.8), math.log(0.75)),
            *(_logit(0.85), _logit(0.98), _logit(0.85), _logit(0.985)),
            *(_logit(0.3), _logit(0.5), math.log(8.0)),
        ]
    ),
}


_OUTSIDE = 1e10  # where the variance would not revert, as a number the optimiser can stand


@njit(cache=True)
def _loss(z, sigma, dof, constant):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Minus the log density of a return of residual `z` (unit variance) and volatility `sigma`."""
    return 0.5 * (dof + 1.0) * math.log1p(z * z / (dof - 2.0)) + math.log(sigma) - constant


@njit(cache=True)
def _constant(dof):  # type: ignore[no-untyped-def]  # pragma: no cover
    return math.lgamma(0.5 * (dof + 1.0)) - math.lgamma(0.5 * dof) - 0.5 * math.log(math.pi * (dof - 2.0))


@njit(cache=True)
def _sigmoid(x):  # type: ignore[no-untyped-def]  # pragma: no cover
    return 1.0 / (1.0 + math.exp(-x))


@njit(cache=True)
def _gjr(raw, returns, start, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Volatilities into `out` [n + 1]; returns minus the log likelihood."""
    mu, omega, alpha, gamma = raw[0], math.exp(raw[1]), raw[2] ** 2, raw[3] ** 2
    beta, dof = _sigmoid(raw[4]), 2.05 + math.exp(raw[5])
    if alpha + 0.5 * gamma + beta >= 0.9999:
        return np.inf
    constant, variance, total = _constant(dof), start, 0.0
    for t in range(len(returns)):
        sigma = math.sqrt(variance)
        out[t] = sigma
        e = returns[t] - mu
        total += _loss(e / sigma, sigma, dof, constant)
        variance = omega + (alpha + gamma if e < 0.0 else alpha) * e * e + beta * variance
    out[len(returns)] = math.sqrt(variance)
    return total


@njit(cache=True)
def _path(raw, returns, start, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Volatilities into `out` [n + 1]; returns minus the log likelihood."""
    mu, b0, b1, b2 = raw[0], math.exp(raw[1]), math.exp(raw[2]), math.exp(raw[3])
    trend_fast, trend_slow, size_fast, size_slow = (
        _sigmoid(raw[4]), _sigmoid(raw[5]), _sigmoid(raw[6]), _sigmoid(raw[7])
    )  # fmt: skip
    trend_weight, size_weight, dof = _sigmoid(raw[8]), _sigmoid(raw[9]), 2.05 + math.exp(raw[10])
    constant, total = _constant(dof), 0.0
    r1_fast, r1_slow, r2_fast, r2_slow = 0.0, 0.0, start, start
    floor = 0.1 * math.sqrt(start)
    for t in range(len(returns) + 1):
        trend = (1.0 - trend_weight) * r1_fast + trend_weight * r1_slow
        sigma = b0 - b1 * trend + b2 * math.sqrt((1.0 - size_weight) * r2_fast + size_weight * r2_slow)
        if sigma < floor:  # a steep rise must not make volatility negative; smooth, so that the optimiser sees it
            sigma = floor * math.exp(max(sigma / floor - 1.0, -3.0))
        out[t] = sigma
        if t == len(returns):
            break
        e = returns[t] - mu
        total += _loss(e / sigma, sigma, dof, constant)
        r1_fast = trend_fast * r1_fast + (1.0 - trend_fast) * e
        r1_slow = trend_slow * r1_slow + (1.0 - trend_slow) * e
        r2_fast = size_fast * r2_fast + (1.0 - size_fast) * e * e
        r2_slow = size_slow * r2_slow + (1.0 - size_slow) * e * e
    return total


#: (raw, returns, starting variance, out) -> minus log likelihood.
MODELS: dict[str, Callable[..., Any]] = {"gjr": _gjr, "path": _path}


def volatility(
    model: str, raw: NDArray[np.float64], returns: NDArray[np.float64], start: float
) -> tuple[NDArray[np.float64], float]:
    """One-step volatilities [n + 1] (entry t is known before return t) and minus the log likelihood."""
    out = np.empty(len(returns) + 1)
    loss = float(MODELS[model](raw, returns, start, out))
    return out, loss


def fit(model: str, returns: NDArray[np.float64], begin: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Raw parameters of highest posterior density for `returns` [n], scaled to about unit variance.

    `begin` is where to start: the parameters of the last fit. Raises ModelError when no finite likelihood is found.
    """
    centre = PRIORS[model]
    kernel = MODELS[model]
    start = float(np.var(returns))
    if not start > 0.0:
        raise ModelError("the returns do not vary: a price that stands still has no volatility to estimate")
    scratch = np.empty(len(returns) + 1)

    best, least = centre, math.inf

    def objective(raw: NDArray[np.float64]) -> float:
        nonlocal best, least
        loss = float(kernel(raw, returns, start, scratch)) + 0.5 * float(np.sum((raw - centre) ** 2))
        if loss < least:
            best, least = raw.copy(), loss
        return loss if math.isfinite(loss) else _OUTSIDE

    def gradient(raw: NDArray[np.float64]) -> NDArray[np.float64]:
        slopes = np.empty(len(raw))
        for i in range(len(raw)):
            step = 1e-5 * (1.0 + abs(raw[i]))
            up, down = raw.copy(), raw.copy()
            up[i] += step
            down[i] -= step
            above, below = objective(up), objective(down)
            if max(above, below) >= _OUTSIDE:  # at the edge of stationarity: the slope from the inner side
                middle = objective(raw)
                slopes[i] = (middle - below) / step if below < above else (above - middle) / step
            else:
                slopes[i] = (above - below) / (2.0 * step)
        return slopes

    first = centre if begin is None else begin
    iterations = 200 if begin is None else 40  # a refit starts next to its optimum
    minimize(objective, first, jac=gradient, method="L-BFGS-B", options={"maxiter": iterations})
    # A line search that ran against the edge may end off its best point: what counts is the best point seen.
    if not math.isfinite(least):
        raise ModelError(f"no {model} volatility model has a finite likelihood for these {len(returns)} returns")
    return best

"""The loop over series of `estimate`, compiled."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.arima.differencing import difference
from tsrec_models.arima.filling import fill
from tsrec_models.arima.gapped import gapped_objective, undifferenced_ones
from tsrec_models.arima.optimise import maximise
from tsrec_models.arima.select import MAX_FREE, fit_order, search
from tsrec_models.arima.transforms import polynomials

__all__ = ["estimate_batch"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHORTEST = 4  # values below which nothing but a random walk is estimated


@njit(cache=True)
def estimate_batch(
    flat: Floats,
    offsets: Ints,
    flat_x: Floats,
    periods: Ints,
    fixed: Ints,
    by_mean: bool,
    exact_gaps: bool,
    orders: Ints,
    free: Floats,
    beta: Floats,
    fits: Floats,
) -> None:
    """Series i is flat[offsets[i] : offsets[i + 1]], its regressors the same columns of flat_x [k, total].

    `fixed` [8] is the order of all, or -1 for automatic. Fills `orders` [n, 8], `free` [n, MAX_FREE], `beta`
    [n, 1 + k] and `fits` [n, 3]: AICc, log-likelihood, sigma^2.
    """
    for i in range(offsets.shape[0] - 1):
        start = offsets[i]
        end = offsets[i + 1]
        while start < end and math.isnan(flat[start]):
            start += 1
        while end > start and math.isnan(flat[end - 1]):
            end -= 1
        y = flat[start:end]
        seen = 0
        for t in range(y.shape[0]):
            seen += not math.isnan(y[t])
        x = flat_x[:, start:end].copy()
        s = periods[i]
        needed = SHORTEST
        if fixed[0] >= 0:
            needed += fixed[1] + fixed[4] * fixed[6] + fixed[0] + fixed[2] + fixed[3] + fixed[5]
        if seen < needed:
            _random_walk(y, orders[i], fits[i])
            continue
        whole = y if seen == y.shape[0] else fill(y, s, by_mean)
        if fixed[0] >= 0:
            orders[i] = fixed
            _fixed(whole, x, fixed, free[i], beta[i], fits[i])
        else:
            aicc, likelihood, sigma2 = search(whole, x, s, orders[i], free[i], beta[i])
            fits[i, 0] = aicc
            fits[i, 1] = likelihood
            fits[i, 2] = sigma2
        if exact_gaps and seen < y.shape[0]:
            _refine(y, x, orders[i], free[i], beta[i], fits[i])


@njit(cache=True)
def _random_walk(y: Floats, order: Ints, fit: Floats) -> None:
    order[:] = 0
    order[1] = 1
    order[6] = 1
    last = math.nan
    squares = 0.0
    count = 0
    for t in range(y.shape[0]):
        if math.isnan(y[t]):
            continue
        if not math.isnan(last):
            squares += (y[t] - last) ** 2
            count += 1
        last = y[t]
    fit[0] = math.inf
    fit[1] = math.nan
    fit[2] = squares / count if squares > 0.0 else 1.0


@njit(cache=True)
def _fixed(y: Floats, x: Floats, order: Ints, free: Floats, beta: Floats, fit: Floats) -> None:
    w = difference(y, order[1], order[4], order[6])
    dx = np.empty((x.shape[0], w.shape[0]))
    for j in range(x.shape[0]):
        dx[j] = difference(x[j], order[1], order[4], order[6])
    shape = np.array([order[0], order[2], order[3], order[5], order[6]])
    fit[0], fit[1], fit[2] = fit_order(w, dx, shape, order[7] == 1, np.zeros(MAX_FREE), free, beta)


@njit(cache=True)
def _refine(y: Floats, x: Floats, order: Ints, free: Floats, beta: Floats, fit: Floats) -> None:
    """Estimate again from the observed values alone, from where the filled series led."""
    d, seasonal_d, s, mean = order[1], order[4], order[6], order[7]
    polynomial = np.zeros(d + s * seasonal_d + 1)
    polynomial[0] = 1.0
    for _ in range(d):
        for j in range(polynomial.shape[0] - 1, 0, -1):
            polynomial[j] -= polynomial[j - 1]
    for _ in range(seasonal_d):
        for j in range(polynomial.shape[0] - 1, s - 1, -1):
            polynomial[j] -= polynomial[j - s]
    delta = -polynomial[1:]
    k = x.shape[0]
    columns = np.empty((1 + k + mean, y.shape[0]))
    columns[0] = y
    for j in range(k):
        columns[1 + j] = x[j]
    if mean:
        columns[1 + k] = undifferenced_ones(y.shape[0], delta)
    shape = np.array([order[0], order[2], order[3], order[5], s])
    count = shape[:4].sum()
    best = np.empty(count)
    coefficients = np.zeros(k + mean)
    objective, squares = maximise(columns, delta, shape, free[:count].copy(), best, coefficients)
    if not math.isfinite(objective):
        return
    r = max(shape[0] + s * shape[2], shape[1] + s * shape[3] + 1)
    phi = np.empty(r)
    ma = np.empty(r)
    polynomials(best, shape, phi, ma)
    _, _, n = gapped_objective(columns, phi, ma, delta, coefficients)
    free[:count] = best
    beta[0] = coefficients[k] if mean else 0.0
    for j in range(k):
        beta[1 + j] = coefficients[j]
    fit[1] = -0.5 * (objective + n * (math.log(2.0 * math.pi) + 1.0))
    fit[2] = squares / n
    parameters = count + k + mean + 1
    spare = n - parameters - 1
    fit[0] = -2.0 * fit[1] + 2.0 * parameters * (1.0 + (parameters + 1.0) / spare) if spare > 0 else math.inf

"""Maximum likelihood of one complete ARMA series: BFGS whose gradients and line searches fill a pass of LANES."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.arima.gapped import gapped_objective
from tsrec_models.arima.likelihood import LANES, lanes_objective
from tsrec_models.arima.transforms import LIMIT, polynomials

__all__ = ["maximise"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ITERATIONS = 60  # far more than a regular likelihood needs; a ridge may use them up
DIFFERENCE = 1e-5  # forward difference of a free number: loses n 1e-10 of the likelihood at the optimum
CONVERGED = 1e-7  # decrease of -2 log-likelihood an iteration
STEPS = np.array([1.0, 0.5, 0.25, 0.1, 2.0, 4.0, 0.02, 0.002])  # tried together, LANES of them
START_VALUES = np.array([0.3, 1.0])  # free numbers of the standard starts: partial autocorrelations .29 and .71


@njit(cache=True)
def _values(
    w: Floats, delta: Floats, gaps: bool, shape: Ints, free: Floats, value: Floats, beta: Floats, sums: Floats
) -> None:
    """Objective [LANES] at the columns of `free` [k, LANES]."""
    r = max(shape[0] + shape[4] * shape[2], shape[1] + shape[4] * shape[3] + 1)
    phi = np.empty((r, LANES))
    ma = np.empty((r, LANES))
    one_phi = np.empty(r)
    one_ma = np.empty(r)
    one_beta = np.empty(beta.shape[0])
    for lane in range(LANES):
        polynomials(free[:, lane].copy(), shape, one_phi, one_ma)
        phi[:, lane] = one_phi
        ma[:, lane] = one_ma
        if gaps:
            value[lane], sums[lane], _ = gapped_objective(w, one_phi, one_ma, delta, one_beta)
            beta[:, lane] = one_beta
    if not gaps:
        lanes_objective(w, phi, ma, value, beta, sums)


@njit(cache=True)
def _starts(shape: Ints, given: Floats, free: Floats) -> None:
    """LANES starting points [k, LANES]: all zero, the one given, and positive and negative ones of each kind."""
    p, q, sp = shape[0], shape[1], shape[2]
    k = free.shape[0]
    free[:] = 0.0
    for i in range(k):
        free[i, 1] = given[i]
        autoregressive = i < p or p + q <= i < p + q + sp
        first = i in (0, p, p + q, p + q + sp)
        if not first:
            continue
        seasonal = i >= p + q
        # A positive free number of a moving average is a negative coefficient, as differenced data often have.
        free[i, 2] = 1.0 if autoregressive else 0.3
        free[i, 3] = 0.3 if autoregressive else 1.0
        free[i, 4] = 1.0 if seasonal else 0.3
        free[i, 5] = -0.3 if autoregressive else 0.3
        free[i, 6] = 0.3 if autoregressive else -0.3
        free[i, 7] = 3.0 if autoregressive else 0.5


@njit(cache=True)
def maximise(w: Floats, delta: Floats, shape: Ints, given: Floats, best: Floats, beta: Floats) -> tuple[float, float]:
    """Fill `best` [k] (free numbers) and `beta` [c - 1]; return the minimum of the objective and the sum of squares.

    `w` [c, n] is differenced as in `lanes_objective`; or, with NaN in its first row, as it came, and `delta` the
    coefficients of its differencing; `shape` (p, q, P, Q, s); `given` [k] is one of the starts.
    """
    k = best.shape[0]
    c = w.shape[0]
    gaps = math.isnan(w[0].sum())
    free = np.zeros((k, LANES))
    value = np.empty(LANES)
    betas = np.empty((c - 1, LANES))
    sums = np.empty(LANES)
    if k:
        _starts(shape, given, free)
    _values(w, delta, gaps, shape, free, value, betas, sums)
    lane = int(np.argmin(value))
    current = value[lane]
    squares = sums[lane]
    beta[:] = betas[:, lane]
    best[:] = free[:, lane]
    if k == 0 or not math.isfinite(current):
        return current, squares
    gradient = np.empty(k)
    previous = np.empty(k)
    inverse = np.eye(k)
    fresh = True
    direction = np.empty(k)
    move = np.empty(k)
    for iteration in range(ITERATIONS):
        for first in range(0, k, LANES):
            for lane in range(LANES):
                free[:, lane] = best
                if first + lane < k:
                    free[first + lane, lane] += DIFFERENCE
            _values(w, delta, gaps, shape, free, value, betas, sums)
            for lane in range(min(LANES, k - first)):
                slope = (value[lane] - current) / DIFFERENCE
                gradient[first + lane] = slope if math.isfinite(slope) else 0.0
        if iteration > 0 and not fresh:
            _bfgs(inverse, move, gradient - previous)
        elif iteration > 0:
            change = gradient - previous
            curvature = np.dot(move, change)
            if curvature > 0.0:
                inverse[:] = np.eye(k) * (curvature / np.dot(change, change))
                _bfgs(inverse, move, change)
                fresh = False
        direction[:] = -(inverse @ gradient)
        if np.dot(direction, gradient) >= 0.0:
            inverse[:] = np.eye(k)
            direction[:] = -gradient
            fresh = True
        scale = 1.0
        if fresh:  # no curvature known yet: a first step of moderate length
            scale = 0.5 / max(np.sqrt(np.dot(gradient, gradient)), 1e-12)
        largest = 0.0
        for i in range(k):
            largest = max(largest, abs(direction[i]) * scale)
        if largest > 5.0:
            scale *= 5.0 / largest
        for lane in range(LANES):
            for i in range(k):
                free[i, lane] = min(max(best[i] + STEPS[lane] * scale * direction[i], -LIMIT), LIMIT)
        _values(w, delta, gaps, shape, free, value, betas, sums)
        lane = int(np.argmin(value))
        gain = current - value[lane]
        if not gain > 0.0:
            if fresh:
                break
            inverse[:] = np.eye(k)
            fresh = True
            move[:] = 0.0
            previous[:] = gradient
            continue
        move[:] = free[:, lane] - best
        best[:] = free[:, lane]
        previous[:] = gradient
        current = value[lane]
        squares = sums[lane]
        beta[:] = betas[:, lane]
        if gain < CONVERGED:
            break
    return current, squares


@njit(cache=True)
def _bfgs(inverse: Floats, move: Floats, change: Floats) -> None:
    """Rank-two update of the inverse Hessian (Nocedal and Wright 2006, 6.17); left alone without curvature."""
    curvature = np.dot(move, change)
    if not curvature > 1e-12:
        return
    k = move.shape[0]
    image = inverse @ change
    factor = (1.0 + np.dot(change, image) / curvature) / curvature
    for i in range(k):
        for j in range(k):
            inverse[i, j] += factor * move[i] * move[j] - (image[i] * move[j] + move[i] * image[j]) / curvature

"""One step of a series with uncertain lags: the whole Kalman filter, exactly diffuse at the start.

The state is Harvey's ARMA state a [r] and the lags y_{t-1} .. y_{t-lags}; the lags that were never seen are diffuse
(Durbin and Koopman 2012, 5.2). A lag that was observed has no variance, so a series leaves this mode for good after
as many observed values in a row as its differencing looks back.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.arima.complete import exact_block
from tsrec_models.arima.layout import EXACT, GAP, HEAD, START

__all__ = ["single"]

Floats = NDArray[np.float64]

DIFFUSE_TOLERANCE = 1e-10  # a diffuse variance below it is zero (as in statsmodels)


@njit(cache=True)
def _unpack(s: Floats, i: int, r: int, lags: int, cov: Floats, inf: Floats) -> None:
    """Full symmetric covariance [r + lags, r + lags] (less ma ma') and diffuse part [lags, lags] of series `i`."""
    c = HEAD + r + lags
    for a in range(r):
        for b in range(a, r):
            cov[a, b] = cov[b, a] = s[c, i]
            c += 1
    for a in range(r):
        for b in range(lags):
            cov[a, r + b] = cov[r + b, a] = s[c, i]
            c += 1
    for a in range(lags):
        for b in range(a, lags):
            cov[r + a, r + b] = cov[r + b, r + a] = s[c, i]
            c += 1
    for a in range(lags):
        for b in range(a, lags):
            inf[a, b] = inf[b, a] = s[c, i]
            c += 1


@njit(cache=True)
def _pack(s: Floats, i: int, r: int, lags: int, cov: Floats, inf: Floats) -> None:
    c = HEAD + r + lags
    for a in range(r):
        for b in range(a, r):
            s[c, i] = cov[a, b]
            c += 1
    for a in range(r):
        for b in range(lags):
            s[c, i] = cov[a, r + b]
            c += 1
    for a in range(lags):
        for b in range(a, lags):
            s[c, i] = cov[r + a, r + b]
            c += 1
    for a in range(lags):
        for b in range(a, lags):
            s[c, i] = inf[a, b]
            c += 1


@njit(cache=True)
def _start_step(s: Floats, q: Floats, i: int, u: float, r: int, lags: int) -> None:
    """A value before differencing has its lags: nothing is learned of the ARMA state, which stays stationary."""
    lag0 = HEAD + r
    for j in range(lags - 1, 0, -1):
        s[lag0 + j, i] = s[lag0 + j - 1, i]
    if lags > 0:
        s[lag0, i] = u
    s[1, i] += 1.0
    s[3, i] += 1.0
    if s[1, i] >= q[lags + 2 * r + 1, i]:
        s[0, i] = EXACT


@njit(cache=True)
def _enter_gap(s: Floats, q: Floats, i: int, r: int, lags: int) -> None:
    """From START: the lags not yet seen are diffuse. From EXACT or STEADY: nothing is."""
    needed = int(q[lags + 2 * r + 1, i])
    c = HEAD + r + lags + r * (r + 1) // 2
    for j in range(c, s.shape[0]):
        s[j, i] = 0.0
    if s[0, i] == START:
        seen = int(s[1, i])
        c += r * lags + lags * (lags + 1) // 2
        for a in range(lags):
            if seen <= a < needed:
                s[c, i] = 1.0
            c += lags - a
    s[0, i] = GAP


@njit(cache=True)
def _gap_step(
    s: Floats, q: Floats, i: int, u: float, r: int, lags: int, cov: Floats, inf: Floats, work: Floats
) -> tuple[float, float]:
    """One step of the whole filter for series `i`, `u` NaN where missing; returns innovation and F / sigma^2."""
    m = r + lags
    a0 = HEAD
    mean = q[lags + 2 * r - 1, i]
    ma0 = lags + r - 1
    _unpack(s, i, r, lags, cov, inf)
    ma = work[0:r]
    z = work[r : r + m]
    gain = work[r + m : r + 2 * m]  # P Z'
    gain_inf = work[r + 2 * m : r + 2 * m + lags]
    new = work[r + 2 * m + lags : r + 2 * m + lags + m]
    ma[0] = 1.0
    for a in range(1, r):
        ma[a] = q[ma0 + a, i]
    for a in range(r):
        z[a] = 1.0 if a == 0 else 0.0
        for b in range(r):
            cov[a, b] += ma[a] * ma[b]
    for a in range(lags):
        z[r + a] = q[a, i]
    predicted = mean + s[a0, i]
    for a in range(lags):
        predicted += z[r + a] * s[a0 + r + a, i]
    variance = 0.0
    for a in range(m):
        total = cov[a, 0]
        for b in range(lags):
            total += cov[a, r + b] * z[r + b]
        gain[a] = total
    for a in range(m):
        variance += z[a] * gain[a]
    variance_inf = 0.0
    for a in range(lags):
        total = 0.0
        for b in range(lags):
            total += inf[a, b] * z[r + b]
        gain_inf[a] = total
        variance_inf += z[r + a] * total
    observed = not math.isnan(u)
    v = math.nan
    out_f = math.inf
    if observed and variance_inf > DIFFUSE_TOLERANCE:
        error = u - predicted
        for a in range(lags):
            s[a0 + r + a, i] += gain_inf[a] / variance_inf * error
        for a in range(m):
            ka = gain_inf[a - r] / variance_inf if a >= r else 0.0
            for b in range(m):
                kb = gain_inf[b - r] / variance_inf if b >= r else 0.0
                cov[a, b] += ka * kb * variance - ka * gain[b] - gain[a] * kb
        for a in range(lags):
            for b in range(lags):
                inf[a, b] -= gain_inf[a] * gain_inf[b] / variance_inf
        s[3, i] += 1.0
        s[4, i] += math.log(variance_inf)
    elif observed:
        v = u - predicted
        out_f = variance
        for a in range(m):
            s[a0 + a, i] += gain[a] * v / variance
        for a in range(m):
            for b in range(m):
                cov[a, b] -= gain[a] * gain[b] / variance
        s[2, i] += 1.0
        s[4, i] += math.log(variance)
        s[5, i] += v * v / variance
    elif variance_inf <= DIFFUSE_TOLERANCE:
        out_f = variance
    # Time update. New first lag: the value itself, or what was predicted for it.
    w = s[a0, i]
    for a in range(r):
        phi = q[lags + a, i]
        new[a] = phi * (0.0 if observed else gain[0]) + (0.0 if observed or a + 1 == r else gain[a + 1])
    for a in range(r):
        s[a0 + a, i] = q[lags + a, i] * w + (s[a0 + a + 1, i] if a + 1 < r else 0.0)
    for b in range(r, m):  # rows of the state against the lags
        top = cov[0, b]
        for a in range(r):
            cov[a, b] = q[lags + a, i] * top + (cov[a + 1, b] if a + 1 < r else 0.0)
            cov[b, a] = cov[a, b]
    top = cov[0, 0]
    for a in range(r):
        work[a] = cov[0, a]  # ma is no longer needed
    for a in range(r):
        pa = q[lags + a, i]
        for b in range(a, r):
            pb = q[lags + b, i]
            total = pa * pb * top
            if b + 1 < r:
                total += pa * work[b + 1] + cov[a + 1, b + 1]
            if a + 1 < r:
                total += pb * work[a + 1]
            cov[a, b] = total
        for b in range(a):
            cov[a, b] = cov[b, a]
    if lags > 0:
        for a in range(lags - 1, 0, -1):
            s[a0 + r + a, i] = s[a0 + r + a - 1, i]
        s[a0 + r, i] = u if observed else predicted
        for b in range(lags - 1, 0, -1):
            for a in range(r):
                cov[a, r + b] = cov[r + b, a] = cov[a, r + b - 1]
        for a in range(lags - 1, 0, -1):
            for b in range(lags - 1, 0, -1):
                cov[r + a, r + b] = cov[r + a - 1, r + b - 1]
                inf[a, b] = inf[a - 1, b - 1]
        for a in range(r):
            cov[a, r] = cov[r, a] = new[a]
        for b in range(1, lags):
            cov[r, r + b] = cov[r + b, r] = 0.0 if observed else gain[r + b - 1]
            inf[0, b] = inf[b, 0] = 0.0 if observed else gain_inf[b - 1]
        cov[r, r] = 0.0 if observed else variance
        inf[0, 0] = 0.0 if observed else variance_inf
    _pack(s, i, r, lags, cov, inf)
    s[1, i] = s[1, i] + 1.0 if observed else 0.0
    if observed and s[1, i] >= q[lags + 2 * r + 1, i]:
        s[0, i] = EXACT
    return v, out_f


@njit(cache=True)
def single(
    s: Floats, q: Floats, i: int, u: float, r: int, lags: int, cov: Floats, inf: Floats, work: Floats, out: Floats
) -> None:
    """One value, observed or not, for one series in any mode; `out` receives innovation and F / sigma^2."""
    mode = s[0, i]
    missing = math.isnan(u)
    out[0] = math.nan
    out[1] = math.inf
    if mode == START:
        if missing and s[1, i] == 0.0:
            return  # before the first value nothing is known and nothing is lost
        if not missing:
            _start_step(s, q, i, u, r, lags)
            return
    if mode != GAP:
        if not missing:
            f = out[2:3]
            uu = out[3:4]
            uu[0] = u
            exact_block(s, q, i, 1, uu, out[0:1], f, r, lags, work)
            out[1] = f[0]
            return
        _enter_gap(s, q, i, r, lags)
    v, f1 = _gap_step(s, q, i, u, r, lags, cov, inf, work)
    out[0] = v
    out[1] = f1

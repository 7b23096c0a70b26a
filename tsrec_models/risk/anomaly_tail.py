"""How rare is a magnitude in a series' own past? A conformal p-value from a histogram of its logarithms, O(1).

Bins are a quarter of an octave wide, from 2**-8 to 2**16 of the unit given, so the error of a rank is what falls into
one bin. The p-value is (weight at or above + 1) / (total + 1), exact for exchangeable values up to that error,
which is on the careful side; beyond all that was ever seen it goes on falling as a Pareto tail with the index of the
largest two per cent (Hill 1975), never faster than one nat a bin. Old weight fades, so that a lasting change becomes
the new usual.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = ["BINS", "WIDTH"]

BINS = 96
#: A tree of partial sums over the bins (Fenwick 1994: seven additions read or write a rank), total weight, weight of
#: the next value, and the highest bin ever used plus one.
WIDTH = BINS + 3
_TOTAL, _ONE, _TOP = BINS, BINS + 1, BINS + 2
_LOWEST, _PER_OCTAVE = 8.0, 4.0
_TAIL_SHARE, _TAIL_LEAST = 0.02, 8.0  # values the Pareto tail is fitted to: at least eight, or its index is noise
_PRIOR_WEIGHT, _PRIOR_EXCESS, _LEAST_EXCESS = 2.0, 2.0, 1.0  # mean excess in bins: half an octave, before data speaks
_RENORMALISE = 1e100


@njit(cache=True)
def _below(state, row, at, bin_):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Weight in the bins before `bin_`."""
    total, node = 0.0, bin_
    while node > 0:
        total += state[row, at + node - 1]
        node &= node - 1
    return total


@njit(cache=True)
def surprise(state, row, at, magnitude):  # type: ignore[no-untyped-def]  # pragma: no cover
    """(-ln p of `magnitude` >= 0 in its unit, its bin); p is 1 while nothing was seen."""
    position = (math.log2(magnitude + 1e-12) + _LOWEST) * _PER_OCTAVE
    position = min(max(position, 0.0), BINS - 1.001)
    bin_ = int(position)
    total, one = state[row, at + _TOTAL], state[row, at + _ONE]
    if total <= 0.0:
        return 0.0, bin_
    top = int(state[row, at + _TOP]) - 1
    if bin_ <= top:
        # Values in the same bin are taken to lie evenly in it.
        share = position - bin_
        below = (1.0 - share) * _below(state, row, at, bin_) + share * _below(state, row, at, bin_ + 1)
        return -math.log(min((max(total - below, 0.0) + one) / (total + one), 1.0)), bin_
    need = max(_TAIL_SHARE * total, _TAIL_LEAST * one)
    weight, excess, first = 0.0, 0.0, top + 1
    while first > 0 and weight < need:
        first -= 1
        excess += weight  # what lies above is one bin further from the new start
        here = _below(state, row, at, first + 1) - _below(state, row, at, first)
        weight += here
        excess += 0.5 * here
    mean = (excess + _PRIOR_WEIGHT * _PRIOR_EXCESS * one) / (weight + _PRIOR_WEIGHT * one)
    return math.log((total + one) / one) + (position - top - 1.0) / max(mean, _LEAST_EXCESS), bin_


@njit(cache=True)
def learn(state, row, at, bin_, growth):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add one value in `bin_`; weights of later values grow by `growth`, which is how earlier ones fade."""
    one = state[row, at + _ONE]
    node = bin_ + 1
    while node <= BINS:
        state[row, at + node - 1] += one
        node += node & -node
    state[row, at + _TOTAL] += one
    state[row, at + _ONE] = one * growth
    state[row, at + _TOP] = max(state[row, at + _TOP], bin_ + 1.0)
    if one > _RENORMALISE:
        for j in range(BINS + 1):
            state[row, at + j] /= one
        state[row, at + _ONE] = growth


@njit(cache=True)
def seen(state, row, at):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Total weight in units of the next value."""
    return state[row, at + _TOTAL] / state[row, at + _ONE]


def clear(block: np.ndarray) -> None:
    """Make `block` [..., WIDTH] histograms without values."""
    block[...] = 0.0
    block[..., _ONE] = 1.0

"""Backtests of many symbols at once: the p-values of `backtests`, over arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy
from scipy.stats import chi2

__all__ = ["Verdicts", "conditional_coverage_ps", "kupiec_ps"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Verdicts:
    """Of symbols; [rows, levels], or [rows]."""

    kupiec_p: Floats
    conditional_coverage_p: Floats
    es_z2: Floats
    is_red: NDArray[np.bool_]  #: Basel's light, by the highest level


def kupiec_ps(hits: Floats, days: Floats, tails: Floats) -> Floats:
    """p-values of `hits` in `days`, each with probability `tails`; the arrays broadcast. NaN without days."""
    return np.asarray(np.where(days > 0, chi2.sf(_coverage_ratio(hits, days, tails), 1), np.nan))


def conditional_coverage_ps(hits: Floats, days: Floats, tails: Floats, n01: Floats, n10: Floats, n11: Floats) -> Floats:
    """p-values of right frequency and independence together, from the counts of pairs; the arrays broadcast."""
    n00 = np.maximum(days - 1, 0) - n01 - n10 - n11
    together = _loglikelihood(n01 + n11, n00 + n10)
    apart = _loglikelihood(n01, n00) + _loglikelihood(n11, n10)
    independence = np.maximum(2.0 * (apart - together), 0.0)
    return np.asarray(np.where(days > 0, chi2.sf(_coverage_ratio(hits, days, tails) + independence, 2), np.nan))


def _coverage_ratio(hits: Floats, days: Floats, tails: Floats) -> Floats:
    under = xlogy(hits, tails) + xlogy(days - hits, 1.0 - tails)
    return np.asarray(np.maximum(2.0 * (_loglikelihood(hits, days - hits) - under), 0.0))


def _loglikelihood(hits: Floats, misses: Floats) -> Floats:
    """Of a binomial at its own frequency."""
    total = np.maximum(hits + misses, 1.0)
    return np.asarray(xlogy(hits, hits / total) + xlogy(misses, misses / total))

"""Backtests of value at risk and expected shortfall, over a whole series at once.

Returns are fractions, losses negative; `var` and `es` are positive fractions forecast for the same day. A hit is a
return below -var.

* Kupiec (1995): proportion of failures, likelihood ratio with one degree of freedom.
* Christoffersen (1998): independence of hits from the hit of the day before; conditional coverage is both, two degrees.
* Acerbi and Szekely (2014), second test: Z2 is 0 in expectation when the shortfall is right and negative when it is
  too small; -0.7 is the 5 % critical value across a wide range of tails.
* Basel Committee (1996): green up to 4, red from 10 hits at 99 % in the last 250 days.
* Fissler and Ziegel (2016), as FZ0 in Patton, Ziegel and Chen (2019): joint loss of (VaR, ES); lower is better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy
from scipy.stats import chi2

from tsrec_models.base import ModelError

__all__ = [
    "BASEL_DAYS",
    "BASEL_RED",
    "BASEL_YELLOW",
    "Z2_CRITICAL",
    "Backtest",
    "backtest",
    "christoffersen_p",
    "conditional_coverage_p",
    "fz0_loss",
    "kupiec_p",
    "traffic_lights",
    "transitions",
    "z2_statistic",
]

BASEL_DAYS, BASEL_YELLOW, BASEL_RED = 250, 5, 10
Z2_CRITICAL = -0.7


@dataclass(frozen=True)
class Backtest:
    """The outcome at one level."""

    level: float
    days: int
    hits: int
    expected: float
    kupiec_p: float
    independence_p: float
    conditional_coverage_p: float
    es_z2: float
    fz0: float
    basel_green: int  #: days whose last 250 days count as green
    basel_yellow: int
    basel_red: int


def _binomial_loglikelihood(hits: float, misses: float, probability: float) -> float:
    return float(xlogy(hits, probability) + xlogy(misses, 1.0 - probability))


def kupiec_p(hits: int, days: int, tail: float) -> float:
    """p-value of `hits` in `days` when each has probability `tail`; NaN without days."""
    if days == 0:
        return float("nan")
    ratio = 2.0 * (
        _binomial_loglikelihood(hits, days - hits, hits / days) - _binomial_loglikelihood(hits, days - hits, tail)
    )
    return float(chi2.sf(max(ratio, 0.0), 1))


def transitions(hits: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Pairs of days: (quiet, quiet), (quiet, hit), (hit, quiet), (hit, hit)."""
    before, after = hits[:-1], hits[1:]
    n11 = int(np.sum(before & after))
    n10 = int(np.sum(before)) - n11
    n01 = int(np.sum(after)) - n11
    return len(before) - n11 - n10 - n01, n01, n10, n11


def _independence_ratio(n00: int, n01: int, n10: int, n11: int) -> float:
    total = n00 + n01 + n10 + n11
    if total == 0:
        return 0.0
    together = _binomial_loglikelihood(n01 + n11, n00 + n10, (n01 + n11) / total)
    apart = 0.0
    for quiet, hit in ((n00, n01), (n10, n11)):
        if quiet + hit:
            apart += _binomial_loglikelihood(hit, quiet, hit / (quiet + hit))
    return max(2.0 * (apart - together), 0.0)


def christoffersen_p(n00: int, n01: int, n10: int, n11: int) -> float:
    """p-value of independence from the four counts of `transitions`."""
    return float(chi2.sf(_independence_ratio(n00, n01, n10, n11), 1))


def conditional_coverage_p(hits: int, days: int, tail: float, pairs: tuple[int, int, int, int]) -> float:
    """p-value of right frequency and independence together; NaN without days."""
    if days == 0:
        return float("nan")
    coverage = 2.0 * (
        _binomial_loglikelihood(hits, days - hits, hits / days) - _binomial_loglikelihood(hits, days - hits, tail)
    )
    return float(chi2.sf(max(coverage, 0.0) + _independence_ratio(*pairs), 2))


def z2_statistic(returns: NDArray[np.float64], var: NDArray[np.float64], es: NDArray[np.float64], tail: float) -> float:
    """1 - mean(loss on hits / (tail * es)); negative means losses beyond what the shortfall allowed."""
    return float(1.0 - np.mean(np.where(returns < -var, -returns / (tail * es), 0.0)))


def fz0_loss(
    returns: NDArray[np.float64], var: NDArray[np.float64], es: NDArray[np.float64], tail: float, percent: bool = True
) -> NDArray[np.float64]:
    """FZ0 loss of each day [n]. In per cent (the literature's unit) by default: a unit adds log(unit) to every loss."""
    unit = 100.0 if percent else 1.0
    value, quantile, shortfall = unit * returns, -unit * var, -unit * es
    excess = np.where(value <= quantile, quantile - value, 0.0)
    return -excess / (tail * shortfall) + quantile / shortfall + np.log(-shortfall) - 1.0


def traffic_lights(hits: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Days that are green, yellow and red by the 250 days up to and including them."""
    if len(hits) < BASEL_DAYS:
        return 0, 0, 0
    total = np.concatenate([[0], np.cumsum(hits)])
    recent = total[BASEL_DAYS:] - total[:-BASEL_DAYS]
    red = int(np.sum(recent >= BASEL_RED))
    yellow = int(np.sum(recent >= BASEL_YELLOW)) - red
    return len(recent) - yellow - red, yellow, red


def backtest(
    returns: NDArray[np.float64],
    var: NDArray[np.float64],
    es: NDArray[np.float64],
    level: float,
    var_99: NDArray[np.float64] | None = None,
) -> Backtest:
    """All tests of forecasts [n] against returns [n]. The traffic light is defined at 99 %: it reads `var_99`.

    Raises ModelError when a forecast is missing or is not positive.
    """
    if not len(returns) == len(var) == len(es):
        raise ModelError(f"{len(returns)} returns, {len(var)} VaR and {len(es)} ES: give one forecast for each return")
    if not (np.all(var > 0.0) and np.all(es > 0.0)):
        raise ModelError("a forecast of VaR or ES is missing or not positive: leave out the days of warm-up")
    tail = 1.0 - level
    hits = returns < -var
    count, pairs = int(hits.sum()), transitions(hits)
    green, yellow, red = traffic_lights(hits if var_99 is None else returns < -var_99)
    return Backtest(
        level=level,
        days=len(returns),
        hits=count,
        expected=tail * len(returns),
        kupiec_p=kupiec_p(count, len(returns), tail),
        independence_p=christoffersen_p(*pairs),
        conditional_coverage_p=conditional_coverage_p(count, len(returns), tail, pairs),
        es_z2=z2_statistic(returns, var, es, tail),
        fz0=float(np.mean(fz0_loss(returns, var, es, tail))),
        basel_green=green,
        basel_yellow=yellow,
        basel_red=red,
    )

"""Conditional volatility stepped online: EWMA, GARCH and GJR are one recursion with different parameters.

    variance' = omega + (alpha + gamma * [e < 0]) * e^2 + beta * variance,    e = return - mu

EWMA is omega = gamma = 0, alpha = 1 - lambda, beta = lambda (RiskMetrics 1996); GARCH has gamma = 0 (Bollerslev 1986);
GJR is the whole (Glosten, Jagannathan, Runkle 1993). The stream steps it; `fit` estimates the parameters by maximum
likelihood, off the hot path, with the `arch` package.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.base import ModelError

__all__ = ["MIN_FIT", "VARIANCE_FLOOR", "GarchParameters", "backcast", "ewma", "filter_variance", "fit"]

#: Fewer returns than this do not identify four parameters.
MIN_FIT = 100
#: A price that stands still must not make the next tick infinitely surprising: a volatility of a thousandth of a
#: basis point a bar is below the tick of any market.
VARIANCE_FLOOR = 1e-14
_SCALE = 100.0  # the likelihood is well conditioned for returns in per cent


@dataclass(frozen=True)
class GarchParameters:
    """Parameters for returns as fractions (0.01 is one per cent)."""

    omega: float
    alpha: float
    gamma: float
    beta: float
    mu: float = 0.0

    @property
    def persistence(self) -> float:
        """Share of a shock left after one step, for a symmetric distribution; below 1 the variance reverts."""
        return self.alpha + 0.5 * self.gamma + self.beta

    def as_array(self) -> NDArray[np.float64]:
        """[omega, alpha, gamma, beta, mu]: as the rows of the state hold them."""
        return np.array([self.omega, self.alpha, self.gamma, self.beta, self.mu])


def ewma(decay: float = 0.94) -> GarchParameters:
    """Exponentially weighted variance; 0.94 is RiskMetrics' decay for daily returns."""
    if not 0.0 < decay < 1.0:
        raise ModelError(f"decay of the EWMA is {decay}: give a number between 0 and 1, such as 0.94")
    return GarchParameters(0.0, 1.0 - decay, 0.0, decay)


def backcast(returns: NDArray[np.float64], mu: float = 0.0) -> float:
    """Variance to start the recursion from: the first 75 squared innovations, weighted by 0.94 ** age."""
    head = np.asarray(returns, np.float64)[:75] - mu
    weights = 0.94 ** np.arange(len(head))
    return max(float((head * head) @ weights / weights.sum()), VARIANCE_FLOOR)


def filter_variance(
    parameters: GarchParameters, returns: NDArray[np.float64], initial: float | None = None
) -> NDArray[np.float64]:
    """One-step variances [n + 1]: entry t is known before return t; the last one is the forecast.

    A NaN return leaves the variance at its expectation.
    """
    start = backcast(returns, parameters.mu) if initial is None else initial
    variances: NDArray[np.float64] = _filter(parameters.as_array(), np.ascontiguousarray(returns, np.float64), start)
    return variances


@njit(cache=True)
def step_variance(  # type: ignore[no-untyped-def]  # pragma: no cover
    omega, alpha, gamma, beta, innovation, variance
):
    square = innovation * innovation
    news = alpha + gamma if innovation < 0.0 else alpha
    return max(omega + news * square + beta * variance, VARIANCE_FLOOR)


@njit(cache=True)
def _filter(parameters, returns, start):  # type: ignore[no-untyped-def]  # pragma: no cover
    omega, alpha, gamma, beta, mu = parameters
    out = np.empty(len(returns) + 1)
    out[0] = start
    for t in range(len(returns)):
        if np.isnan(returns[t]):
            out[t + 1] = max(omega + (alpha + 0.5 * gamma + beta) * out[t], VARIANCE_FLOOR)
        else:
            out[t + 1] = step_variance(omega, alpha, gamma, beta, returns[t] - mu, out[t])
    return out


def fit(
    returns: NDArray[np.float64],
    model: Literal["gjr", "garch"] = "gjr",
    distribution: Literal["normal", "t", "skewt"] = "skewt",
    mean: bool = True,
) -> GarchParameters:
    """Maximum likelihood estimate from `returns` [n], fractions, oldest first; NaN is dropped.

    Raises ModelError when there are too few returns, when they do not vary, or when the optimiser leaves the region
    where the variance reverts.
    """
    values = np.asarray(returns, np.float64)
    values = values[np.isfinite(values)]
    if len(values) < MIN_FIT:
        raise ModelError(f"{len(values)} returns do not identify a GARCH model: wait for {MIN_FIT}")
    if np.ptp(values) == 0.0:
        raise ModelError("the returns do not vary: a price that stands still has no volatility to estimate")
    try:
        from arch import arch_model
    except ImportError as error:
        raise ModelError("volatility parameters are estimated with `arch`: pip install 'tsrec[risk]'") from error
    # Intraday returns may be a hundred times smaller than daily ones: scale to unit variance, not by a constant.
    scale = _SCALE if 0.003 < values.std() < 0.3 else 1.0 / values.std()
    specification = arch_model(
        values * scale,
        mean="Constant" if mean else "Zero",
        vol="GARCH",
        p=1,
        o=1 if model == "gjr" else 0,
        q=1,
        dist=distribution,
        rescale=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence is judged below, from the result
        result = specification.fit(disp="off", show_warning=False)
    found = result.params
    parameters = GarchParameters(
        omega=float(found["omega"]) / scale**2,
        alpha=float(found["alpha[1]"]),
        gamma=float(found.get("gamma[1]", 0.0)),
        beta=float(found["beta[1]"]),
        mu=float(found.get("mu", 0.0)) / scale,
    )
    values_found = parameters.as_array()
    if not np.all(np.isfinite(values_found)) or parameters.omega < 0.0 or not 0.0 <= parameters.persistence < 1.05:
        raise ModelError(
            f"the likelihood has no usable maximum for these {len(values)} returns ({parameters}): "
            "keep the parameters in use"
        )
    return parameters

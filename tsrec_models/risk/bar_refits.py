"""What a symbol's parameters are estimated from, and what comes of it: a pure function of the returns it is given.

So it may run anywhere (a process pool, in the stream) and at any time between the bar that asked for it and the bar
that needs it; after a crash the same job gives the same parameters.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsrec_models.arima import Layout, Order, estimate
from tsrec_models.base import ModelError
from tsrec_models.risk.volatility import GarchParameters
from tsrec_models.risk.volatility import fit as fit_garch

__all__ = ["GJR_FROM", "Job", "Refitted", "refit"]

#: Returns from which GJR's parameters are estimated; with fewer the volatility stays RiskMetrics' EWMA, whose one
#: parameter needs no estimate.
GJR_FROM = 200

#: A volatility on which a move leaves less than this share of its square does not follow the market: such a fit is the
#: edge of the likelihood of a short calm window, and is not used.
_MIN_NEWS = 0.005


@dataclass(frozen=True)
class Job:
    """Returns [n] of one symbol, oldest first, the ARIMA order to estimate, and what was known before each return
    [n, k]."""

    row: int
    returns: NDArray[np.float64]
    order: tuple[int, int, int]
    known: NDArray[np.float64] | None = None

    @property
    def digest(self) -> bytes:
        """Names the job by what it is made of: equal jobs have equal results."""
        content = hashlib.blake2b(np.ascontiguousarray(self.returns).tobytes(), digest_size=16)
        content.update(repr(self.order).encode())
        if self.known is not None:
            content.update(np.ascontiguousarray(self.known).tobytes())
        return content.digest()

    @property
    def is_cheap(self) -> bool:
        """Whether it takes a millisecond or two: ARIMA alone."""
        return len(self.returns) < GJR_FROM

    def solve(self) -> Refitted:
        """The parameters."""
        return refit(self)


@dataclass(frozen=True)
class Refitted:
    """New parameters: of the ARIMA filter [parameter_width], and of the volatility; None where there are none to be
    had and those in use stay."""

    arima: NDArray[np.float64] | None
    garch: GarchParameters | None
    note: str = ""


def refit(job: Job) -> Refitted:
    """Estimate both from the same returns."""
    if len(job.returns) == 0 or not np.ptp(job.returns) > 0.0:
        return Refitted(None, None, "the price stood still")
    arima = _arima(job)
    if len(job.returns) < GJR_FROM:
        return Refitted(arima, None)
    try:
        # Quasi maximum likelihood: a Student t's would take the many still bars of a fine clock for the whole story.
        garch = fit_garch(job.returns, distribution="normal")
    except ModelError as error:
        return Refitted(arima, None, str(error))
    if garch.alpha + 0.5 * garch.gamma < _MIN_NEWS:
        return Refitted(arima, None, f"the volatility of {garch} would not follow the market")
    return Refitted(arima, garch)


def _arima(job: Job) -> NDArray[np.float64]:
    """Parameters of the filter, [parameter_width]. What has not moved (trades without sides) has no coefficient: 0."""
    order = Order(*job.order)
    known = np.zeros((len(job.returns), 0)) if job.known is None else job.known
    moved = np.flatnonzero(np.ptp(known, axis=0) > 0.0)
    fits = estimate([job.returns], order, x=[known[:, moved]] if len(moved) else None)
    packed = fits.pack(Layout(order.n_states, order.n_lags, len(moved)))[0]
    whole = np.zeros(Layout(order.n_states, order.n_lags, known.shape[1]).parameter_width)
    first = len(packed) - len(moved)  # the coefficients of regressors come last
    whole[:first] = packed[:first]
    whole[first + moved] = packed[first:]
    return whole

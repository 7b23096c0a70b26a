"""The classic series of the data folder, and statsmodels' SARIMAX set up to do the same exact maths as the bank."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tsrec_models.arima import Coefficients, Order

Floats = NDArray[np.float64]

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data" / "arima"

#: file, column, transform, order that suits it
CLASSICS = [
    ("datasets_AirPassengers.csv", "AirPassengers", np.log, Order(0, 1, 1, 0, 1, 1, 12)),
    ("datasets_Nile.csv", "Nile", None, Order(0, 1, 1)),
    ("datasets_lynx.csv", "lynx", np.log10, Order(2, 0, 2, mean=True)),
    ("datasets_sunspots.csv", "sunspots", np.sqrt, Order(2, 1, 2)),
    ("datasets_UKgas.csv", "UKgas", np.log, Order(1, 0, 1, 1, 1, 1, 4)),
    ("datasets_JohnsonJohnson.csv", "JohnsonJohnson", np.log, Order(1, 1, 1, 1, 1, 0, 4)),
    ("datasets_nottem.csv", "nottem", None, Order(1, 0, 0, 1, 1, 1, 12)),
    ("Ecdat_SP500.csv", "r500", None, Order(1, 0, 1, mean=True)),
    ("Ecdat_Garch.csv", "dm", None, Order(2, 2, 1)),
]


def classic(file: str, column: str, transform: Any = None) -> Floats:
    """Values of one column; skips the test where the data folder is absent."""
    path = DATA / file
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with path.open() as lines:
        values = np.array([float(row[column]) for row in csv.DictReader(lines)])
    return values if transform is None else transform(values)


def with_gaps(y: Floats, seed: int = 0) -> Floats:
    """A copy that lacks single values, one long stretch, and some of the very first values."""
    rng = np.random.default_rng(seed)
    y = np.array(y)
    y[rng.uniform(size=len(y)) < 0.05] = np.nan
    y[len(y) // 2 : len(y) // 2 + 9] = np.nan
    y[[0, 2]] = np.nan
    return y


def coefficients_of(order: Order, params: Floats, k: int = 0) -> Coefficients:
    """statsmodels' parameter vector (intercept, regressors, ar, ma, seasonal ar, seasonal ma, sigma2)."""
    at = int(order.mean)
    parts = np.split(params[at:], np.cumsum([k, order.p, order.q, order.P, order.Q]))
    beta, ar, ma, seasonal_ar, seasonal_ma, sigma2 = (part[None] for part in parts)
    mean = params[:at] / ((1 - ar.sum()) * (1 - seasonal_ar.sum())) if order.mean else None
    return Coefficients(order, sigma2[0], ar, ma, seasonal_ar, seasonal_ma, mean, beta)


def sarimax(y: Floats, order: Order, x: Floats | None = None) -> Any:
    """SARIMAX with the differencing in the state, exactly diffuse, and no early switch to a steady gain."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    seasonal = (order.P, order.D, order.Q, order.s) if order.s > 1 else (0, 0, 0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SARIMAX(
            y,
            exog=x,
            order=(order.p, order.d, order.q),
            seasonal_order=seasonal,
            trend="c" if order.mean else "n",
            use_exact_diffuse=True,
        )
    model.ssm.tolerance = 0
    return model


def plausible(y: Floats, order: Order, x: Floats | None = None) -> Floats:
    """Parameters from statsmodels' own starting values: near a fit, stationary, and quick to have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(sarimax(y, order, x).start_params)

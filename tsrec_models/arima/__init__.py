"""ARIMA models as exact Kalman filters, batched over thousands of series; estimation, intervals, refits."""

from tsrec_models.arima.bank import ArimaBank, Innovations
from tsrec_models.arima.estimate import Estimates, estimate
from tsrec_models.arima.filling import GapFiller
from tsrec_models.arima.layout import Layout
from tsrec_models.arima.order import Order
from tsrec_models.arima.parameters import Coefficients, pack_parameters, start_states
from tsrec_models.arima.season import detect_period, detect_periods

__all__ = [
    "ArimaBank",
    "Coefficients",
    "Estimates",
    "GapFiller",
    "Innovations",
    "Layout",
    "Order",
    "detect_period",
    "detect_periods",
    "estimate",
    "pack_parameters",
    "start_states",
]

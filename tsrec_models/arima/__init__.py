"""ARIMA models as exact Kalman filters, batched over thousands of series; estimation, intervals, refits."""

from tsrec_models.arima.bank import ArimaBank, Innovations
from tsrec_models.arima.layout import Layout
from tsrec_models.arima.order import Order
from tsrec_models.arima.parameters import Coefficients, pack_parameters, start_states

__all__ = ["ArimaBank", "Coefficients", "Innovations", "Layout", "Order", "pack_parameters", "start_states"]

"""Features of card transactions, kept up to date in the stream.

>>> import numpy as np
>>> features = FraudFeatures()
>>> row = features.update(np.array([0]), np.array([0]), np.array([1.7e9]), np.array([25.0]))
>>> row.shape == (1, len(FEATURES))
True
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.risk.fraud_kernel import ACCOUNT, DAY_S, DELAY_DAYS, FEATURES, MERCHANT, Table, label, replay, update

__all__ = ["FEATURES", "FraudError", "FraudFeatures"]


class FraudError(ModelError):
    """Transactions or a model of fraud that cannot be used."""


def _empty(dtype: np.dtype[np.void], n: int) -> Table:
    table = np.zeros(n, dtype=dtype)
    if "familiar" in (dtype.names or ()):
        table["familiar"] = -1
    return table


class FraudFeatures:
    """State of accounts and merchants; rows are given out by the caller, tables grow by doubling.

    A row's bytes (`accounts[rows].tobytes()`) are what goes to a changelog.
    """

    def __init__(self, n_accounts: int = 1024, n_merchants: int = 1024) -> None:
        self.accounts = _empty(ACCOUNT, max(1, n_accounts))
        self.merchants = _empty(MERCHANT, max(1, n_merchants))

    def update(
        self,
        account: NDArray[np.int64],
        merchant: NDArray[np.int64],
        ts: NDArray[np.float64],
        amount: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Features [n, len(FEATURES)] of a micro-batch in order of time (event time, seconds), each from what was known
        before it. Raises FraudError for amounts or times that are not finite, and for a negative amount."""
        self._make_room(account, merchant)
        _check(ts, amount)
        out = np.empty((len(ts), len(FEATURES)))
        update(self.accounts, self.merchants, account, merchant, ts, amount, out)
        return out

    def label(
        self, account: int, merchant: int, ts: float, is_fraud: bool, amount_to_usual: float, known_ts: float
    ) -> None:
        """Take a label once it is known: of the transaction at `ts`, whose feature `amount_to_usual` was that."""
        self._make_room(np.array([account]), np.array([merchant]))
        label(self.accounts, self.merchants, account, merchant, ts, is_fraud, amount_to_usual, known_ts)

    def replay(
        self,
        account: NDArray[np.int64],
        merchant: NDArray[np.int64],
        ts: NDArray[np.float64],
        amount: NDArray[np.float64],
        is_fraud: NDArray[np.bool_],
        delay_s: float = DELAY_DAYS * DAY_S,
    ) -> NDArray[np.float64]:
        """Features [n, len(FEATURES)] of a labelled past, sorted by time; no label is used before `delay_s` passed."""
        self._make_room(account, merchant)
        _check(ts, amount)
        if len(ts) and np.any(np.diff(ts) < 0):
            raise FraudError("transactions must come in order of time; sort them by ts")
        out = np.empty((len(ts), len(FEATURES)))
        replay(self.accounts, self.merchants, account, merchant, ts, amount, is_fraud, delay_s, out)
        return out

    def _make_room(self, account: NDArray[np.int64], merchant: NDArray[np.int64]) -> None:
        if len(account):
            self.accounts = _grow(self.accounts, int(account.max()) + 1)
            self.merchants = _grow(self.merchants, int(merchant.max()) + 1)


def _grow(table: Table, n: int) -> Table:
    if n <= len(table):
        return table
    bigger = _empty(table.dtype, max(n, 2 * len(table)))
    bigger[: len(table)] = table
    return bigger


def _check(ts: NDArray[np.float64], amount: NDArray[np.float64]) -> None:
    if not (np.all(np.isfinite(ts)) and np.all(np.isfinite(amount))):
        raise FraudError("transactions: ts and amount must be finite numbers; send the others away before")
    if len(amount) and amount.min() < 0:
        raise FraudError("transactions: a negative amount; refunds are not card payments")

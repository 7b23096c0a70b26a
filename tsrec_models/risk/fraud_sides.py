"""The features of card transactions in two halves, each where its state lives: the card's here, the merchant's there.

A row of state is float64 [width], fit for a columnar table: the bytes of `ACCOUNT` and `MERCHANT`. Both halves together
are what `FraudFeatures.update` gives (a test holds it), where transactions come to a merchant in order of time.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsrec_models.risk.fraud_kernel import (
    ACCOUNT,
    BUCKET_S,
    CARD_FEATURES,
    FEATURES,
    MERCHANT,
    Table,
    label_account,
    label_merchant,
    step_account,
    step_merchant,
)

__all__ = ["CARD_WIDTH", "MERCHANT_WIDTH", "card_side", "initial_card", "label_cards", "merchant_side"]

#: float64 columns of a card's and of a merchant's row.
CARD_WIDTH, MERCHANT_WIDTH = ACCOUNT.itemsize // 8, MERCHANT.itemsize // 8


def initial_card() -> NDArray[np.float64]:
    """The row of a card that has paid nothing yet: [CARD_WIDTH]. That of a merchant is zeros."""
    row = np.zeros(1, ACCOUNT)
    row["familiar"] = -1
    return row.view(np.float64)


def card_side(
    state: NDArray[np.float64],
    rows: NDArray[np.int64],
    merchant: NDArray[np.int64],
    ts: NDArray[np.float64],
    amount: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Features of the card [n, CARD_FEATURES] of transactions in the order they came; `state` [any, CARD_WIDTH] is
    changed. merchant: a number for each, the same for the same merchant."""
    out = np.empty((len(rows), CARD_FEATURES))
    unique, place = np.unique(rows, return_inverse=True)
    table = np.ascontiguousarray(state[unique]).view(ACCOUNT)[:, 0]
    _cards(table, place, merchant, ts, amount, out)
    state[unique] = table.view(np.float64).reshape(len(unique), CARD_WIDTH)
    return out


def label_cards(
    state: NDArray[np.float64],
    rows: NDArray[np.int64],
    amount: NDArray[np.float64],
    is_fraud: NDArray[np.bool_],
    known_ts: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Take labels of cards' transactions; how many times the card's usual amount each was, [n], NaN unknown.

    The usual amount is that of now: what it was at the time of the transaction is not kept.
    """
    out = np.full(len(rows), np.nan)
    unique, place = np.unique(rows, return_inverse=True)
    table = np.ascontiguousarray(state[unique]).view(ACCOUNT)[:, 0]
    _label_cards(table, place, amount, is_fraud, known_ts, out)
    state[unique] = table.view(np.float64).reshape(len(unique), CARD_WIDTH)
    return out


def merchant_side(
    state: NDArray[np.float64],
    rows: NDArray[np.int64],
    ts: NDArray[np.float64],
    amount: NDArray[np.float64],
    label: NDArray[np.int8],
    to_usual: NDArray[np.float64],
    card: NDArray[np.float64],
) -> NDArray[np.float64]:
    """All features [n, len(FEATURES)] of transactions in the order they came; `state` [any, MERCHANT_WIDTH] is changed.

    label: -1 for a transaction, 0 or 1 for the label of one (its features are NaN); card: [n, CARD_FEATURES].
    """
    out = np.full((len(rows), len(FEATURES)), np.nan)
    out[:, :CARD_FEATURES] = card
    unique, place = np.unique(rows, return_inverse=True)
    table = np.ascontiguousarray(state[unique]).view(MERCHANT)[:, 0]
    _merchants(table, place, ts, amount, label, to_usual, out)
    state[unique] = table.view(np.float64).reshape(len(unique), MERCHANT_WIDTH)
    return out


@njit(cache=True)
def _cards(  # type: ignore[no-untyped-def,untyped-decorator]  # pragma: no cover
    table: Table, rows, merchant, ts, amount, out
):
    for i in range(len(rows)):
        who = table[rows[i]]
        # Windows do not go back: what comes late counts in the bucket of now.
        at = max(ts[i], who.bucket * BUCKET_S) if who.count > 0.0 else ts[i]
        step_account(who, merchant[i], at, amount[i], out[i])


@njit(cache=True)
def _label_cards(  # type: ignore[no-untyped-def,untyped-decorator]  # pragma: no cover
    table: Table, rows, amount, is_fraud, known_ts, out
):
    for i in range(len(rows)):
        who = table[rows[i]]
        if who.count >= 2.0 and who.usual > 0.0:
            out[i] = amount[i] / who.usual
        label_account(who, is_fraud[i], max(known_ts[i], who.frauds_ts))


@njit(cache=True)
def _merchants(  # type: ignore[no-untyped-def,untyped-decorator]  # pragma: no cover
    table: Table, rows, ts, amount, label, to_usual, out
):
    for i in range(len(rows)):
        where = table[rows[i]]
        if label[i] >= 0:
            label_merchant(where, ts[i], label[i] == 1, to_usual[i])
            continue
        at = max(ts[i], where.bucket * BUCKET_S) if where.count > 0.0 else ts[i]
        step_merchant(where, at, amount[i], out[i])

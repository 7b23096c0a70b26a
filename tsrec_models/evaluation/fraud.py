"""Rolling evaluation of a fraud model: train on seven days, wait seven for their labels, test on the next seven.

The protocol and the figures are those of the Fraud Detection Handbook (Le Borgne et al. 2022): cards known to be
compromised are out of the test from the day that is known; card precision is the share of compromised cards among the
k most suspicious of a day, each card judged by its worst transaction, cards found before left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsrec_models.risk.calibration import calibration_error
from tsrec_models.risk.fraud_features import FraudError
from tsrec_models.risk.fraud_model import MIN_FRAUDS

__all__ = ["Fold", "Scores", "Transactions", "average_precision", "card_precision", "folds", "roc_auc", "rolled"]

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Transactions:
    """Transactions by columns, all [n], in order of time: seconds, rows of account and merchant, amount, label."""

    ts: NDArray[np.float64]
    account: NDArray[np.int64]
    merchant: NDArray[np.int64]
    amount: NDArray[np.float64]
    is_fraud: NDArray[np.bool_]

    @property
    def day(self) -> NDArray[np.int64]:
        """Days since the first midnight at or before the first transaction."""
        start = np.floor(self.ts[0] / DAY_S)
        return np.asarray(np.floor(self.ts / DAY_S) - start, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Fold:
    """Places of the transactions to train on and to test on."""

    first_day: int
    train: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over the folds; `card_precision` at k cards a day."""

    auc: float
    average_precision: float
    card_precision: float
    calibration_error: float
    folds: int


#: Scores [test] of the transactions at `test`, by a model that has learned from those at `train`.
Method = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


def folds(
    data: Transactions, train_days: int = 7, delay_days: int = 7, test_days: int = 7, warmup_days: int = 30
) -> Iterator[Fold]:
    """All folds whose test days lie within the data, rolled by `test_days`; the first `warmup_days` fill the windows.

    Where the data are shorter than warm-up and one fold, the warm-up is shortened. Raises FraudError where even then
    there is none.
    """
    day = data.day
    total = int(day[-1]) + 1
    span = train_days + delay_days + test_days
    if total < span:
        raise FraudError(f"{total} days of transactions; one fold alone takes {span}")
    first = min(warmup_days, total - span)
    for start in range(first, total - span + 1, test_days):
        train = np.flatnonzero((day >= start) & (day < start + train_days))
        test_from = start + train_days + delay_days
        known = set(np.unique(data.account[train[data.is_fraud[train]]]).tolist())
        parts = []
        for k in range(test_days):
            # On this day the labels of the day `delay_days` before have become known.
            told = np.flatnonzero((day == test_from + k - delay_days - 1) & data.is_fraud)
            known.update(data.account[told].tolist())
            today = np.flatnonzero(day == test_from + k)
            parts.append(today[~np.isin(data.account[today], list(known))])
        yield Fold(start, train, np.concatenate(parts))


def rolled(data: Transactions, method: Method, k: int = 100, last: int | None = None, **protocol: int) -> Scores:
    """Mean figures of `method` over the folds (the `last` ones only, where given) that can be measured.

    A fold with fewer than MIN_FRAUDS frauds to learn from, or none to find, has no figures and is left out. Raises
    FraudError if none is left.
    """
    found = []
    chosen = list(folds(data, **protocol))
    for fold in chosen[-last:] if last else chosen:
        y = data.is_fraud[fold.test]
        if np.count_nonzero(data.is_fraud[fold.train]) < MIN_FRAUDS or not y.any() or y.all():
            continue
        p = method(fold.train, fold.test)
        found.append(
            (
                roc_auc(p, y),
                average_precision(p, y),
                card_precision(p, y, data.account[fold.test], data.day[fold.test], k),
                calibration_error(p, y),
            )
        )
    if not found:
        raise FraudError(
            f"no fold with {MIN_FRAUDS} frauds to learn from and some to find; give more days, or more frauds"
        )
    auc, ap, cp, error = np.mean(found, axis=0)
    return Scores(float(auc), float(ap), float(cp), float(error), len(found))


def roc_auc(score: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative, ties a half."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n = int(is_positive.sum())
    return float((rank[is_positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def average_precision(score: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> float:
    """Precision at each threshold, weighted by the recall it adds; equal scores are one threshold."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(is_positive[order])
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    gain = np.diff(np.concatenate([[0], hits[last]]))
    return float(np.sum(gain * hits[last] / (last + 1)) / hits[-1])


def card_precision(
    score: NDArray[np.float64],
    is_fraud: NDArray[np.bool_],
    account: NDArray[np.int64],
    day: NDArray[np.int64],
    k: int,
) -> float:
    """Mean over the days of the share of compromised cards among the `k` most suspicious; found cards drop out."""
    out: set[int] = set()
    shares = []
    for today in np.unique(day):
        rows = np.flatnonzero(day == today)
        rows = rows[~np.isin(account[rows], list(out))]
        cards, place = np.unique(account[rows], return_inverse=True)
        worst = np.full(len(cards), -np.inf)
        np.maximum.at(worst, place, score[rows])
        compromised = np.zeros(len(cards), dtype=bool)
        np.logical_or.at(compromised, place, is_fraud[rows])
        top = np.argsort(-worst, kind="stable")[:k]
        detected = top[compromised[top]]
        out.update(cards[detected].tolist())
        shares.append(len(detected) / k)
    return float(np.mean(shares))

"""Five-fold evaluation of credit scoring: fit on four fifths, score the fifth, each in turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsrec_models.evaluation.credit_reading import Applications
from tsrec_models.evaluation.fraud import roc_auc
from tsrec_models.risk.calibration import brier_score, calibration_error
from tsrec_models.risk.credit import CreditScorer, stratified_folds
from tsrec_models.risk.credit_encoding import CreditError

__all__ = ["CreditFigures", "cross_validate", "ks"]


@dataclass(frozen=True, slots=True)
class CreditFigures:
    """Means over the folds, and the out-of-fold probability of each row [n] for a figure and for fairness.

    `accuracy`, `recall` and `f1` of calling a case bad from a probability of one half on; `best_f1` and its recall at
    the threshold that was best inside each training part.
    """

    auc: float
    ks: float
    brier: float
    calibration_error: float
    accuracy: float
    recall: float
    f1: float
    best_f1: float
    best_recall: float
    probability: NDArray[np.float64]
    threshold: float


def cross_validate(data: Applications, folds: int = 5, seed: int = 0) -> CreditFigures:
    """Fit on four fifths, score the fifth, each in turn; nothing of a fifth is seen before it is scored."""
    rarer = int(min(np.count_nonzero(data.is_bad), np.count_nonzero(~data.is_bad)))
    if rarer < folds:
        raise CreditError(f"{folds} folds of {rarer} cases of the rarer class: each fold needs one to be scored by")
    fold = stratified_folds(data.is_bad, folds, seed + 1000)
    probability = np.empty(len(data.is_bad))
    figures, thresholds = [], []
    for k in range(folds):
        inside, out = fold != k, fold == k
        scorer = CreditScorer.fit({n: c[inside] for n, c in data.table.items()}, data.is_bad[inside], seed)
        p = scorer.predict({n: c[out] for n, c in data.table.items()})
        probability[out] = p
        y = data.is_bad[out]
        recall, f1 = _recall_f1(p >= 0.5, y)
        best_recall, best_f1 = _recall_f1(p >= scorer.threshold, y)
        thresholds.append(scorer.threshold)
        accuracy = float(np.mean((p >= 0.5) == y))
        # Calibration is judged over all folds below: a fifth of a small file has too few cases a group.
        figures.append((roc_auc(p, y), ks(p, y), brier_score(p, y), accuracy, recall, f1, best_f1, best_recall))
    auc, distance, brier, accuracy, recall, f1, best_f1, best_recall = (float(v) for v in np.mean(figures, axis=0))
    return CreditFigures(
        auc,
        distance,
        brier,
        calibration_error(probability, data.is_bad),
        accuracy,
        recall,
        f1,
        best_f1,
        best_recall,
        probability,
        float(np.mean(thresholds)),
    )


def ks(score: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> float:
    """Kolmogorov-Smirnov: greatest distance of the two classes' distributions of scores."""
    order = np.argsort(score, kind="stable")
    positives = np.cumsum(is_positive[order]) / max(1, int(is_positive.sum()))
    negatives = np.cumsum(~is_positive[order]) / max(1, int((~is_positive).sum()))
    last = np.append(np.diff(score[order]) != 0, True)  # within equal scores there is no cut
    return float(np.max(np.abs(positives - negatives)[last]))


def _recall_f1(called: NDArray[np.bool_], is_bad: NDArray[np.bool_]) -> tuple[float, float]:
    hits = int(np.count_nonzero(called & is_bad))
    recall = hits / max(1, int(is_bad.sum()))
    return recall, 2 * hits / max(1, int(called.sum()) + int(is_bad.sum()))

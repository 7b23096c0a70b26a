"""Five-fold evaluation of credit scoring on a user's file, and reading such a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from tsrec_models.evaluation.fraud import roc_auc
from tsrec_models.risk.calibration import brier_score, calibration_error
from tsrec_models.risk.credit import CreditScorer, stratified_folds
from tsrec_models.risk.credit_encoding import CreditError

__all__ = ["Applications", "CreditFigures", "cross_validate", "ks", "read_applications"]

#: Words for a case that went wrong, in a label column of text.
BAD_WORDS = {"bad", "default", "defaulted", "1", "true", "yes", "y", "charged off", "delinquent", "late"}


@dataclass(frozen=True, slots=True)
class Applications:
    """Columns [n] by name (floats with NaN, or text with None) and whether each case turned bad."""

    table: dict[str, NDArray[Any]]
    is_bad: NDArray[np.bool_]
    bad_value: str


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


def read_applications(path: Path, label: str, bad: str | None = None) -> Applications:
    """A CSV (.gz too) with a header: `label` is the outcome, all other columns are features.

    `bad` names the value that means bad; without it a known word ("bad", "default", "1", …), else the rarer value.
    Raises CreditError where there is no such column, or it has not two values.
    """
    try:
        table = pa.csv.read_csv(path, convert_options=pa.csv.ConvertOptions(strings_can_be_null=True))
    except (OSError, pa.ArrowInvalid) as error:
        raise CreditError(f"{path}: cannot be read: {error}") from error
    if label not in table.column_names:
        raise CreditError(f"{path}: no column {label!r}; it has {', '.join(table.column_names)}")
    outcome = [None if v is None else _word(v) for v in table[label].to_pylist()]
    values = sorted({v for v in outcome if v is not None})
    if len(values) != 2:
        raise CreditError(f"{path}: column {label!r} must have two values, it has {len(values)}: {values[:5]}")
    if bad is not None and _word(bad) not in values:
        raise CreditError(f"{path}: column {label!r} has {values}, not {bad!r}")
    known = [v for v in values if v in BAD_WORDS]
    rarer = min(values, key=outcome.count)
    bad_value = _word(bad) if bad is not None else known[0] if len(known) == 1 else rarer
    keep = np.array([v is not None for v in outcome])
    columns: dict[str, NDArray[Any]] = {}
    for name in table.column_names:
        if name != label:
            columns[name] = _column(table[name].combine_chunks())[keep]
    return Applications(columns, np.array([v == bad_value for v in outcome])[keep], bad_value)


def _word(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().lower()


def _column(column: Any) -> NDArray[Any]:
    kind = column.type
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.int8())
        kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    if pa.types.is_temporal(kind):
        column = pc.cast(column, pa.string())
    return np.array(column.to_pylist(), dtype=object)


def cross_validate(data: Applications, folds: int = 5, seed: int = 0) -> CreditFigures:
    """Fit on four fifths, score the fifth, each in turn; nothing of a fifth is seen before it is scored."""
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

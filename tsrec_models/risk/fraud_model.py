"""A fraud model on windowed features: gradient-boosted trees, small and many, with calibrated probabilities.

A few hundred frauds are all that a week of training has. So the trees are shallow and strongly regularised, features
that can only be bad news are held monotone, several models on different subsamples are averaged, and the number of
trees and the calibration come from parts of the training days that the trees were not grown on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsrec_models.risk.calibration import Platt, best_threshold
from tsrec_models.risk.drift_panel import Reference
from tsrec_models.risk.fraud_features import FEATURES, FraudError
from tsrec_models.risk.fraud_kernel import RISK_FEATURES

__all__ = ["FraudModel"]

#: Parameters of one booster; none of them was chosen on test days.
PARAMS: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.04,
    "num_leaves": 12,
    "min_data_in_leaf": 30,
    "lambda_l2": 5.0,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "max_bin": 127,
    "verbosity": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
}
MAX_TREES, PATIENCE, FOLDS = 400, 40, 4
#: Fewer frauds than this cannot be learned from.
MIN_FRAUDS = 10


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise FraudError("the fraud model needs lightgbm: pip install 'tsrec[risk]'") from error
    return lightgbm


class FraudModel:
    """Probability of fraud of a transaction from its features, averaged over boosters and calibrated."""

    def __init__(
        self,
        boosters: Sequence[Any],
        calibration: Platt,
        features: Sequence[str] = FEATURES,
        inputs: Sequence[Reference] = (),
        threshold: float = 0.5,
    ) -> None:
        """`inputs`: what the features were in training; `threshold`: the probability from which on calling a held-out
        transaction fraud gave the best F1."""
        self.boosters = list(boosters)
        self.calibration = calibration
        self.features = tuple(features)
        self.inputs = list(inputs)
        self.threshold = threshold

    @classmethod
    def fit(
        cls,
        x: NDArray[np.float64],
        is_fraud: NDArray[np.bool_],
        ts: NDArray[np.float64],
        features: Sequence[str] = FEATURES,
        seed: int = 0,
    ) -> FraudModel:
        """Learn from features `x` [n, f] and labels [n] of transactions at `ts` [n], in order of time.

        One booster a fold: grown on the other folds, stopped and calibrated on its own. Folds are blocks of time, since
        neighbours in time share their windows. Raises FraudError with fewer than ten frauds.
        """
        frauds = int(np.count_nonzero(is_fraud))
        if frauds < MIN_FRAUDS or frauds == len(is_fraud):
            raise FraudError(f"{frauds} frauds among {len(is_fraud)} transactions: at least {MIN_FRAUDS} are needed")
        lightgbm = _lightgbm()
        folds = _time_folds(is_fraud, FOLDS)
        params = PARAMS | {
            "seed": seed,
            "monotone_constraints": [int(name in RISK_FEATURES) for name in features],
        }
        boosters, margins = [], np.zeros(len(x))
        for k in range(FOLDS):
            inside = folds != k
            train = lightgbm.Dataset(x[inside], is_fraud[inside].astype(np.float64), free_raw_data=False)
            held = lightgbm.Dataset(x[~inside], is_fraud[~inside].astype(np.float64), reference=train)
            booster = lightgbm.train(
                params | {"metric": "binary_logloss", "bagging_seed": seed + k, "feature_fraction_seed": seed + k},
                train,
                MAX_TREES,
                [held],
                callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
            )
            margins[~inside] = booster.predict(x[~inside], raw_score=True, num_threads=1)
            boosters.append(lightgbm.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration)))
        calibration = Platt.fit(margins, is_fraud)
        inputs = [Reference.of(name, x[:, j]) for j, name in enumerate(features)]
        threshold = best_threshold(calibration.apply(margins), is_fraud)
        return cls(boosters, calibration, features, [one for one in inputs if one is not None], threshold)

    def margin(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean log odds over the boosters, before calibration: [n]."""
        return np.mean([booster.predict(x, raw_score=True, num_threads=1) for booster in self.boosters], axis=0)  # type: ignore[no-any-return]

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of fraud [n] of transactions with features `x` [n, f]."""
        return self.calibration.apply(self.margin(x))

    def reasons(self, x: NDArray[np.float64], top: int = 3) -> list[list[tuple[str, float]]]:
        """For each transaction the `top` features that raised its log odds most, with by how much (TreeSHAP)."""
        parts = np.mean([booster.predict(x, pred_contrib=True, num_threads=1) for booster in self.boosters], axis=0)[
            :, :-1
        ]
        order = np.argsort(-parts, axis=1)[:, :top]
        return [
            [(self.features[k], float(row[k])) for k in ranks if row[k] > 0]
            for row, ranks in zip(parts, order, strict=True)
        ]

    def save(self, folder: Path) -> None:
        """Write the boosters as LightGBM's own text and the rest as JSON; nothing in it runs when it is loaded."""
        folder.mkdir(parents=True, exist_ok=True)
        for k, booster in enumerate(self.boosters):
            (folder / f"booster-{k}.txt").write_text(booster.model_to_string())
        about = {
            "boosters": len(self.boosters), "features": self.features, "calibration": self.calibration.row(),
            "inputs": [one.row() for one in self.inputs], "threshold": self.threshold,
        }  # fmt: skip
        (folder / "fraud.json").write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path) -> FraudModel:
        """Read what `save` wrote. Raises FraudError where it is not there."""
        try:
            about = json.loads((folder / "fraud.json").read_text())
            texts = [(folder / f"booster-{k}.txt").read_text() for k in range(about["boosters"])]
        except (OSError, ValueError, KeyError) as error:
            raise FraudError(f"no fraud model in {folder}: {error}") from error
        if tuple(about["features"]) != FEATURES:
            raise FraudError(f"the fraud model in {folder} was trained on other features than these; train it again")
        lightgbm = _lightgbm()
        boosters = [lightgbm.Booster(model_str=text) for text in texts]
        try:
            inputs = [Reference.from_row(row) for row in about["inputs"]]
            return cls(
                boosters, Platt.from_row(about["calibration"]), about["features"], inputs, float(about["threshold"])
            )
        except KeyError as error:
            raise FraudError(
                f"the fraud model in {folder} is of an earlier version ({error}); train it again"
            ) from error


def _time_folds(is_fraud: NDArray[np.bool_], folds: int) -> NDArray[np.int64]:
    """Fold [n] of each transaction: blocks of time that hold equally many frauds."""
    rank = np.asarray(np.cumsum(is_fraud) - is_fraud, dtype=np.int64)
    return np.asarray(np.minimum(folds - 1, rank * folds // max(1, int(is_fraud.sum()))))

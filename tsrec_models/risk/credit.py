"""Credit scoring: the probability that an applicant turns bad, points on a scale, and the reasons.

Two models that err differently are blended in log odds: boosted trees (small, bagged, monotone where the data are) and
a ridge logistic regression. How strong the ridge, how many trees, the blend and the calibration all come from folds
inside the training rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tsrec_models.risk.calibration import Platt, best_threshold
from tsrec_models.risk.credit_encoding import CreditError, Encoder
from tsrec_models.risk.drift_panel import Reference

__all__ = ["CreditScore", "CreditScorer", "PointsScale", "stratified_folds"]

FOLDS, BAGS, MAX_TREES = 5, 6, 500
RIDGES = (3.0, 10.0, 30.0)
#: From so many rows on, deeper trees pay.
LARGE = 5_000


@dataclass(frozen=True, slots=True)
class PointsScale:
    """Points = `base` at good:bad odds of `odds` to one, and `double` more each time the odds double."""

    base: float = 600.0
    odds: float = 30.0
    double: float = 20.0

    def points(self, p_bad: float) -> float:
        """Points of a probability of turning bad."""
        p = min(max(p_bad, 1e-9), 1 - 1e-9)
        return self.base + self.double / math.log(2) * (math.log((1 - p) / p) - math.log(self.odds))

    def worth(self, log_odds: float) -> float:
        """Points that a rise in the log odds of turning bad costs."""
        return self.double / math.log(2) * log_odds


@dataclass(frozen=True, slots=True)
class CreditScore:
    """`probability` of turning bad; `reasons` are the fields that cost most points, with how many and their value."""

    points: int
    probability: float
    reasons: tuple[tuple[str, int, Any], ...]


def stratified_folds(is_bad: NDArray[np.bool_], k: int, seed: int) -> NDArray[np.int64]:
    """Fold [n] of each row, with equal shares of bad cases, drawn at random."""
    rng = np.random.default_rng(seed)
    fold = np.empty(len(is_bad), dtype=np.int64)
    for value in (False, True):
        rows = rng.permutation(np.flatnonzero(is_bad == value))
        fold[rows] = np.arange(len(rows)) % k
    return fold


class CreditScorer:
    """A fitted scorer. `fit` learns from columns, `score` serves one applicant, `predict` many."""

    def __init__(
        self,
        encoder: Encoder,
        boosters: Sequence[Any],
        weights: NDArray[np.float64],
        blend: float,
        calibration: Platt,
        centre: NDArray[np.float64],
        threshold: float,
        scale: PointsScale | None = None,
        inputs: Sequence[Reference] = (),
    ) -> None:
        self.inputs = list(inputs)  # what the fields were in training
        self.encoder = encoder
        self.boosters = list(boosters)
        self.weights = weights  # of the linear model, the last is the intercept
        self.blend = blend  # weight of the linear model in log odds
        self.calibration = calibration
        self.centre = centre  # mean inputs of the linear model: what a contribution is measured from
        self.threshold = threshold
        self.scale = scale or PointsScale()

    @classmethod
    def fit(
        cls,
        table: Mapping[str, NDArray[Any]],
        is_bad: NDArray[np.bool_],
        seed: int = 0,
        scale: PointsScale | None = None,
    ) -> CreditScorer:
        """Learn from columns [n] (floats with NaN, or text with None) and labels [n].

        Raises CreditError with fewer than twenty cases of a class.
        """
        bad = int(np.count_nonzero(is_bad))
        if min(bad, len(is_bad) - bad) < 20:
            raise CreditError(f"{bad} bad of {len(is_bad)} cases: at least twenty of each class are needed")
        encoder = Encoder.fit(table, is_bad)
        trees, linear = encoder.encode(table)
        fold = stratified_folds(is_bad, FOLDS, seed)
        y = is_bad.astype(np.float64)
        losses = np.zeros(MAX_TREES)
        grown = []
        linear_margin = np.empty((len(RIDGES), len(y)))
        for k in range(FOLDS):
            inside, out = fold != k, fold == k
            curve: dict[str, Any] = {}
            grown.append(_boost(trees[inside], y[inside], encoder.signs, seed + k, held=(trees[out], y[out], curve)))
            losses += np.array(curve["held"]["binary_logloss"]) * np.mean(out)
            for j, ridge in enumerate(RIDGES):
                linear_margin[j, out] = _with_one(linear[out]) @ _logistic(linear[inside], y[inside], ridge)
        # One number of trees for all folds: each fold's own best would be fitted to its noise.
        n_trees = int(np.argmin(losses)) + 1
        tree_margin = np.empty(len(y))
        for k, booster in enumerate(grown):
            out = fold == k
            tree_margin[out] = booster.predict(trees[out], raw_score=True, num_iteration=n_trees, num_threads=1)
        best = int(np.argmin([_log_loss(m, y) for m in linear_margin]))
        blend = _blend(tree_margin, linear_margin[best], y)
        margin = (1 - blend) * tree_margin + blend * linear_margin[best]
        boosters = [_boost(trees, y, encoder.signs, seed + 100 + b, n_trees=n_trees) for b in range(BAGS)]
        calibration = Platt.fit(margin, is_bad)
        threshold = best_threshold(calibration.apply(margin), is_bad)
        weights = _logistic(linear, y, RIDGES[best])
        inputs = [one for one in (Reference.of(name, values) for name, values in table.items()) if one is not None]
        return cls(encoder, boosters, weights, blend, calibration, linear.mean(axis=0), threshold, scale, inputs)

    def predict(self, table: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Probabilities [n] of turning bad."""
        return self.calibration.apply(self._margin(*self.encoder.encode(table)))

    def score(self, features: Mapping[str, Any], top: int = 4) -> CreditScore:
        """Points, probability and reasons of one applicant; fields not there are missing values."""
        trees, linear = self.encoder.encode_one(features)
        probability = float(self.calibration.apply(self._margin(trees, linear))[0])
        costs = self._costs(trees, linear)
        worst = sorted(costs.items(), key=lambda item: -item[1])[:top]
        reasons = tuple((name, round(cost), features.get(name)) for name, cost in worst if cost >= 0.5)
        return CreditScore(round(self.scale.points(probability)), probability, reasons)

    def _margin(self, trees: NDArray[np.float64], linear: NDArray[np.float64]) -> NDArray[np.float64]:
        boosted = np.mean([booster.predict(trees, raw_score=True, num_threads=1) for booster in self.boosters], axis=0)
        return np.asarray((1 - self.blend) * boosted + self.blend * (_with_one(linear) @ self.weights))

    def _costs(self, trees: NDArray[np.float64], linear: NDArray[np.float64]) -> dict[str, float]:
        """Points that each field costs against the average applicant: TreeSHAP and weight x deviation, blended."""
        shap = np.mean([booster.predict(trees, pred_contrib=True, num_threads=1) for booster in self.boosters], axis=0)[
            0, :-1
        ]
        parts = (linear[0] - self.centre) * self.weights[:-1]
        costs = dict.fromkeys(self.encoder.by_name, 0.0)
        for name, part in zip(self.encoder.tree_names, (1 - self.blend) * shap, strict=True):
            costs[name] += part
        for name, part in zip(self.encoder.linear_names, self.blend * parts, strict=True):
            costs[name] += part
        return {name: self.scale.worth(self.calibration.slope * cost) for name, cost in costs.items()}

    def save(self, folder: Path) -> None:
        """Write the trees as LightGBM's own text and the rest as JSON; nothing in it runs when it is loaded."""
        folder.mkdir(parents=True, exist_ok=True)
        for k, booster in enumerate(self.boosters):
            (folder / f"booster-{k}.txt").write_text(booster.model_to_string())
        about = {
            "columns": self.encoder.rows(),
            "boosters": len(self.boosters),
            "weights": self.weights.tolist(),
            "blend": self.blend,
            "calibration": self.calibration.row(),
            "centre": self.centre.tolist(),
            "threshold": self.threshold,
            "scale": asdict(self.scale),
            "inputs": [one.row() for one in self.inputs],
        }
        (folder / "credit.json").write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path) -> CreditScorer:
        """Read what `save` wrote. Raises CreditError where it is not there."""
        lightgbm = _lightgbm()
        try:
            about = json.loads((folder / "credit.json").read_text())
            texts = [(folder / f"booster-{k}.txt").read_text() for k in range(about["boosters"])]
        except (OSError, ValueError, KeyError) as error:
            raise CreditError(f"no credit model in {folder}: {error}") from error
        return cls(
            Encoder.from_rows(about["columns"]),
            [lightgbm.Booster(model_str=text) for text in texts],
            np.array(about["weights"]),
            float(about["blend"]),
            Platt.from_row(about["calibration"]),
            np.array(about["centre"]),
            float(about["threshold"]),
            PointsScale(**about["scale"]),
            [Reference.from_row(row) for row in about.get("inputs", ())],
        )


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise CreditError("credit scoring needs lightgbm: pip install 'tsrec[risk]'") from error
    return lightgbm


def _boost(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    signs: Sequence[int],
    seed: int,
    n_trees: int = MAX_TREES,
    held: tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Any]] | None = None,
) -> Any:
    """A booster of `n_trees`; the loss after each of them on `held` (x, y) goes into its dict."""
    lightgbm = _lightgbm()
    large = len(y) >= LARGE
    params = {
        "objective": "binary",
        "learning_rate": 0.05 if large else 0.03,
        "num_leaves": 31 if large else 10,
        "min_data_in_leaf": 40 if large else 15,
        "lambda_l2": 5.0,
        "feature_fraction": 0.5 if large else 0.25,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "monotone_constraints": list(signs),
        # The basic method forbids more than the constraint asks for.
        "monotone_constraints_method": "advanced",
        "seed": seed,
        "verbosity": -1,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "metric": "binary_logloss",
    }
    train = lightgbm.Dataset(x, y, free_raw_data=False)
    if held is None:
        return lightgbm.train(params, train, n_trees)
    check = lightgbm.Dataset(held[0], held[1], reference=train)
    record = lightgbm.record_evaluation(held[2])
    return lightgbm.train(params, train, n_trees, [check], ["held"], callbacks=[record])


def _with_one(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def _logistic(x: NDArray[np.float64], y: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Weights [columns + 1] of a logistic regression, all but the intercept (last) shrunk; by Newton's steps."""
    z = _with_one(x)
    penalty = np.full(z.shape[1], ridge)
    penalty[-1] = 1e-9
    w = np.zeros(z.shape[1])
    for _ in range(50):
        p = expit(z @ w)
        gradient = z.T @ (p - y) + penalty * w
        hessian = (z * (p * (1 - p))[:, None]).T @ z + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        w -= step
        if np.max(np.abs(step)) < 1e-8:
            break
    return w


def _losses(margin: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.logaddexp(0, margin) - y * margin)


def _log_loss(margin: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(np.mean(_losses(margin, y)))


def _blend(trees: NDArray[np.float64], linear: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Weight of the linear model: of those that no standard error tells from the best, the one nearest to a half."""
    shares = np.linspace(0, 1, 21)
    losses = np.array([_losses((1 - w) * trees + w * linear, y) for w in shares])
    apart = losses - losses[int(np.argmin(losses.mean(axis=1)))]
    good = apart.mean(axis=1) <= apart.std(axis=1) / math.sqrt(len(y))
    return float(min(shares[good], key=lambda w: abs(w - 0.5)))

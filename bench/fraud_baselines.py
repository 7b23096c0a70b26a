"""Our fraud model against the handbook's own, all rebuilt here, over the same rolling folds.

Logistic regression, random forest and XGBoost as in the Fraud Detection Handbook (chapters 3 and 5): its fifteen
features (amount, weekend, night; per customer number and mean amount over 1, 7, 30 days; per terminal number and risk
over the same, seven days delayed) built with pandas as it does, scaled, its library defaults, and its tuned XGBoost
(100 trees of depth 3, rate 0.1) and random forest (100 trees of depth 10) besides.

    python bench/fraud_baselines.py [--last N] [--skip-ours] [--only NAME ...]

Needs pandas, scikit-learn and (for its two lines) xgboost, which may live in an environment of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tsrec_models.evaluation.fraud import Transactions, rolled  # noqa: E402
from tsrec_models.risk.fraud_features import FraudFeatures  # noqa: E402
from tsrec_models.risk.fraud_model import FraudModel  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "fraud-handbook" / "transactions.parquet"


def windows(d: pd.DataFrame, key: str, value: str, days: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of `value` over each key's last `days` days, this row included, in the rows' order."""
    by = d.set_index("TX_DATETIME").groupby(key, sort=False)[value]
    rolling = by.rolling(f"{days}D")
    index = d.groupby(key, sort=False).indices
    order = np.concatenate([index[k] for k in d[key].unique()])
    total, number = np.empty(len(d)), np.empty(len(d))
    total[order], number[order] = rolling.sum().to_numpy(), rolling.count().to_numpy()
    return total, number


def handbook_features(d: pd.DataFrame) -> NDArray[np.float64]:
    """The handbook's fifteen features [n, 15]."""
    out = {
        "TX_AMOUNT": d.TX_AMOUNT.to_numpy(),
        "TX_DURING_WEEKEND": (d.TX_DATETIME.dt.day_of_week >= 5).to_numpy(float),
        "TX_DURING_NIGHT": (d.TX_DATETIME.dt.hour <= 6).to_numpy(float),
    }
    for days in (1, 7, 30):
        total, number = windows(d, "CUSTOMER_ID", "TX_AMOUNT", days)
        out[f"customer_n_{days}"], out[f"customer_mean_{days}"] = number, total / number
    delayed_fraud, delayed_n = windows(d, "TERMINAL_ID", "TX_FRAUD", 7)
    for days in (1, 7, 30):
        fraud, number = windows(d, "TERMINAL_ID", "TX_FRAUD", 7 + days)
        n = number - delayed_n
        out[f"terminal_n_{days}"] = n
        out[f"terminal_risk_{days}"] = np.where(n > 0, (fraud - delayed_fraud) / np.maximum(n, 1), 0.0)
    return np.stack(list(out.values()), axis=1)


def baselines() -> dict[str, Callable[[], Any]]:
    """Name -> a new classifier."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    found: dict[str, Callable[[], Any]] = {
        "logistic regression": lambda: LogisticRegression(random_state=0, max_iter=1000),
        "random forest": lambda: RandomForestClassifier(random_state=0, n_jobs=1),
        "random forest, tuned": lambda: RandomForestClassifier(max_depth=10, random_state=0, n_jobs=1),
    }
    if importlib.util.find_spec("xgboost"):
        from xgboost import XGBClassifier

        found["xgboost"] = lambda: XGBClassifier(random_state=0, n_jobs=1)
        found["xgboost, tuned"] = lambda: XGBClassifier(max_depth=3, learning_rate=0.1, random_state=0, n_jobs=1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", type=int, help="only the last N folds")
    parser.add_argument("--skip-ours", action="store_true")
    parser.add_argument("--only", nargs="*", help="names of baselines")
    args = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"no data at {DATA}")
    known = baselines()
    if unknown := sorted(set(args.only or ()) - known.keys()):
        parser.error(f"no baseline {', '.join(unknown)} here; there are {', '.join(known)}; XGBoost's need xgboost")
    if "xgboost" not in known:
        print("xgboost is not installed: its two lines are left out", file=sys.stderr)
    d = pd.read_parquet(DATA).sort_values("TX_DATETIME", kind="stable").reset_index(drop=True)
    data = Transactions(
        d.TX_DATETIME.to_numpy().astype("datetime64[ns]").astype(np.int64) / 1e9,
        d.CUSTOMER_ID.to_numpy(np.int64),
        d.TERMINAL_ID.to_numpy(np.int64),
        d.TX_AMOUNT.to_numpy(np.float64),
        d.TX_FRAUD.to_numpy(bool),
    )

    def show(name: str, method: Any) -> None:
        begin = time.process_time()
        s = rolled(data, method, last=args.last)
        line = {
            "model": name,
            "auc": round(s.auc, 4),
            "average_precision": round(s.average_precision, 4),
            "card_precision@100": round(s.card_precision, 4),
            "calibration_error": round(s.calibration_error, 5),
            "folds": s.folds,
            "cpu_s": round(time.process_time() - begin, 1),
        }
        print(json.dumps(line), flush=True)

    if not args.skip_ours:
        ours = FraudFeatures().replay(data.account, data.merchant, data.ts, data.amount, data.is_fraud)
        show(
            "tsrec",
            lambda train, test: FraudModel.fit(ours[train], data.is_fraud[train], data.ts[train]).predict(ours[test]),
        )
    x = handbook_features(d)
    from sklearn.preprocessing import StandardScaler

    for name, make in known.items():
        if args.only and name not in args.only:
            continue

        def method(train: Any, test: Any, make: Callable[[], Any] = make) -> Any:
            scaler = StandardScaler().fit(x[train])
            model = make().fit(scaler.transform(x[train]), data.is_fraud[train])
            return model.predict_proba(scaler.transform(x[test]))[:, 1].astype(np.float64)

        show(name, method)


if __name__ == "__main__":
    main()

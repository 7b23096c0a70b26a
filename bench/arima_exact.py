"""Our filter against statsmodels' SARIMAX on the whole of each classic series: the largest differences.

    python bench/arima_exact.py [--steady 1e-13]

Each series complete and with gaps (single values, nine in a row, two of the first three), each without and with two
regressors; the last 15 values are forecast. Parameters are statsmodels' starting values, its settings those of exact
maths (`tests/tsrec_models/arima/classics.py`). Differences are relative: of innovations and forecasts to their
predicted standard deviation or their own size, whichever is larger. `--steady` is the error at which a series may go
over to its steady state. JSON lines, and last a table in Markdown with the largest of the four runs of each series.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "tsrec_models" / "arima"))

from classics import CLASSICS, classic, coefficients_of, plausible, sarimax, with_gaps  # noqa: E402

from tsrec_models.arima import ArimaBank, Order  # noqa: E402

HORIZON = 15
KINDS = ("innovations", "variances", "likelihood", "forecasts", "forecast variances")

Floats = NDArray[np.float64]


def regressors(n: int) -> Floats:
    """A wave and noise, [n, 2]."""
    return np.stack([np.sin(np.arange(n) / 9.0), np.random.default_rng(7).normal(size=n)], axis=1)


def differences(whole: Floats, order: Order, gaps: bool, regressed: bool, steady: float) -> dict[str, float]:
    """Largest relative difference of each kind."""
    n = len(whole) - HORIZON
    k = 2 if regressed else 0
    x = regressors(len(whole))[:, :k]
    y = with_gaps(whole[:n]) if gaps else whole[:n]
    exog: Any = x[:n] if k else None
    params = plausible(y, order, exog)
    theirs = sarimax(y, order, exog).filter(params)
    ours = ArimaBank.of([coefficients_of(order, params, k)], steady_error=steady)
    innovations = ours.filter(y[:, None], x=x[:n, None, :])
    v, variance = innovations.value[:, 0], innovations.variance[:, 0]
    seen = np.isfinite(v)
    diffuse = theirs.filter_results.forecasts_error_diffuse_cov
    proper = np.isfinite(y) if diffuse is None else np.isfinite(y) & (diffuse[0, 0] <= 1e-10)
    if (seen != proper).any():
        raise SystemExit(f"{order}: innovations where statsmodels has none, or none where it has")
    their_variance = theirs.forecasts_error_cov[0, 0]
    their_v = theirs.forecasts_error[0]
    future = theirs.get_forecast(HORIZON, exog=x[n:] if k else None)
    forecast = ours.forecast(HORIZON, x=x[None, n:])
    sd = np.sqrt(their_variance)
    return {
        "innovations": float(np.max(np.abs(v - their_v)[seen] / np.maximum(sd, np.abs(their_v))[seen])),
        "variances": float(np.max(np.abs(variance / their_variance - 1.0)[seen])),
        "likelihood": float(abs(ours.loglikelihood()[0] / theirs.llf - 1.0)),
        "forecasts": float(
            np.max(np.abs(forecast.mean[0] - future.predicted_mean) / np.maximum(sd[-1], np.abs(future.predicted_mean)))
        ),
        "forecast variances": float(np.max(np.abs(forecast.variance[0] / future.var_pred_mean - 1.0))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steady", type=float, default=1e-13)
    args = parser.parse_args()
    table = [f"| series, order | values | {' | '.join(KINDS)} |", "|---" * (len(KINDS) + 2) + "|"]
    for file, column, transform, order in CLASSICS:
        y = classic(file, column, transform)
        largest = dict.fromkeys(KINDS, 0.0)
        for gaps in (False, True):
            for regressed in (False, True):
                found = differences(y, order, gaps, regressed, args.steady)
                largest = {kind: max(largest[kind], found[kind]) for kind in KINDS}
                about = {"series": column, "order": str(order), "values": len(y), "gaps": gaps, "regressors": regressed}
                print(
                    json.dumps({**about, **{kind: float(f"{value:.1e}") for kind, value in found.items()}}), flush=True
                )
        table.append(f"| {column} {order} | {len(y):,} | {' | '.join(f'{largest[kind]:.0e}' for kind in KINDS)} |")
    print("\n".join(table))


if __name__ == "__main__":
    main()

"""How good forecasts are: accuracy of a held-out end, and whether intervals keep their promise step by step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tsrec_models.arima.calibrated import CalibratedBank
from tsrec_models.arima.estimate import Estimates, estimate
from tsrec_models.arima.order import Order
from tsrec_models.arima.season import detect_periods
from tsrec_models.base import ModelError
from tsrec_models.evaluation.forecast_errors import absolute_scaled_error, naive_error, symmetric_percentage_error

__all__ = ["EndForecasts", "ForecastReport", "Rolling", "evaluate_forecasts", "forecast_end", "roll", "shortest"]

Floats = NDArray[np.float64]

QUARTERS = 4
UNTIMED_STEPS = 2  # the first may compile
SHORTEST_WARM_UP = 30  # values before the first interval is scored


@dataclass(frozen=True)
class Rolling:
    """Online forecasts over the later part of each series.

    `covered` [series][steps, horizons]: hits; `lower`, `upper`, `actual` [series][steps] one step ahead; `plain`
    [series][steps] hits of the model's own normal interval; `width` [series] mean width, all horizons; `step_ns` the
    time of one update with its intervals and the forecasts of all horizons.
    """

    covered: list[Floats]
    lower: list[Floats]
    upper: list[Floats]
    actual: list[Floats]
    plain: list[Floats]
    width: Floats
    step_ns: float

    def coverage(self) -> float:
        """Share of hits over all series, steps and horizons."""
        return _share([c.ravel() for c in self.covered])

    def coverage_quarters(self) -> list[float]:
        """Share of hits in each quarter of the steps of every series, pooled over series."""
        quarters = []
        for part in range(QUARTERS):
            hits = [c[len(c) * part // QUARTERS : len(c) * (part + 1) // QUARTERS].ravel() for c in self.covered]
            quarters.append(_share(hits))
        return quarters

    def plain_quarters(self) -> list[float]:
        """As `coverage_quarters` one step ahead, for the model's own normal interval without adaptation."""
        quarters = []
        for part in range(QUARTERS):
            hits = [c[len(c) * part // QUARTERS : len(c) * (part + 1) // QUARTERS] for c in self.plain]
            quarters.append(_share(hits))
        return quarters

    def coverage_horizons(self) -> list[float]:
        """Share of hits at each horizon."""
        return [_share([c[:, h] for c in self.covered]) for h in range(self.covered[0].shape[1])]


@dataclass(frozen=True)
class EndForecasts:
    """Forecasts [series, h] of the held-out last values, with the actual values and the fits behind them.

    `update_ns` is the time of one update of the filter in the batch of all series.
    """

    mean: Floats
    actual: Floats
    fits: Estimates
    mase: Floats
    smape: Floats
    update_ns: float


@dataclass(frozen=True)
class ForecastReport:
    """Everything `tsrec evaluate forecast` prints and draws."""

    end: EndForecasts
    rolling: Rolling
    naive: Floats
    periods: NDArray[np.int64]

    def figures(self) -> dict[str, object]:
        """The numbers, by name. `width` is in units of the naive error that also scales MASE."""
        return {
            "mase": _mean(self.end.mase),
            "smape": _mean(self.end.smape),
            "coverage": self.rolling.coverage(),
            "width": _mean(self.rolling.width / self.naive),
            "update_ns": self.end.update_ns,
            "step_ns": self.rolling.step_ns,
            "coverage_quarters": self.rolling.coverage_quarters(),
            "coverage_horizons": self.rolling.coverage_horizons(),
            "series": len(self.naive),
            "values": int(sum(len(a) for a in self.rolling.actual)),
        }


def shortest(horizon: int) -> int:
    """Values a series needs, from its first to its last one seen, to be evaluated at that horizon."""
    return horizon + SHORTEST_WARM_UP + QUARTERS


def evaluate_forecasts(
    series: Sequence[Floats],
    horizon: int,
    level: float = 0.9,
    order: Order | None = None,
    period: int | None = None,
) -> ForecastReport:
    """Hold out the last `horizon` values of each of `series` for accuracy; roll through them for coverage.

    Intervals: parameters come from the first quarter of a series alone, then every value is forecast before it is
    taken. `period` None detects the season from what precedes the held-out values.

    Raises ModelError for a series too short for the horizon.
    """
    series = [_trim(np.asarray(y, dtype=np.float64)) for y in series]
    for i, y in enumerate(series):
        if len(y) < shortest(horizon):
            raise ModelError(
                f"series {i + 1} has {len(y)} values: a horizon of {horizon} needs at least {shortest(horizon)}"
            )
    past = [y[:-horizon] for y in series]
    periods = detect_periods(past) if period is None else np.full(len(series), period, dtype=np.int64)
    naive = np.array([naive_error(y, int(s)) for y, s in zip(past, periods, strict=True)])
    end = forecast_end(series, horizon, order, periods, naive)
    rolling = roll(series, horizon, level, order, periods)
    return ForecastReport(end, rolling, naive, periods)


def forecast_end(
    series: Sequence[Floats], horizon: int, order: Order | None, periods: NDArray[np.int64], naive: Floats
) -> EndForecasts:
    """Fit on all but the last `horizon` values, forecast those."""
    past = [y[:-horizon] for y in series]
    fits = estimate(past, order, period=periods.tolist())
    mean = np.empty((len(past), horizon))
    spent = 0
    for rows in fits.alike():
        chosen = [past[i] for i in rows.tolist()]
        table = _aligned(chosen)
        bank = fits.take(rows).bank()
        bank.filter(table[:1])  # whatever has to be compiled is, before the clock starts
        before = time.perf_counter_ns()
        bank.filter(table[1:])
        spent += time.perf_counter_ns() - before
        mean[rows] = bank.forecast(horizon).mean
    actual = np.stack([y[-horizon:] for y in series])
    return EndForecasts(
        mean,
        actual,
        fits,
        absolute_scaled_error(actual, mean, naive),
        symmetric_percentage_error(actual, mean),
        spent / sum(len(y) for y in past),
    )


def roll(
    series: Sequence[Floats], horizon: int, level: float, order: Order | None, periods: NDArray[np.int64]
) -> Rolling:
    """Fit on the first quarter of each series, then forecast every later value before taking it, 1 .. horizon ahead."""
    starts = [
        min(max(len(y) // 4, SHORTEST_WARM_UP, 3 * int(s)), len(y) // 2) for y, s in zip(series, periods, strict=True)
    ]
    fits = estimate([y[:w] for y, w in zip(series, starts, strict=True)], order, period=periods.tolist())
    parts = []
    for rows in fits.alike():
        chosen = rows.tolist()
        part = _roll_bank(fits.take(rows), [series[i] for i in chosen], [starts[i] for i in chosen], horizon, level)
        parts.append((chosen, part))
    place = {i: (part, j) for chosen, part in parts for j, i in enumerate(chosen)}
    ordered = [place[i] for i in range(len(series))]
    updates = [sum(len(a) for a in part.actual) for _, part in parts]
    return Rolling(
        [part.covered[j] for part, j in ordered],
        [part.lower[j] for part, j in ordered],
        [part.upper[j] for part, j in ordered],
        [part.actual[j] for part, j in ordered],
        [part.plain[j] for part, j in ordered],
        np.array([part.width[j] for part, j in ordered]),
        float(np.average([part.step_ns for _, part in parts], weights=updates)),
    )


def _roll_bank(fits: Estimates, series: Sequence[Floats], starts: Sequence[int], horizon: int, level: float) -> Rolling:
    """`roll` for series that share a bank, from fits of their first `starts` values."""
    n = len(series)
    model = CalibratedBank(fits.bank(), horizon, level)
    past = _aligned([y[:w] for y, w in zip(series, starts, strict=True)])
    model.warm_up(past, np.arange(n), fits.n_coefficients())
    steps = np.array([len(y) - w for y, w in zip(series, starts, strict=True)])
    total = int(steps.max())
    covered = np.full((total, n, horizon), np.nan)
    lower, upper, actual, plain = (np.full((total, n), np.nan) for _ in range(4))
    z = NormalDist().inv_cdf(0.5 + level / 2)
    width, counted = np.zeros(n), np.zeros(n)
    spent, updates = 0, 0
    for t in range(total):
        rows = np.flatnonzero(steps > t)
        y = np.array([series[i][starts[i] + t] for i in rows.tolist()])
        forecast, intervals = model.forecast(rows)
        inside = np.abs(y - forecast.mean[:, 0]) <= z * np.sqrt(forecast.variance[:, 0])
        plain[t, rows] = np.where(np.isfinite(y), inside, np.nan)
        lower[t, rows], upper[t, rows], actual[t, rows] = intervals.lower[:, 0], intervals.upper[:, 0], y
        wide = (intervals.upper - intervals.lower).mean(axis=1)
        finite = np.isfinite(wide)
        width[rows[finite]] += wide[finite]
        counted[rows[finite]] += 1
        before = time.perf_counter_ns()
        covered[t, rows] = model.step(y, rows).covered
        if t >= UNTIMED_STEPS:
            spent += time.perf_counter_ns() - before
            updates += len(rows)
    return Rolling(
        [covered[: steps[i], i] for i in range(n)],
        [lower[: steps[i], i] for i in range(n)],
        [upper[: steps[i], i] for i in range(n)],
        [actual[: steps[i], i] for i in range(n)],
        [plain[: steps[i], i] for i in range(n)],
        width / np.maximum(counted, 1),
        spent / max(updates, 1),
    )


def _share(hits: Sequence[Floats]) -> float:
    """Mean of all hits that were seen; NaN where none was (a gap as long as a quarter)."""
    return _mean(np.concatenate(hits))


def _mean(values: Floats) -> float:
    """Mean of what there is; NaN where no series has a figure (a flat past scales nothing)."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _trim(y: Floats) -> Floats:
    """Without the missing values at both ends."""
    seen = np.flatnonzero(np.isfinite(y))
    return y[seen[0] : seen[-1] + 1] if len(seen) else y[:0]


def _aligned(series: Sequence[Floats]) -> Floats:
    """Series side by side, [times, series], with a common end: a bank takes leading NaN as not yet begun."""
    times = max(len(y) for y in series)
    table = np.full((times, len(series)), np.nan)
    for i, y in enumerate(series):
        table[times - len(y) :, i] = y
    return table

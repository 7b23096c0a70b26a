"""Where everything lies in the flat arrays of a bank: one column a quantity, one row (in memory: position) a series.

In memory both arrays are [column, series], so that a kernel's inner loop runs over series side by side.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["EXACT", "GAP", "START", "STEADY", "Layout"]

# Mode of a series' filter.
START = 0.0  #: fewer values seen than differencing needs, none missing in between
EXACT = 1.0  #: every lag that differencing needs was observed; the covariance still moves
STEADY = 2.0  #: the gain has settled: innovations are those of the infinite past
GAP = 3.0  #: a value is missing: lags are uncertain too


class Layout(NamedTuple):
    """Sizes of a bank: `r` states of the differenced series, `lags` of differencing, `k` regressors."""

    r: int
    lags: int
    k: int = 0

    @property
    def state_columns(self) -> list[str]:
        """Names of the state columns, in order."""
        r, lags = self.r, self.lags
        names = ["mode", "run", "observed", "diffuse", "sum_log_f", "sum_squares"]
        names += [f"a{i}" for i in range(r)] + [f"lag{j + 1}" for j in range(lags)]
        names += [f"p_a{i}a{j}" for i in range(r) for j in range(i, r)]
        names += [f"p_a{i}lag{j + 1}" for i in range(r) for j in range(lags)]
        names += [f"p_lag{i + 1}lag{j + 1}" for i in range(lags) for j in range(i, lags)]
        names += [f"diffuse_lag{i + 1}lag{j + 1}" for i in range(lags) for j in range(i, lags)]
        return names

    @property
    def state_width(self) -> int:
        """Columns of the state."""
        r, lags = self.r, self.lags
        return HEAD + r + lags + r * (r + 1) // 2 + r * lags + lags * (lags + 1)

    @property
    def parameter_width(self) -> int:
        """Columns of the parameters: delta, phi, ma (from 1), mean, sigma2, start lags, steady tolerance, beta."""
        return self.lags + 2 * self.r - 1 + 4 + self.k


HEAD = 6  # mode, run of observed values, observed, diffuse, sum log F, sum v^2 / F

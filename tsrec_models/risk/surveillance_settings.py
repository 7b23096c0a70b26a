"""What surveillance looks for, and from where on it speaks: every threshold is here, with its unit and reason.

`Settings` is what a person sets; `PARAMS` are the same as plain numbers, for the kernels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsrec_models.base import ModelError
from tsrec_models.risk.alerts import Rule

__all__ = ["ACCOUNT_KINDS", "KINDS", "PARAMS", "SYMBOL_KINDS", "Settings", "SurveillanceError"]

#: Kinds of signals, in the order of their codes in the kernels.
KINDS = (
    "velocity",
    "wash_trade",
    "structuring",
    "trade_limit",
    "concentration",
    "loss_limit",
    "drawdown",
    "price_spike",
    "price_acceleration",
    "large_trade",
)
ACCOUNT_KINDS = KINDS[:7]
SYMBOL_KINDS = KINDS[7:]


_POSITIVE = (
    "velocity_window_s",
    "velocity_limit",
    "velocity_ratio",
    "velocity_half_life_s",
    "wash_window_s",
    "wash_lag_s",
    "wash_price_bps",
    "wash_size_tolerance",
    "wash_raise",
    "structuring_limit",
    "structuring_min",
    "structuring_window_s",
    "structuring_raise",
    "trade_limit",
    "concentration_share",
    "concentration_exposure",
    "loss_limit",
    "drawdown_limit",
    "mark_every_s",
    "spike_window_s",
    "spike_sigmas",
    "spike_move_bps",
    "spike_half_life_s",
    "large_per_day",
)


class SurveillanceError(ModelError):
    """Settings or columns that surveillance cannot work with."""


#: `Settings` as numbers, for the kernels.
PARAMS = np.dtype(
    [
        ("velocity_bucket_s", "f8"),
        ("velocity_limit", "f8"),
        ("velocity_ratio", "f8"),
        ("velocity_decay", "f8"),
        ("wash_window_s", "f8"),
        ("wash_lag_s", "f8"),
        ("wash_price", "f8"),
        ("wash_size", "f8"),
        ("wash_raise", "f8"),
        ("structuring_limit", "f8"),
        ("structuring_low", "f8"),
        ("structuring_material", "f8"),
        ("structuring_min", "f8"),
        ("structuring_window_s", "f8"),
        ("structuring_raise", "f8"),
        ("trade_limit", "f8"),
        ("concentration_share", "f8"),
        ("concentration_exposure", "f8"),
        ("loss_limit", "f8"),
        ("drawdown_limit", "f8"),
        ("clear_share", "f8"),
        ("mark_every_s", "f8"),
        ("spike_bucket_s", "f8"),
        ("spike_sigmas", "f8"),
        ("spike_move", "f8"),
        ("spike_prior_var", "f8"),
        ("spike_alpha", "f8"),
        ("large_per_day", "f8"),
        ("large_tail", "f8"),
        ("large_warmup", "f8"),
    ]
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Thresholds of surveillance. Amounts are in the currency of price x quantity; infinity switches a kind off.

    An *order* is consecutive fills of one account (or, for the market, of one symbol) with the same time, symbol and
    side: a sweep through forty resting orders is one decision of its sender, not forty.

    Velocity: orders in `velocity_window_s`, at least `velocity_limit` and `velocity_ratio` times the account's own
    usual number (half-life `velocity_half_life_s`).

    Wash trades: a buy and a sell of one symbol and size (within `wash_size_tolerance`), at one price (within
    `wash_price_bps`), within `wash_window_s`, by one account or linked ones. Each pair adds its log10 odds against
    chance: how common that size is in that symbol, how many other trades would have matched, and how close in time the
    two are (`wash_lag_s` is the mean lag expected of a washer); the sum is compared with `wash_raise`.

    Structuring: at least `structuring_min` of an account's orders in `structuring_window_s` between
    (1 - `structuring_band`) x limit and `structuring_limit`, more than three times as many as at or above the limit,
    and rarer by chance than 10^-`structuring_raise`, given how often orders of that size class fall there at all.

    Price spike: the move over `spike_window_s` of at least `spike_move_bps` and `spike_sigmas` times what is usual for
    that symbol (a running estimate from before the window); acceleration: the same of the difference of the moves in
    the window's two halves.

    Large trade: an order of a size that, by the symbol's own past, `large_per_day` orders a day exceed, and no more
    than a share of `large_tail` of them.

    Loss limit and drawdown: realised and unrealised loss, and the fall of equity from its peak, positions marked with
    every `mark_every_s` of event time. Concentration: share of one symbol in an exposure of at least
    `concentration_exposure` (off until a desk names its own: who trades one symbol holds all of it).
    """

    velocity_window_s: float = 60.0
    velocity_limit: int = 60
    velocity_ratio: float = 3.0
    velocity_half_life_s: float = 3600.0
    wash_window_s: float = 60.0
    wash_lag_s: float = 5.0
    wash_price_bps: float = 5.0
    wash_size_tolerance: float = 1e-6
    wash_raise: float = 5.25
    wash_critical: float = 10.0
    structuring_limit: float = 10_000.0
    structuring_band: float = 0.10
    structuring_min: int = 3
    structuring_window_s: float = 86_400.0
    structuring_raise: float = 5.0
    trade_limit: float = math.inf
    concentration_share: float = 0.9
    concentration_exposure: float = math.inf
    loss_limit: float = 100_000.0
    drawdown_limit: float = 100_000.0
    clear_share: float = 0.8
    mark_every_s: float = 1.0
    spike_window_s: float = 10.0
    spike_sigmas: float = 8.0
    spike_critical_sigmas: float = 16.0
    spike_move_bps: float = 30.0
    spike_half_life_s: float = 600.0
    large_per_day: float = 20.0
    large_tail: float = 1e-3
    large_warmup: int = 1000

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise SurveillanceError(f"surveillance setting {name}={getattr(self, name)}: must be positive")
        for name in ("structuring_band", "clear_share", "large_tail"):
            if not 0 < getattr(self, name) < 1:
                raise SurveillanceError(f"surveillance setting {name}={getattr(self, name)}: must lie between 0 and 1")

    def params(self) -> NDArray[np.void]:
        """The numbers that the kernels read: PARAMS, [1]."""
        bucket = self.velocity_window_s / 12
        spike_bucket = self.spike_window_s / 10
        values = {
            "velocity_bucket_s": bucket,
            "velocity_limit": float(self.velocity_limit),
            "velocity_ratio": self.velocity_ratio,
            "velocity_decay": float(np.exp2(-bucket / self.velocity_half_life_s)),
            "wash_window_s": self.wash_window_s,
            "wash_lag_s": self.wash_lag_s,
            "wash_price": self.wash_price_bps / 1e4,
            "wash_size": self.wash_size_tolerance,
            "wash_raise": self.wash_raise,
            "structuring_limit": self.structuring_limit,
            "structuring_low": self.structuring_limit * (1 - self.structuring_band),
            "structuring_material": self.structuring_limit * 0.2,  # smaller orders say nothing of who avoids the limit
            "structuring_min": float(self.structuring_min),
            "structuring_window_s": self.structuring_window_s,
            "structuring_raise": self.structuring_raise,
            "trade_limit": self.trade_limit,
            "concentration_share": self.concentration_share,
            "concentration_exposure": self.concentration_exposure,
            "loss_limit": self.loss_limit,
            "drawdown_limit": self.drawdown_limit,
            "clear_share": self.clear_share,
            "mark_every_s": self.mark_every_s,
            "spike_bucket_s": spike_bucket,
            "spike_sigmas": self.spike_sigmas,
            "spike_move": self.spike_move_bps / 1e4,
            # Before a symbol has shown what is usual, a move of half a per cent a window is taken to be.
            "spike_prior_var": 0.005**2,
            "spike_alpha": float(1 - np.exp2(-spike_bucket / self.spike_half_life_s)),
            "large_per_day": self.large_per_day,
            "large_tail": self.large_tail,
            "large_warmup": float(self.large_warmup),
        }
        return np.array([tuple(values[name] for name in PARAMS.names or ())], dtype=PARAMS)

    def rules(self) -> list[Rule]:
        """Rules of the alert book for these kinds, relative to the threshold that each signal brings."""
        quiet = 600.0
        wash_critical = self.wash_critical / self.wash_raise
        spike_critical = self.spike_critical_sigmas / self.spike_sigmas
        return [
            Rule("velocity", 1.0, self.clear_share, critical_at=5.0, quiet_s=quiet, relative=True),
            Rule("wash_trade", 1.0, critical_at=wash_critical, quiet_s=quiet, relative=True),
            Rule("structuring", 1.0, quiet_s=self.structuring_window_s, relative=True),
            Rule("trade_limit", 1.0, critical_at=10.0, quiet_s=quiet, cooldown_s=60.0, relative=True),
            Rule("concentration", 1.0, self.clear_share, severity="info", relative=True),
            Rule("loss_limit", 1.0, self.clear_share, critical_at=2.0, relative=True),
            Rule("drawdown", 1.0, self.clear_share, critical_at=2.0, relative=True),
            Rule("price_spike", 1.0, 0.5, critical_at=spike_critical, quiet_s=quiet, relative=True),
            Rule("price_acceleration", 1.0, 0.5, severity="info", quiet_s=quiet, relative=True),
            Rule("large_trade", 1.0, severity="info", quiet_s=60.0, cooldown_s=60.0, relative=True),
        ]
